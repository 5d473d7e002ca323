"""Call services that work for minutes to days, and be resumed the moment they answer."""

__all__ = ["__version__"]

__version__ = "0.1.0"
