"""Read by every Airflow process of the stack at its start.

The scheduler forks its workers: what it has imported, none of hundreds of tasks imports again. Half of a
task's time in these tests was that.
"""

from __future__ import annotations

import sys

import airflow

if "scheduler" in sys.argv and not airflow.__version__.startswith("2."):
    import longcall.airflow.operator
    import longcall.transport.pubsub  # noqa: F401
