"""Train several models at the same time and pick the best.

One mapped task makes one call per candidate. Each takes a worker for the moment
it needs to start the work, and again for the moment in which the result arrives.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task

from longcall.airflow import LongCallOperator

CANDIDATES = [
    {"model": "random forest", "rounds": 1},
    {"model": "neural network", "rounds": 1},
    {"model": "support vectors", "rounds": 8},
    {"model": "logistic regression", "rounds": 8},
]


@dag(schedule=None, tags=["longcall"])
def pick_best_model() -> None:
    """Map a call over the candidates; take the one that reads most digits right."""
    trained = LongCallOperator.partial(
        task_id="train",
        http_conn_id="digits",
        endpoint="/train",
        topic="completions",
        map_index_template="{{ task.data['model'] }}",
    ).expand(data=CANDIDATES)

    @task
    def pick_best(results: list[dict[str, Any]]) -> dict[str, Any]:
        return max(results, key=lambda result: result["accuracy"])

    pick_best(trained.output)  # type: ignore[arg-type] # an XComArg stands for what it will hold


pick_best_model()
