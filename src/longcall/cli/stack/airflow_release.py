"""What differs between the Airflows that the stack can run: commands, settings, REST API."""

from __future__ import annotations

import importlib.metadata
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import httpx2

from longcall.cli.stack import airflow2_database
from longcall.cli.stack.errors import StackError
from longcall.contract import JsonValue

__all__ = ["AIRFLOW_2", "AIRFLOW_3", "Airflow2", "Airflow3", "airflow_version", "release_of"]

_HOST = "127.0.0.1"


class Airflow3:
    """Airflow 3: the DAG processor is a process of its own, and who logs in gets a token.

    Attributes:
        components: arguments of `airflow` for each process, by the name that errors and logs give it.
        api_root: path below which the REST API lies.
        health_path: path that tells which components live; needs no login.
        health_parts: the names of the components there.
        log_type: content type to ask task logs in.
    """

    components: Mapping[str, tuple[str, ...]] = {
        "api-server": ("api-server",),
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "triggerer": ("triggerer", "--skip-serve-logs"),
        "dag-processor": ("dag-processor",),
    }
    api_root: ClassVar[str] = "/api/v2"
    health_path: ClassVar[str] = "/api/v2/monitor/health"
    health_parts: tuple[str, ...] = ("metadatabase", "scheduler", "triggerer", "dag_processor")
    log_type: ClassVar[str] = "application/json"

    def database_command(self, passwords: Path) -> tuple[str, ...]:
        """Return the interpreter's arguments that make the database.

        Args:
            passwords: JSON file of users and their passwords; here Airflow itself reads it.
        """
        del passwords
        return ("-m", "airflow", "db", "migrate")

    def environment(self, *, port: int) -> dict[str, str]:
        """Return the environment for one API server on a port of loopback. Secrets are fresh."""
        return {
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{_HOST}:{port}/execution/",
            "AIRFLOW__API__HOST": _HOST,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": f"http://{_HOST}:{port}",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            # No second reading of files that do not change: two cores have other work.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        }

    def log_in(self, http: httpx2.Client, user: str, password: str) -> dict[str, str]:
        """Log a client in; return the headers of its further requests. Raises what `http` does."""
        answer = http.post("/auth/token", json={"username": user, "password": password}).raise_for_status()
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def run_request(self, conf: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the body that starts a DAG run now."""
        return {"logical_date": None, "conf": dict(conf)}

    def mark_request(self, state: str) -> dict[str, JsonValue]:
        """Return the body that sets the state of a task instance."""
        return {"new_state": state}

    def links(self, answer: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the addresses of a task's buttons by their names."""
        links = answer["extra_links"]
        return dict(links) if isinstance(links, dict) else {}

    def log_lines(self, answer: JsonValue) -> list[str]:
        """Return a task's log, one event a line."""
        content = answer["content"] if isinstance(answer, dict) else None
        return [_log_line(event) for event in content] if isinstance(content, list) else []


class Airflow2(Airflow3):
    """Airflow 2: a webserver, the scheduler reads the DAG files, and users live in the database."""

    components: Mapping[str, tuple[str, ...]] = {
        "webserver": ("webserver",),
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "triggerer": ("triggerer", "--skip-serve-logs"),
    }
    api_root: ClassVar[str] = "/api/v1"
    health_path: ClassVar[str] = "/api/v1/health"
    health_parts: tuple[str, ...] = ("metadatabase", "scheduler", "triggerer")
    log_type: ClassVar[str] = "text/plain"

    def database_command(self, passwords: Path) -> tuple[str, ...]:
        """Return the arguments that make the database, and an administrator of each user of the file."""
        return (airflow2_database.__file__, str(passwords))

    def environment(self, *, port: int) -> dict[str, str]:
        """Return the environment for a webserver on a port of loopback. Secrets are fresh."""
        return {
            # It would have no SQLite with parallel tasks; a laptop's few do no harm.
            "_AIRFLOW__SKIP_DATABASE_EXECUTOR_COMPATIBILITY_CHECK": "1",
            # Not `basic_auth`, which spends a quarter of a second on the password at each request.
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.session",
            "AIRFLOW__WEBSERVER__WEB_SERVER_HOST": _HOST,
            "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
            "AIRFLOW__WEBSERVER__BASE_URL": f"http://{_HOST}:{port}",
            "AIRFLOW__WEBSERVER__WORKERS": "1",
            "AIRFLOW__WEBSERVER__SECRET_KEY": secrets.token_urlsafe(32),
            "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
            "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "600",
        }

    def log_in(self, http: httpx2.Client, user: str, password: str) -> dict[str, str]:
        """Log a client in as a browser does, with a cookie. Raises what `http` does."""
        page = http.get("/login/").raise_for_status().text
        token = re.search(r'name="csrf_token"[^>]* value="([^"]+)"', page)
        form = {"username": user, "password": password, "csrf_token": token[1] if token else ""}
        answer = http.post("/login/", data=form)  # redirects, to whom it takes and to whom it does not
        if answer.is_error:
            answer.raise_for_status()
        return {}

    def run_request(self, conf: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the body that starts a DAG run now."""
        return {"conf": dict(conf)}

    def mark_request(self, state: str) -> dict[str, JsonValue]:
        """Return the body that sets the state of a task instance."""
        return {"new_state": state, "dry_run": False}

    def links(self, answer: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
        """Return the addresses of a task's buttons by their names."""
        return dict(answer)

    def log_lines(self, answer: JsonValue) -> list[str]:
        """Return a task's log, one event a line."""
        return str(answer).splitlines()


AIRFLOW_2 = Airflow2()
AIRFLOW_3 = Airflow3()


def airflow_version(python: Path) -> str:
    """Return the version of Airflow that an interpreter has.

    Raises:
        StackError: it has none, or is no interpreter.
    """
    if python == Path(sys.executable):
        try:
            return importlib.metadata.version("apache-airflow")
        except importlib.metadata.PackageNotFoundError as error:
            raise StackError("this Python has no Airflow: pip install 'longcall[demo]'") from error
    program = "import importlib.metadata as m; print(m.version('apache-airflow'))"
    try:
        done = subprocess.run(  # noqa: S603 - the caller's own interpreter
            [python, "-I", "-c", program], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise StackError(f"{python} is no Python with Airflow: {error}") from error
    return done.stdout.strip()


def release_of(version: str) -> Airflow3:
    """Return how an Airflow of this version is run and spoken to."""
    return AIRFLOW_2 if version.startswith("2.") else AIRFLOW_3


def _log_line(event: JsonValue) -> str:
    if not isinstance(event, dict):
        return str(event)
    # The rest of a structured event (fields, error detail with its frames) follows the sentence.
    rest = {
        key: value for key, value in event.items() if key not in {"timestamp", "event", "level", "logger"}
    }
    words = (event.get("timestamp"), event.get("level"), event.get("event"), rest or None)
    return " ".join(str(word) for word in words if word is not None)
