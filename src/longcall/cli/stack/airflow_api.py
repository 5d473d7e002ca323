"""Airflow's REST API, as much of it as the stack needs: health, runs, task instances, XCom, logs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self
from urllib.parse import quote

from longcall.cli.stack.airflow_env import AirflowLogin
from longcall.cli.stack.airflow_release import AIRFLOW_3, Airflow3
from longcall.cli.stack.errors import StackError, StackTimeout
from longcall.cli.stack.rest import RestClient
from longcall.contract import JsonValue

__all__ = ["FINAL_RUN_STATES", "AirflowApi", "RunState", "Slots", "TaskInstance"]

FINAL_RUN_STATES = frozenset({"success", "failed"})
_PAGE = 100
_LOG_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A DAG run as Airflow reports it."""

    dag_id: str
    run_id: str
    state: str

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in FINAL_RUN_STATES


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskInstance:
    """A task instance as Airflow reports it.

    Attributes:
        map_index: -1 unless the task is mapped.
        state: Airflow's word, e.g. `deferred`; None: nothing decided yet.
        try_number: 1 for the first; names the log.
        started: when its try first ran; resuming does not change it.
        ended: aware; None while it goes on.
        label: what `map_index_template` made of it; empty without one, and until the task has begun.
        queued: when it was last given to the executor, aware; None: never.
    """

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    started: datetime | None
    ended: datetime | None
    label: str = ""
    queued: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Worker slots of Airflow's default pool at one moment.

    Attributes:
        in_use: taken by tasks that run or are about to.
        deferred: tasks that wait in the triggerer; they take none.
    """

    in_use: int
    deferred: int


class AirflowApi:
    """A logged-in client of one Airflow. Not for use from several threads at once.

    Leaving the `with` closes its connections.
    """

    def __init__(
        self,
        url: str,
        login: AirflowLogin,
        *,
        release: Airflow3 = AIRFLOW_3,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the address; nothing is sent yet.

        Args:
            url: of the API server or webserver, without a path.
            login: logged in with at the first request that needs it.
            release: how this Airflow is spoken to.
            check: called while waiting; raises when waiting has become pointless.
        """
        self.url = url
        self._release = release
        self._rest = RestClient(url, login, release, check)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._rest.close()

    def wait_until_healthy(self, *, timeout_s: float = 120.0) -> None:
        """Wait until the API server answers and scheduler, triggerer and DAG processor have reported.

        Raises:
            StackTimeout: names what had not reported.
        """
        self._rest.wait_while(self._rest.sick_part, timeout_s=timeout_s)

    def wait_for_dag(self, dag_id: str, *, timeout_s: float = 60.0) -> None:
        """Wait until the DAG processor has read the DAG.

        Raises:
            StackError: a DAG file could not be imported; its traceback is in the message.
            StackTimeout: no DAG of this name appeared.
        """

        def unknown() -> str | None:
            if self._rest.find("GET", f"/dags/{quote(dag_id)}") is not None:
                return None
            for broken in _rows(self._rest.json("GET", "/importErrors"), "import_errors"):
                raise StackError(f"DAG file {broken['filename']} does not import:\n{broken['stack_trace']}")
            return f"the DAG processor found no DAG {dag_id!r}"

        self._rest.wait_while(unknown, timeout_s=timeout_s)

    def trigger(self, dag_id: str, conf: dict[str, JsonValue] | None = None) -> str:
        """Wait for the DAG to be known, start a run of it, and return the run's id."""
        self.wait_for_dag(dag_id)
        run = self._rest.json("POST", f"/dags/{quote(dag_id)}/dagRuns", self._release.run_request(conf or {}))
        return str(run["dag_run_id"])

    def run_ids(self, dag_id: str) -> list[str]:
        """Return the runs that the DAG has had, a hundred at most."""
        page = self._rest.json("GET", f"/dags/{quote(dag_id)}/dagRuns?limit={_PAGE}")
        return [str(row["dag_run_id"]) for row in _rows(page, "dag_runs")]

    def run_state(self, dag_id: str, run_id: str) -> RunState:
        """Return the run's present state."""
        run = self._rest.json("GET", _run_path(dag_id, run_id))
        return RunState(dag_id=dag_id, run_id=run_id, state=str(run["state"]))

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_s: float = 120.0) -> RunState:
        """Wait until the run has ended, well or badly, and return its state.

        Raises:
            StackTimeout: it goes on; the message has the state and the end of the log of each task that does.
        """

        def running() -> str | None:
            return None if self.run_state(dag_id, run_id).ended else f"run {run_id} of {dag_id} goes on"

        try:
            self._rest.wait_while(running, timeout_s=timeout_s)
        except StackTimeout as error:
            raise StackTimeout("\n".join([str(error), *self._unfinished(dag_id, run_id)])) from error
        return self.run_state(dag_id, run_id)

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *,
        states: frozenset[str],
        map_index: int = -1,
        timeout_s: float = 60.0,
    ) -> TaskInstance:
        """Wait until the task instance is in one of `states`, and return it.

        Raises:
            StackTimeout: names the state it was in.
        """
        seen: list[TaskInstance] = []

        def elsewhere() -> str | None:
            seen[:] = [
                task
                for task in self.task_instances(dag_id, run_id)
                if (task.task_id, task.map_index) == (task_id, map_index)
            ]
            state = seen[0].state if seen else "absent"
            return None if state in states else f"task {task_id}[{map_index}] of {run_id} is {state}"

        self._rest.wait_while(elsewhere, timeout_s=timeout_s)
        return seen[0]

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return the run's task instances."""
        found: list[TaskInstance] = []
        while True:
            page = self._rest.json(
                "GET", f"{_run_path(dag_id, run_id)}/taskInstances?limit={_PAGE}&offset={len(found)}"
            )
            rows = _rows(page, "task_instances")
            found += [_task_instance(row) for row in rows]
            if len(rows) < _PAGE:
                return found

    def xcom(
        self, dag_id: str, run_id: str, task_id: str, *, key: str = "return_value", map_index: int = -1
    ) -> JsonValue:
        """Return the XCom's value, None if there is none."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        entry = self._rest.find("GET", f"{path}?map_index={map_index}&deserialize=false&stringify=false")
        return None if entry is None else entry["value"]

    def task_links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, JsonValue]:
        """Return the addresses of the task's buttons by their names; None: nothing to click."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/links"
        return self._release.links(self._rest.json("GET", path))

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, *, try_number: int = 1, map_index: int = -1
    ) -> str:
        """Return the log of one try, one event a line, as far as it is written."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}/logs/{try_number}"
        return "\n".join(self._rest.log_lines(f"{path}?map_index={map_index}&full_content=true"))

    def test_connection(self, conn_id: str, fields: Mapping[str, JsonValue]) -> tuple[bool, str]:
        """Press the Test button of a connection's form, if Airflow has one; return what it says."""
        answer = self._rest.json("POST", "/connections/test", {"connection_id": conn_id, **fields})
        return bool(answer["status"]), str(answer["message"])

    def slots(self) -> Slots:
        """Return how the default pool is used at this moment."""
        pool = self._rest.json("GET", "/pools/default_pool")
        in_use = int(str(pool["running_slots"])) + int(str(pool["queued_slots"]))
        return Slots(in_use=in_use, deferred=int(str(pool["deferred_slots"])))

    def patch_task(
        self, dag_id: str, run_id: str, task_id: str, *, new_state: str, map_index: int = -1
    ) -> None:
        """Set the state of a task instance, as the page's "mark as" does."""
        path = f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id)}"
        self._rest.json(
            "PATCH", path if map_index < 0 else f"{path}/{map_index}", self._release.mark_request(new_state)
        )

    def clear_tasks(self, dag_id: str, run_id: str, task_ids: list[str]) -> None:
        """Clear tasks of a run, so that they run again."""
        body: dict[str, JsonValue] = {"dry_run": False, "dag_run_id": run_id, "task_ids": list(task_ids)}
        body |= {"only_failed": False, "reset_dag_runs": True}
        self._rest.json("POST", f"/dags/{quote(dag_id)}/clearTaskInstances", body)

    def patch_run(self, dag_id: str, run_id: str, *, state: str) -> None:
        """Set the state of a run, as the page's "mark as" does."""
        self._rest.json("PATCH", _run_path(dag_id, run_id), {"state": state})

    def _unfinished(self, dag_id: str, run_id: str) -> Iterator[str]:
        for task in self.task_instances(dag_id, run_id):
            if task.ended is None:
                yield f"{task.task_id}[{task.map_index}] is {task.state}; its log ends with:"
                log = self.task_log(
                    dag_id, run_id, task.task_id, try_number=task.try_number, map_index=task.map_index
                )
                yield from log.splitlines()[-_LOG_LINES:]


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}"


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []


def _rows(page: dict[str, JsonValue], key: str) -> list[dict[str, JsonValue]]:
    return [row for row in _list(page[key]) if isinstance(row, dict)]


def _instant(value: JsonValue) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else None


def _task_instance(row: dict[str, JsonValue]) -> TaskInstance:
    state = row["state"]
    label = str(row.get("rendered_map_index") or "")
    return TaskInstance(
        task_id=str(row["task_id"]),
        map_index=int(str(row["map_index"])),
        state=None if state is None else str(state),
        try_number=int(str(row["try_number"])),
        started=_instant(row["start_date"]),
        ended=_instant(row["end_date"]),
        # Without a template Airflow repeats the index here.
        label=label if label != str(row["map_index"]) else "",
        queued=_instant(row["queued_when"]),
    )
