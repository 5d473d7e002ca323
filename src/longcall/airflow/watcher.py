"""The trigger of an asset watcher: each completion of a service becomes an event of the asset.

For calls that no task of this Airflow waits for. Everybody who may publish on the topic can cause an event:
no key is known here that its signature could be checked with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from longcall.airflow.route import accounts_in
from longcall.airflow.version_compat import (
    HAS_ASSET_WATCHERS,
    AdvanceItem,
    AirflowException,
    BaseEventTrigger,
    SharedStreamProducer,
    TriggerEvent,
)
from longcall.airflow.watched_topic import CompletionSource, WatchedTopic
from longcall.contract import CallState, ContractError, JsonValue

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["ServiceCompletionsTrigger"]

_STORED_AFTER_S: Final = 10.0
"""Before Airflow 3.3 a trigger is not told when its event is stored; it takes a second or two."""


class ServiceCompletionsTrigger(BaseEventTrigger):
    """Fires for every completion on a topic; for `AssetWatcher`, not for tasks. Airflow 3.0 or newer.

    The event names the call and not its result: `correlid`, `state`, `service` (the report's source; empty
    for a bare service), `report` (its id) and `time`.

    A completion is acknowledged when its event is stored, so that none is lost with a triggerer; one may come
    twice. Before Airflow 3.3, which says when that is, it is acknowledged ten seconds after the event.
    """

    def __init__(
        self,
        *,
        topic: str | None = None,
        subscription: str,
        project_id: str | None = None,
        longcall_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        impersonation_chain: str | Sequence[str] | None = None,
        source: str = "",
        states: Sequence[str] = ("succeeded",),
    ) -> None:
        """Keep what to watch.

        Args:
            topic: Pub/Sub topic where the service publishes, as an id or a full path; default: that of the
                `longcall` connection.
            subscription: name of the lasting subscription to receive through, of this watcher alone; created
                where it does not exist.
            project_id: project of the topic; default: the Google connection's.
            longcall_conn_id: `longcall` connection, which may name topic, project and Google connection.
            impersonation_chain: service account to use Pub/Sub as, or the list of accounts that leads to it.
            gcp_conn_id: Google connection for Pub/Sub; not looked up while `PUBSUB_EMULATOR_HOST` is set.
            source: the service, as its reports name it (`ce-source`); empty: every one.
            states: which completions fire: `succeeded`, `failed`, `cancelled`.

        Raises:
            AirflowException: this Airflow has no asset watchers.
            ContractError: a state is none of a completion.
        """
        if not HAS_ASSET_WATCHERS:
            raise AirflowException(
                "ServiceCompletionsTrigger needs Airflow 3.0 or newer, which has asset watchers; "
                "on Airflow 2 wait for the call with LongCallOperator or LongCallSensor"
            )
        final = [state.value for state in CallState if state.is_final]
        if not states or not set(states) <= set(final):
            raise ContractError("states", f"one or more of {', '.join(final)}, not {list(states)!r:.80}")
        super().__init__()  # type: ignore[no-untyped-call] # Airflow's has no hints
        self.topic = topic
        self.subscription = subscription
        self.project_id = project_id
        self.longcall_conn_id = longcall_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = list(accounts_in(impersonation_chain)) or None
        self.source = source
        self.states = sorted(set(states))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "topic": self.topic,
                "subscription": self.subscription,
                "project_id": self.project_id,
                "longcall_conn_id": self.longcall_conn_id,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
                "source": self.source,
                "states": self.states,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each completion; what Airflow before 3.3 runs."""
        source = CompletionSource(self._watched())
        acknowledging: set[asyncio.Task[None]] = set()
        try:
            async with aclosing(source.completions()) as completions:
                async for completion, ack_id in completions:
                    if self._fires_for(completion):
                        yield TriggerEvent(completion)
                    task = asyncio.create_task(_acknowledge_later(source, ack_id))
                    acknowledging.add(task)
                    task.add_done_callback(acknowledging.discard)
        finally:
            # What is not acknowledged yet comes again: its event may not be stored.
            for task in acknowledging:
                task.cancel()
            await asyncio.gather(*acknowledging, return_exceptions=True)
            await source.aclose()

    def shared_stream_key(self) -> Hashable:
        """Have Airflow 3.3 tell when events are stored: the purpose of its shared streams here."""
        way = (self.longcall_conn_id, self.gcp_conn_id, *(self.impersonation_chain or ()))
        return ("longcall", *way, self.project_id, self.topic, self.subscription)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return who receives and acknowledges, for all watchers of the subscription."""
        return _Producer(CompletionSource(cls(**kwargs)._watched()))

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[dict[str, JsonValue]]
    ) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each completion that this watcher is for."""
        async for completion in shared_stream:
            if self._fires_for(completion):
                yield TriggerEvent(completion)

    def _watched(self) -> WatchedTopic:
        return WatchedTopic(
            topic=self.topic,
            subscription=self.subscription,
            project_id=self.project_id,
            longcall_conn_id=self.longcall_conn_id,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            source=self.source,
            states=tuple(CallState(state) for state in self.states),
        )

    def _fires_for(self, completion: dict[str, JsonValue]) -> bool:
        """Say what the subscription's filter says: it may have been created with another."""
        return completion["state"] in self.states and self.source in ("", completion["service"])


class _Producer(SharedStreamProducer):
    """What Airflow 3.3 asks for completions and tells that their events are stored."""

    def __init__(self, source: CompletionSource) -> None:
        self._source = source

    def open_stream(self) -> AsyncGenerator[tuple[dict[str, JsonValue], str], None]:
        return self._source.completions()

    def get_advance_lane(self, broker_payload: str) -> Hashable:
        return broker_payload  # one completion does not wait for another

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        await self._source.acknowledge([item.broker_payload for item in batch if item.outcome.is_clean])
        await self._source.release([item.broker_payload for item in batch if not item.outcome.is_clean])

    async def aclose(self) -> None:
        await self._source.aclose()


async def _acknowledge_later(source: CompletionSource, ack_id: str) -> None:
    await asyncio.sleep(_STORED_AFTER_S)
    await source.acknowledge([ack_id])
