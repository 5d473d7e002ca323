"""The DAGs before and after the move are what the page says."""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from longcall.airflow import LongCallOperator
from longcall.airflow.arguments import InboxArguments, ResultArguments, StartArguments

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "migrate-from-stock-operators.md").read_text()


def test_dags_of_the_page_are_dags() -> None:
    tasks: dict[str, list[str]] = {}
    for example in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        names: dict[str, Any] = {}
        exec(re.sub(r"^(with DAG\(.*\)):$", r"\1 as dag:", example, flags=re.MULTILINE), names)
        assert isinstance(names["dag"], DAG)
        tasks[names["dag"].dag_id] = list(names["dag"].task_dict)

    steps = ["create_subscription", "start_call", "wait_for_completion", "delete_subscription"]
    assert tasks == {
        "nightly_before": ["create", "invoke", "wait", "delete"],
        "nightly_after": ["nightly"],
        "nightly_in_four_steps": [f"nightly.{step}" for step in steps],
    }


def test_arguments_of_the_right_column_exist() -> None:
    table = PAGE.partition("## Where each argument went")[2].partition("##")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)=`", row.rpartition(" | ")[2])}
    parts = (InboxArguments, StartArguments, ResultArguments)
    assert all(issubclass(LongCallOperator, part) for part in parts)
    assert named
    assert named <= {name for part in parts for name in signature(part.__init__).parameters}
