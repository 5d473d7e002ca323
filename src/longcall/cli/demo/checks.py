"""Whether this Python environment has what the demo needs, found out without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from longcall._core.errors import LongcallError

__all__ = ["DemoUnavailable", "check_environment"]

# Module to import: name of the package to install.
_NEEDED = {
    "airflow": "apache-airflow",
    "airflow.providers.google": "apache-airflow-providers-google",
    "airflow.providers.http": "apache-airflow-providers-http",
    "grpc_health": "grpcio-health-checking",
    "rich": "rich",
    "sklearn": "scikit-learn",
    "starlette": "starlette",
    "uvicorn": "uvicorn",
}


class DemoUnavailable(LongcallError):
    """The demo cannot run in this environment. The message says what to install."""


def check_environment() -> None:
    """Return if the demo can run.

    Raises:
        DemoUnavailable: a package is missing, or Airflow is older than 3.
    """
    missing = [package for module, package in _NEEDED.items() if not _installed(module, package)]
    if missing:
        raise DemoUnavailable(f"missing {', '.join(missing)}: pip install 'longcall[demo]'")
    airflow = version("apache-airflow")
    if int(airflow.partition(".")[0]) < 3:
        raise DemoUnavailable(f"the demo needs Airflow 3, this is {airflow}: pip install 'apache-airflow>=3'")


def _installed(module: str, package: str) -> bool:
    # A dotted name would import its parent: Airflow takes a second for that, its metadata none.
    if "." not in module:
        return find_spec(module) is not None
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
