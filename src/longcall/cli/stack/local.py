"""Broker, service and a real Airflow on this machine, as child processes with one temporary home."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from longcall.cli.stack.airflow_api import AirflowApi
from longcall.cli.stack.airflow_env import AirflowLogin, airflow_environment, clean_environment, password_file
from longcall.cli.stack.airflow_release import AIRFLOW_3, airflow_version, release_of
from longcall.cli.stack.component import Component
from longcall.cli.stack.errors import ComponentFailed, StackError, StackTimeout
from longcall.cli.stack.ports import free_ports

__all__ = ["LocalStack"]

_POLL_INTERVAL_S = 0.05


class LocalStack:
    """A running stack, from entering the `with` to leaving it.

    Leaving stops every process and removes the home, unless `keep_home` was set. If this process is killed,
    the components end by themselves. Enter it in a thread that lives as long as the stack.

    Attributes:
        home: temporary folder with everything that the stack writes.
        logs_dir: one log file per component, `NAME.log`.
        login: for the Airflow page.
        project: Google project id that the broker and the service use.
        topic: id of the topic where the service publishes.
        airflow_version: once entered, e.g. `3.3.2`; empty without Airflow.
        keep_home: whether the home outlives the stack; may be set at any time, e.g. after a failure.
    """

    def __init__(
        self,
        *,
        dags_folder: Path,
        service: str | None = None,
        broker: bool = True,
        airflow: bool = True,
        airflow_python: Path | None = None,
        project: str = "demo",
        topic: str = "completions",
        env: Mapping[str, str] | None = None,
        airflow_config: Mapping[str, str] | None = None,
        on_event: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Keep the wishes; nothing runs yet.

        Args:
            dags_folder: where the DAG files are; nothing is written there.
            service: `module:attribute` for `longcall serve`; None: no service.
            broker: whether to run a broker. Without it, `pubsub_host` and the service are not there.
            airflow: whether to run Airflow.
            airflow_python: the interpreter that has Airflow, 2.11 or newer, and longcall; None: this one.
            project: Google project id.
            topic: made in the broker at start.
            env: more environment for every component; values may hold `{pubsub_host}` and `{service_url}`.
            airflow_config: Airflow settings keyed `SECTION__OPTION`; they win over the stack's own.
            on_event: told in a few words what is being started; for a person who watches.
        """
        self.project = project
        self.topic = topic
        self.login = AirflowLogin()
        self.keep_home = False
        self.airflow_version = ""
        self._dags_folder = dags_folder
        self._service = service
        self._with_broker = broker or service is not None
        self._with_airflow = airflow
        self._airflow_python = Path(sys.executable) if airflow_python is None else airflow_python.absolute()
        self._release = AIRFLOW_3
        self._extra_env = dict(env or {})
        self._airflow_config = dict(airflow_config or {})
        self._on_event = on_event
        self._components: list[Component] = []
        self._migration: Component | None = None
        self._killed: dict[str, Sequence[str]] = {}
        self._env: dict[str, str] = {}
        self._broker_port, self._service_port, self._airflow_port = free_ports(3)
        self._airflow: AirflowApi | None = None
        self.home = Path()

    @property
    def pubsub_host(self) -> str:
        """`host:port` of the broker: the value of PUBSUB_EMULATOR_HOST."""
        return f"127.0.0.1:{self._broker_port}"

    @property
    def service_url(self) -> str:
        """Address of the service, without a path."""
        return f"http://127.0.0.1:{self._service_port}"

    @property
    def airflow_url(self) -> str:
        """Address of the Airflow page, without a path."""
        return f"http://127.0.0.1:{self._airflow_port}"

    @property
    def airflow(self) -> AirflowApi:
        """The client of the running Airflow.

        Raises:
            StackError: there is none: the stack is not entered, or was made with `airflow=False`.
        """
        if self._airflow is None:
            raise StackError("no Airflow runs: enter the stack first, and make it with airflow=True")
        return self._airflow

    @property
    def logs_dir(self) -> Path:
        """Folder of the components' logs."""
        return self.home / "logs"

    @property
    def environment(self) -> dict[str, str]:
        """A copy of what every component was started with, secrets included; for more processes alike."""
        return dict(self._env)

    @property
    def components(self) -> dict[str, Component]:
        """The running components by name."""
        return {component.name: component for component in self._components}

    def __enter__(self) -> Self:
        """Start everything and return when all of it works.

        Raises:
            ComponentFailed: a component ended; its log is kept.
            StackTimeout: a component runs and does not work; its log is kept.
        """
        self.home = Path(tempfile.mkdtemp(prefix="longcall-"))
        try:
            self._start()
        except BaseException as error:
            self.keep_home = isinstance(error, Exception)
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.stop()

    def check(self) -> None:
        """Return if every component runs.

        Raises:
            ComponentFailed: the first that does not; the home with its log is kept.
        """
        try:
            for component in self._components:
                component.check()
        except ComponentFailed:
            self.keep_home = True
            raise

    def stop(self) -> None:
        """Stop every process, remove the home unless it is to be kept. A repeat does nothing."""
        if self._airflow is not None:
            self._airflow.__exit__(None, None, None)
            self._airflow = None
        # Callers first: the broker outlives those who may still have a last word for it.
        ending = [*reversed(self._components), *filter(None, [self._migration])]
        for component in ending:
            component.begin_stop()
        for component in ending:
            component.stop()
        self._components.clear()
        if not self.keep_home and self.home != Path():
            shutil.rmtree(self.home, ignore_errors=True)

    def start_component(self, name: str, *command: str, port: int | None = None) -> Component:
        """Start one more process in the stack's environment; it ends with the stack at the latest.

        Args:
            name: what errors and its log file call it.
            command: program and arguments.
            port: return when it listens there.
        """
        component = self._spawn(name, command)
        self._components.append(component)
        if port is not None:
            self._wait_for_port(name, port)
        return component

    def airflow_command(self, *arguments: str) -> tuple[str, ...]:
        """Return the command line that runs `airflow` as the stack's components do."""
        return (str(self._airflow_python), "-m", "airflow", *arguments)

    def kill_component(self, name: str) -> None:
        """Kill a component as `kill -9` does; `restart_component` brings it back."""
        killed = self.components[name]
        self._components.remove(killed)
        self._killed[name] = killed.command
        killed.kill()
        killed.stop()

    def restart_component(self, name: str) -> Component:
        """Start a component that was killed, as it was started before."""
        return self.start_component(name, *self._killed.pop(name))

    def _spawn(self, name: str, command: Sequence[str], *, grace_s: float = 3.0) -> Component:
        log = self.logs_dir / f"{name}.log"
        return Component(name, command, env=self._env, log=log, cwd=self.home, grace_s=grace_s)

    def _start(self) -> None:
        self.logs_dir.mkdir()
        if self._with_airflow:
            self.airflow_version = airflow_version(self._airflow_python)
            self._release = release_of(self.airflow_version)
        self._env = self._environment()
        # Airflow's database takes seconds to make, broker and service to start: all at the same time.
        self._migration = self._begin_migration() if self._with_airflow else None
        self._start_broker_and_service()
        if self._migration is not None:
            self._finish_migration(self._migration)
            self._start_airflow()

    def _environment(self) -> dict[str, str]:
        env = clean_environment(os.environ, home=self.home)
        if self._with_broker:
            env |= {"PUBSUB_EMULATOR_HOST": self.pubsub_host, "GOOGLE_CLOUD_PROJECT": self.project}
        if self._with_airflow:
            env |= airflow_environment(
                home=self.home / "airflow",
                dags_folder=self._dags_folder.resolve(),
                port=self._airflow_port,
                login=self.login,
                config=self._airflow_config,
                release=self._release,
            )
        return env | {name: self._fill_in(value) for name, value in self._extra_env.items()}

    def _fill_in(self, value: str) -> str:
        # Not str.format: a connection may be JSON, full of braces.
        return value.replace("{pubsub_host}", self.pubsub_host).replace("{service_url}", self.service_url)

    def _begin_migration(self) -> Component:
        self._on_event("making Airflow's database")
        airflow_home = self.home / "airflow"
        airflow_home.mkdir()
        passwords = password_file(airflow_home)
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({self.login.user: self.login.password}))
        command = (str(self._airflow_python), *self._release.database_command(passwords))
        return self._spawn("airflow-db-migrate", command)

    def _start_broker_and_service(self) -> None:
        if not self._with_broker:
            return
        self._on_event(f"starting the broker on {self.pubsub_host}")
        broker_options = ("--port", str(self._broker_port), "--data-dir", str(self.home / "broker"))
        self.start_component(
            "broker", *_longcall("broker", *broker_options, "--project", self.project, "--topic", self.topic)
        )
        if self._service is not None:
            self._on_event(f"starting the service on {self.service_url}")
            service_options = (
                "--port",
                str(self._service_port),
                "--project",
                self.project,
                "--topic",
                self.topic,
                "--store",
                str(self.home / "service"),
            )
            self.start_component("service", *_longcall("serve", self._service, *service_options))
        self._wait_for_port("broker", self._broker_port)
        if self._service is not None:
            self._wait_for_port("service", self._service_port)

    def _finish_migration(self, migration: Component) -> None:
        try:
            if migration.wait(timeout_s=120.0) != 0:
                migration.check()
        except subprocess.TimeoutExpired:
            raise StackTimeout(f"Airflow's database was not made in 120 s: {migration.log}") from None

    def _start_airflow(self) -> None:
        self._on_event(f"starting Airflow: {', '.join(self._release.components)}")
        for name, arguments in self._release.components.items():
            # Airflow takes up to ten seconds to end in order; its database goes with the home anyway.
            self._components.append(self._spawn(name, self.airflow_command(*arguments), grace_s=1.0))
        self._airflow = AirflowApi(self.airflow_url, self.login, release=self._release, check=self.check)
        self._airflow.wait_until_healthy()

    def _wait_for_port(self, name: str, port: int, *, timeout_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                self.check()
                if time.monotonic() > deadline_s:
                    log = self.logs_dir / f"{name}.log"
                    raise StackTimeout(
                        f"the {name} did not listen on port {port} in {timeout_s:g} s: {log}"
                    ) from None
                time.sleep(_POLL_INTERVAL_S)
            else:
                return


def _longcall(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "longcall.cli.main", *arguments)
