"""`Client`: the same calls for scripts and notebooks that are not asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from longcall.client.client import AsyncClient, StartedCall
from longcall.client.config import ClientConfig
from longcall.contract import CallStatus, JsonValue, Report

__all__ = ["Client"]


class Client:
    """`AsyncClient` with an event loop of its own, which runs only while a method does.

    For one thread, in which no other event loop is running. `with` closes it. What the methods do
    is said there; a completion that `watch` has yielded is leased only while something runs, so that
    it may come again if it is looked at for minutes.
    """

    def __init__(self, connect: Callable[[], AsyncClient]) -> None:
        """Make the client that does the work; `connect` runs inside the event loop."""
        self._runner = asyncio.Runner()
        try:
            self._client = self._runner.run(_made(connect))
        except BaseException:
            self._runner.close()
            raise

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str],
        *,
        topic: str | None = None,
        project: str | None = None,
        inbox: str | None = None,
        topic_per_call: bool = False,
        config: ClientConfig | None = None,
    ) -> Self:
        """Connect as `AsyncClient.from_env` does."""
        return cls(
            lambda: AsyncClient.from_env(
                environ,
                topic=topic,
                project=project,
                inbox=inbox,
                topic_per_call=topic_per_call,
                config=config,
            )
        )

    def __enter__(self) -> Self:
        """Do nothing: connections are made when they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close it and its event loop; see `AsyncClient.aclose`."""
        try:
            self._runner.run(self._client.aclose())
        finally:
            self._runner.close()

    def call(
        self,
        url: str,
        arguments: JsonValue | bytes = None,
        *,
        timeout: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JsonValue | bytes:
        """Start a call and return its result; see `AsyncClient.call`."""
        return self._runner.run(self._client.call(url, arguments, timeout=timeout, headers=headers))

    def start(
        self,
        url: str,
        arguments: JsonValue | bytes = None,
        *,
        correlation_id: str | None = None,
        content_type: str = "",
        deadline: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> StartedCall:
        """Start a call; see `AsyncClient.start`."""
        return self._runner.run(
            self._client.start(
                url,
                arguments,
                correlation_id=correlation_id,
                content_type=content_type,
                deadline=deadline,
                headers=headers,
            )
        )

    def watch(self, call: StartedCall, *, timeout: timedelta | None = None) -> Iterator[Report]:
        """Yield the reports of a call; see `AsyncClient.watch`. Close the iterator to leave it early."""
        reports = self._client.watch(call, timeout=timeout)
        try:
            while (report := self._runner.run(_next(reports))) is not None:
                yield report
        finally:
            self._runner.run(_closed(reports))

    def wait(self, call: StartedCall, *, timeout: timedelta | None = None) -> JsonValue | bytes:
        """Return the result of a call; see `AsyncClient.wait`."""
        return self._runner.run(self._client.wait(call, timeout=timeout))

    def result(self, completion: Report) -> JsonValue | bytes:
        """Return the result that a completion carries; see `AsyncClient.result`."""
        return self._runner.run(self._client.result(completion))

    def status(self, call: StartedCall) -> CallStatus | None:
        """Ask how a call stands; see `AsyncClient.status`."""
        return self._runner.run(self._client.status(call))

    def cancel(self, call: StartedCall) -> bool:
        """Ask the service to stop the work; see `AsyncClient.cancel`."""
        return self._runner.run(self._client.cancel(call))

    def abandon(self, call: StartedCall) -> None:
        """Cancel the work and delete its inbox; see `AsyncClient.abandon`."""
        self._runner.run(self._client.abandon(call))


async def _made(connect: Callable[[], AsyncClient]) -> AsyncClient:
    return connect()


async def _next(reports: AsyncIterator[Report]) -> Report | None:
    return await anext(reports, None)


async def _closed(reports: AsyncGenerator[Report, None]) -> None:
    await reports.aclose()
