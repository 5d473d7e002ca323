"""Which call a try of a task means: the same again after a crash, a new one after a failure or a clear.

The id is not kept anywhere: it is derived from what Airflow itself keeps of a task instance, so that a
worker that comes after one that was killed finds it again, and the service recognises the request (ADR 7).
So is the key that the service signs with: it stands in no XCom and in no trigger's arguments (ADR 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from longcall.airflow.version_compat import Context, fernet_key
from longcall.contract import MAX_SIGNING_KEYS, SigningKey, derived_token

__all__ = ["TaskTry", "deployment_name", "signing_keys"]


def deployment_name() -> str:
    """Return what tells this deployment from others in one Google project; empty: it has no `fernet_key`."""
    secret = _oldest_key()
    return derived_token(secret, "deployment")[:16] if secret else ""


def signing_keys(correlation_id: str, *, secret: str | None = None) -> tuple[SigningKey, ...]:
    """Return the key for a call's reports; none: the deployment has nothing to derive one from.

    While that is rotated (`NEW,OLD`) there are two, so that who has only one of them can tell.

    Args:
        correlation_id: the call.
        secret: of its `longcall` connection; None: the deployment's `fernet_key`.
    """
    material = _listed(secret or fernet_key())[:MAX_SIGNING_KEYS]
    return tuple(SigningKey.derived(each, correlation_id) for each in material)


def _oldest_key() -> bytes:
    """Return the key that names are derived from: in a rotation, what they were derived from before."""
    return next(reversed(_listed(fernet_key())), b"")


def _listed(secret: str) -> tuple[bytes, ...]:
    return tuple(each.strip().encode() for each in secret.split(",") if each.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTry:
    """One try of a task instance.

    Attributes:
        names: the task instance: DAG, run, task, map index.
        first: the number of the first try since the task was last cleared, from 1.
        number: of this try.
        is_last: Airflow gives it no other, should it fail.
    """

    names: tuple[str, str, str, int]
    first: int
    number: int
    is_last: bool = False

    @classmethod
    def of(cls, context: Context) -> Self:
        """Read the running task's."""
        ti, task = context["ti"], context["task"]
        # A clear allows as many tries again as the task has: Airflow's own rule (`max_tries`).
        first = max(1, (ti.max_tries or 0) - (task.retries or 0) + 1)
        return cls(
            names=(ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index),
            first=min(first, ti.try_number),
            number=ti.try_number,
            is_last=ti.try_number > (ti.max_tries or 0),
        )

    @property
    def tries(self) -> int:
        """How many tries there were since the last clear, this one included."""
        return self.number - self.first + 1

    def token(self, number: int) -> str:
        """Return the unguessable part of the id of the task's call of this number, from 1."""
        return derived_token(_oldest_key(), *self.names, self.first, number)
