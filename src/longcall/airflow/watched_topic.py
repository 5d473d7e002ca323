"""All completions of a topic, through one lasting subscription, for as long as somebody asks for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from longcall._core.errors import LongcallError
from longcall.airflow.connection_form import INBOX_POLICIES
from longcall.airflow.connections import find_access, find_longcall_connection, resolve_project
from longcall.airflow.in_thread import in_thread
from longcall.airflow.settings import InboxChoice, InboxSettings, settle_inbox
from longcall.airflow.version_compat import AirflowException
from longcall.client import Backoff
from longcall.contract import (
    CallState,
    Cancelled,
    Completion,
    ContractError,
    Failed,
    JsonValue,
    Message,
    Succeeded,
    completion_filter,
    decode_report,
    is_completion,
    resource_path,
)
from longcall.transport import (
    InboxConflict,
    InboxSpec,
    InboxStream,
    Transport,
    TransportDenied,
    TransportError,
)

__all__ = ["CompletionSource", "WatchedTopic", "completion_event"]

log = logging.getLogger(__name__)

_KINDS: Final[dict[CallState, type[Completion]]] = {
    CallState.SUCCEEDED: Succeeded,
    CallState.FAILED: Failed,
    CallState.CANCELLED: Cancelled,
}
_LEASE_S: Final = 60.0
_RENEWAL_S: Final = 20.0
"""Airflow may take minutes to store an event; what a killed triggerer held comes again within one."""
_WEEK_S: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTopic:
    """Which completions, and where they arrive.

    Attributes:
        topic: as a path or an id; None: the `longcall` connection's.
        subscription: as a path or an id.
        project_id: None: the connection's or the environment's.
        gcp_conn_id: the Google connection; None: the `longcall` connection's, or the default.
        longcall_conn_id: the `longcall` connection.
        impersonation_chain: a service account, or the way to it.
        source: of the reports; empty: any.
        states: of the calls.
    """

    topic: str | None
    subscription: str
    project_id: str | None
    gcp_conn_id: str | None
    longcall_conn_id: str | None = None
    impersonation_chain: object = None
    source: str
    states: tuple[CallState, ...]

    def settled(self) -> InboxSettings:
        """Return what it says of topic and way, else its connection; looked up, so in a thread.

        Raises:
            ContractError: nobody names a topic, or the connection cannot be used.
        """
        choice = InboxChoice(
            topic=self.topic,
            project_id=self.project_id,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            inbox_policy=INBOX_POLICIES[0],
        )
        return settle_inbox(choice, find_longcall_connection(self.longcall_conn_id))

    def inbox(self, *, project: str, topic: str) -> InboxSpec:
        """Return how the subscription is created.

        Raises:
            ContractError: a name cannot be used.
        """
        return InboxSpec(
            name=resource_path(
                self.subscription, project=project, collection="subscriptions", field="subscription"
            ),
            topic=resource_path(topic, project=project, collection="topics", field="topic"),
            filter=completion_filter([_KINDS[state] for state in self.states], source=self.source),
            expires_after_s=None,
            retention_s=_WEEK_S,
            labels={"source": "longcall"},
        )


def completion_event(message: Message) -> dict[str, JsonValue] | None:
    """Return what names the completed call; None: the message is no completion. No result, no error's words.

    Raises:
        ContractError: it is malformed.
    """
    report = decode_report(message)
    if report is None or not is_completion(report.body):
        return None
    return {
        "correlid": report.correlation_id,
        "state": type(report.body).__name__.lower(),
        "service": report.source,
        "report": report.id or message.message_id,
        "time": report.time.isoformat() if report.time else "",
    }


class CompletionSource:
    """Receives completions until it is closed, through every interruption."""

    def __init__(self, watched: WatchedTopic) -> None:
        self._watched = watched
        self._transport: Transport | None = None
        self._inbox = ""
        self._held: set[str] = set()

    async def completions(self) -> AsyncGenerator[tuple[dict[str, JsonValue], str], None]:
        """Yield each completion and the ack id to acknowledge it by. What is none is acknowledged here."""
        renewing = asyncio.create_task(self._renew())
        backoff = Backoff(min_s=1.0, max_s=60.0)
        try:
            while True:
                try:
                    async with self._stream() as stream:
                        async for delivery in stream:
                            backoff.reset()
                            self._held.add(delivery.ack_id)
                            event = self._event(delivery.message)
                            if event is None:
                                await self.acknowledge([delivery.ack_id])
                            else:
                                yield event, delivery.ack_id
                except (LongcallError, AirflowException) as error:
                    pause_s = backoff.pause_s()
                    log.warning(
                        "Completions in %s cannot be received: %s; again in %.0f s",
                        self._watched.subscription,
                        error,
                        pause_s,
                    )
                    await asyncio.sleep(pause_s)
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Delete completions whose events are stored; if that fails, they come again."""
        self._held.difference_update(ack_ids)
        if self._transport is not None and ack_ids:
            try:
                await self._transport.acknowledge(self._inbox, ack_ids)
            except TransportError as error:
                log.warning("%d completions may come again: %s", len(ack_ids), error)

    async def release(self, ack_ids: Sequence[str]) -> None:
        """Give completions back whose events are not stored."""
        self._held.difference_update(ack_ids)
        if self._transport is not None and ack_ids:
            try:
                await self._transport.release(self._inbox, ack_ids)
            except TransportError as error:
                log.info("%d completions come again when their lease ends: %s", len(ack_ids), error)

    async def aclose(self) -> None:
        """Give back what is not acknowledged, and disconnect. A repeat does nothing."""
        await self.release(list(self._held))
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            if self._transport is not None and self._held:
                try:
                    await self._transport.extend(self._inbox, list(self._held), lease_s=_LEASE_S)
                except TransportError as error:
                    log.info("%d completions may come again: %s", len(self._held), error)

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[InboxStream]:
        settings = await in_thread(self._watched.settled)
        route = settings.route
        if self._transport is None:
            self._transport = (await in_thread(find_access, route)).open()
        project = await in_thread(resolve_project, settings.project_id, route=route)
        spec = self._watched.inbox(project=project, topic=settings.topic)
        self._inbox = spec.name
        await _ensure(self._transport, spec)
        async with self._transport.open_stream(spec.name, lease_s=_LEASE_S) as stream:
            log.info("Watching the completions in %s", spec.name)
            yield stream

    def _event(self, message: Message) -> dict[str, JsonValue] | None:
        try:
            return completion_event(message)
        except ContractError as error:
            log.warning("Message %s in %s is left out: %s", message.message_id, self._inbox, error)
            return None


async def _ensure(transport: Transport, spec: InboxSpec) -> None:
    try:
        await transport.create_inbox(spec)
    except InboxConflict as error:
        log.warning("The subscription is used as it is: %s", error)
    except TransportDenied as error:
        log.info("The subscription has to exist already: %s", error)
