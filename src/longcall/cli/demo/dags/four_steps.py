"""The same call with its four steps as tasks that you can see in the graph.

`create_subscription >> start_call >> wait_for_completion >> delete_subscription`,
the last as a teardown: it runs however the others end.
"""

from __future__ import annotations

from airflow.sdk import dag

from longcall.airflow import LongCallTaskGroup


@dag(schedule=None, tags=["longcall"])
def four_steps() -> None:
    """Train one model, step by step."""
    LongCallTaskGroup(
        group_id="extra_trees",
        http_conn_id="digits",
        endpoint="/train",
        data={"model": "extra trees", "rounds": 1},
        topic="completions",
    )


four_steps()
