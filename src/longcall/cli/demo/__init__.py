"""`longcall demo`: the whole of longcall on this machine, in under a minute, with a real Airflow.

Only `command` is imported with the command line; the rest when the demo runs.
"""

from longcall.cli.demo.command import add_parser, run

__all__ = ["add_parser", "run"]
