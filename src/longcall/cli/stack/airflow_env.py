"""The environment that makes Airflow run on one laptop: SQLite, loopback, nothing to set up. Pure."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from longcall.cli.stack.airflow_release import AIRFLOW_3, Airflow3

__all__ = ["AirflowLogin", "airflow_environment", "clean_environment"]

# What the user's own shell says about Airflow and Google must not reach the stack: it would talk to the
# wrong place, or to a real cloud project. Compiled modules make every start of Airflow three times as fast.
_DROPPED_PREFIXES = ("AIRFLOW", "_AIRFLOW", "LONGCALL_", "OTEL_")
_DROPPED = (
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONWARNINGS",
    "PUBSUB_EMULATOR_HOST",
    "PUBSUB_PROJECT_ID",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT",
    "GCP_TOPIC",
)
_LOOPBACK = "127.0.0.1,localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowLogin:
    """How a person, or the REST client, logs in to the Airflow of this stack."""

    user: str = "admin"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12), repr=False)


def clean_environment(environ: Mapping[str, str], *, home: Path) -> dict[str, str]:
    """Return `environ` without what would lead the stack astray, with `home` as the home directory."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)
    }
    kept["HOME"] = str(home)
    kept["PYTHONUNBUFFERED"] = "1"
    if path := environ.get("PYTHONPATH"):
        # The components run in another directory, where relative entries would mean something else.
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(entry).resolve()) for entry in path.split(os.pathsep))
    # The stack is on loopback: no proxy has a business with it.
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, (environ.get(name), _LOOPBACK)))
    return kept


def airflow_environment(
    *,
    home: Path,
    dags_folder: Path,
    port: int,
    login: AirflowLogin,
    config: Mapping[str, str],
    release: Airflow3 = AIRFLOW_3,
) -> dict[str, str]:
    """Return every setting of this Airflow as environment variables.

    Fresh secrets are drawn at each call, so the components share one call's answer.

    Args:
        home: AIRFLOW_HOME; holds the database, the task logs and the password file.
        dags_folder: where the DAG files are.
        port: of the API server or webserver, on loopback.
        login: its name is made an administrator; the password file is the caller's to write.
        release: how this Airflow is run.
        config: overrides, keyed `SECTION__OPTION`, e.g. `SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME`.
    """
    settings = {
        "CORE__DAGS_FOLDER": str(dags_folder),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{login.user}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(password_file(home)),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.05",
        "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
        "LOGGING__BASE_LOG_FOLDER": str(home / "task-logs"),
        "LOGGING__COLORED_CONSOLE_LOG": "False",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    common = {f"AIRFLOW__{name}": value for name, value in settings.items()}
    wished = {f"AIRFLOW__{name}": value for name, value in config.items()}
    return {"AIRFLOW_HOME": str(home)} | common | release.environment(port=port) | wished


def password_file(home: Path) -> Path:
    """Return where this Airflow looks up passwords."""
    return home / "passwords.json"
