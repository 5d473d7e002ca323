"""The messages that somebody still has a use for, each once, however many hold it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from longcall.broker.core.store import Write
from longcall.broker.protos import PubsubMessage

__all__ = ["HeldMessage", "Holder", "MessageTable"]


@dataclass(slots=True, eq=False)
class HeldMessage:
    """A message in memory.

    Attributes:
        body: the `PubsubMessage` as clients see it.
        size_bytes: on the wire.
        published_s: epoch seconds.
        holders: how many have a use for it.
    """

    body: PubsubMessage
    size_bytes: int
    published_s: float
    holders: int = 0


class Holder(Protocol):
    """What a message is kept for: a subscription, a snapshot, or the retention of its topic.

    Attributes:
        number: names it in the store.
    """

    number: int

    @property
    def is_deleted(self) -> bool:
        """Whether it is gone; then it holds nothing."""
        ...

    def receive(self, message_id: int, held: HeldMessage) -> None:
        """Take note of a message that was published."""
        ...

    def restore(self, message_id: int, held: HeldMessage, *, acked: bool) -> None:
        """Take note of a message that the store has kept."""
        ...


class MessageTable:
    """Messages by id, with a count of their holders."""

    def __init__(self) -> None:
        self._held: dict[int, HeldMessage] = {}
        self._unheld: list[int] = []

    def __getitem__(self, message_id: int) -> HeldMessage:
        """Return a message that is held."""
        return self._held[message_id]

    def __contains__(self, message_id: int) -> bool:
        """Tell whether a message is held."""
        return message_id in self._held

    def oldest_s(self) -> float | None:
        """Return when the oldest was published; None: there is none."""
        return next((held.published_s for held in self._held.values()), None)

    def add(self, message_id: int, held: HeldMessage) -> None:
        """Keep a message for the holders that it counts; with none, it only remains to be deleted."""
        if held.holders:
            self._held[message_id] = held
        else:
            self._unheld.append(message_id)

    def hold(self, message_ids: Iterable[int]) -> None:
        """Count one more holder of each."""
        for message_id in message_ids:
            self._held[message_id].holders += 1

    def release(self, message_ids: Iterable[int]) -> list[Write]:
        """Count one holder less of each; return what must be written."""
        gone = []
        for message_id in message_ids:
            held = self._held[message_id]
            held.holders -= 1
            if not held.holders:
                del self._held[message_id]
                gone.append(message_id)
        return [Write.messages_gone(gone)] if gone else []

    def forget_unheld(self) -> list[Write]:
        """Return what must be written to delete the messages that were stored for nobody."""
        unheld, self._unheld = self._unheld, []
        return [Write.messages_gone(unheld)] if unheld else []
