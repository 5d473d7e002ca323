"""The environment of the stack's Airflow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from longcall.cli.stack.airflow_env import AirflowLogin, airflow_environment, clean_environment
from longcall.cli.stack.airflow_release import airflow_version, release_of
from longcall.cli.stack.errors import StackError

HOME = Path("/somewhere/home")


def environment(**config: str) -> dict[str, str]:
    return airflow_environment(
        home=HOME, dags_folder=Path("/somewhere/dags"), port=8123, login=AirflowLogin(), config=config
    )


def test_the_users_airflow_and_cloud_settings_do_not_reach_the_stack() -> None:
    environ = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_X": "http://elsewhere",
        "GOOGLE_APPLICATION_CREDENTIALS": "key.json",
        "PUBSUB_EMULATOR_HOST": "elsewhere:1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/bin",
    }
    kept = clean_environment(environ, home=HOME)
    assert kept.keys() == {"PATH", "HOME", "PYTHONUNBUFFERED", "NO_PROXY", "no_proxy"}
    assert kept["HOME"] == str(HOME)


def test_the_users_exceptions_from_the_proxy_are_kept() -> None:
    kept = clean_environment({"NO_PROXY": "intranet"}, home=HOME)
    assert kept["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert kept["no_proxy"] == "127.0.0.1,localhost"


def test_relative_python_path_entries_become_absolute() -> None:
    kept = clean_environment({"PYTHONPATH": os.pathsep.join(["src", "/opt/x"])}, home=HOME)
    assert kept["PYTHONPATH"].split(os.pathsep) == [str(Path.cwd() / "src"), "/opt/x"]


def test_secrets_are_fresh_for_every_stack() -> None:
    first, second = environment(), environment()
    differing = {name for name in first if first[name] != second[name]}
    assert differing == {
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__API_AUTH__JWT_SECRET",
    }


def test_given_settings_win_over_the_stacks_own() -> None:
    assert environment(CORE__PARALLELISM="2")["AIRFLOW__CORE__PARALLELISM"] == "2"


def test_airflow_listens_on_loopback_alone() -> None:
    assert environment()["AIRFLOW__API__HOST"] == "127.0.0.1"


def test_the_password_is_not_in_the_logins_repr() -> None:
    login = AirflowLogin(password="tell-nobody")
    assert "tell-nobody" not in repr(login)


def test_airflow_2_listens_on_loopback_alone_and_asks_for_the_password() -> None:
    settings = airflow_environment(
        home=HOME,
        dags_folder=Path("/somewhere/dags"),
        port=8123,
        login=AirflowLogin(),
        config={},
        release=release_of("2.11.2"),
    )
    assert settings["AIRFLOW__WEBSERVER__WEB_SERVER_HOST"] == "127.0.0.1"
    assert settings["AIRFLOW__API__AUTH_BACKENDS"] == "airflow.api.auth.backend.session"


def test_interpreter_without_airflow_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no-python"):
        airflow_version(tmp_path / "no-python")
