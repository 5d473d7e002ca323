"""What Airflow reads of the provider, and when."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from typing import Any

import longcall.airflow
from longcall.airflow.provider_info import get_provider_info

INNER = (".arguments", ".logged_in_http")


def test_description_is_read_without_importing_airflow() -> None:
    """Airflow reads it while it is being imported itself, for its configuration."""
    code = "import sys, longcall.airflow.provider_info; sys.exit('airflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dag_file_imports_no_client_of_anything() -> None:
    """Every task's process reads its DAG's file, and so does the DAG processor, again and again."""
    code = (
        "import sys, longcall.airflow.version_compat; before = set(sys.modules);"
        "[getattr(longcall.airflow, name) for name in longcall.airflow.__all__];"
        "import longcall.airflow.decorator;"
        "more = {name.partition('.')[0] for name in set(sys.modules) - before};"
        "print(*more & {'requests', 'aiohttp', 'httpx2', 'grpc', 'google', 'fsspec'})"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == ""


def test_every_class_that_airflow_shall_know_is_named() -> None:
    info: dict[str, Any] = get_provider_info()
    named = {
        module
        for kind in ("operators", "sensors", "triggers", "hooks")
        for group in info.get(kind, [])
        for module in group["python-modules"]
    }
    assert named
    for module in pkgutil.iter_modules(longcall.airflow.__path__, "longcall.airflow."):
        kinds = {
            base.__name__
            for value in vars(importlib.import_module(module.name)).values()
            if isinstance(value, type) and value.__module__ == module.name
            for base in value.__mro__
        }
        is_face = kinds & {"BaseOperator", "BaseTrigger", "BaseHook"} and not module.name.endswith(INNER)
        assert (module.name in named) == bool(is_face), module.name
