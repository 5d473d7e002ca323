"""A shell script behind a DAG: no code but `longcall serve -- COMMAND`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.airflow.conftest import COMMAND_PORT
from tests.airflow.runs import wait_until

from longcall.cli.stack import LocalStack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).parents[2] / "examples/command/nightly.sh"


def test_shell_script_that_is_killed_in_the_middle_is_done_after_all(
    stack: LocalStack, tmp_path: Path
) -> None:
    command = (str(SCRIPT), "--folder", "{folder}", "--date", "{date}")
    served = (sys.executable, "-m", "longcall.cli.main", "serve", "--listen", f":{COMMAND_PORT}")
    stack.start_component(
        "nightly", *served, "--store", str(tmp_path / "store"), "--", *command, port=COMMAND_PORT
    )

    run_id = stack.airflow.trigger("shell_script", {"folder": str(tmp_path)})
    wait_until((tmp_path / "begun-1").exists, "the script runs")
    stack.kill_component("nightly")
    stack.restart_component("nightly")
    wait_until((tmp_path / "begun-2").exists, "the script runs again")
    (tmp_path / "ready").touch()

    assert stack.airflow.wait_for_run("shell_script", run_id, timeout_s=120).state == "success"
    result = stack.airflow.xcom("shell_script", run_id, "call")
    assert result == {"date": "2026-01-31", "rows": 42, "attempt": 2}
    log = stack.airflow.task_log("shell_script", run_id, "call")
    # What the first attempt said may have died with the service on its way to Pub/Sub.
    assert "Service: night of 2026-01-31, attempt 2" in log
    assert "Progress: 3 of 3 part 3" in log
    assert stack.airflow.task_instances("shell_script", run_id)[0].try_number == 1
