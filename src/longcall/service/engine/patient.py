"""What a worker of procrastinate asks of its queue, for as long as PostgreSQL is away.

Otherwise an outage would last for that worker: one that cannot read the queue takes no more jobs until those
that run have ended; what listens for jobs and what gives signs of life ends at its first error, and nobody is
told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback
from psycopg.errors import ForeignKeyViolation

from longcall.service.engine.jobs import why

__all__ = ["PatientJobManager"]

log = logging.getLogger(__name__)

_RETRY_S: Final = 1.0


class PatientJobManager(JobManager):
    """A queue in which nothing that a worker does over and over ends because it has failed once.

    A replica that starts deletes workers that gave no sign of life for very long: one that was deleted
    registers again.
    """

    def __init__(self, connector: BaseConnector) -> None:
        """Use a connector that the application opens and closes."""
        super().__init__(connector)
        self._registered: dict[int, int] = {}

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Take a job; None: there is none, or nobody knows. The worker asks again in five seconds."""
        try:
            return await super().fetch_job(queues, self._registered.get(worker_id, worker_id))
        except ConnectorException as error:
            log.error("Calls wait: the queue cannot be read: %s", why(error))
            if isinstance(error.__cause__, ForeignKeyViolation):
                with suppress(ConnectorException):  # or the next time
                    self._registered[worker_id] = await self.register_worker()
            return None

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Take a job out of the queue, unless somebody has, or nobody can: what counts is in the store."""
        try:
            await super().finish_job(job, status, delete_job)
        except ConnectorException as error:
            log.debug("Job %s is not finished: %s", job.id, why(error))

    async def update_heartbeat(self, worker_id: int) -> None:
        """Give a sign of life, if it can be given."""
        try:
            await super().update_heartbeat(self._registered.get(worker_id, worker_id))
        except ConnectorException as error:
            log.debug("No sign of life of worker %d: %s", worker_id, why(error))

    async def unregister_worker(self, worker_id: int) -> None:
        """Let it be known that the worker has ended."""
        await super().unregister_worker(self._registered.pop(worker_id, worker_id))

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Listen until cancelled."""
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=queues)
            except ConnectorException as error:
                log.debug("Nobody tells of new jobs: %s", why(error))
            await asyncio.sleep(_RETRY_S)

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """Return nothing: whoever cancels a call says so in the store."""
        return ()
