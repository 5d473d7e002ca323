"""Acknowledgements of one inbox: what is asked for while a request is under way goes with the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from longcall._core.errors import LongcallError
from longcall.transport.port import Transport

__all__ = ["Acknowledgements"]


class Acknowledgements:
    """Turns many acknowledgements at once into few requests; the first waits for nobody."""

    def __init__(self, inbox: str, transport: Transport) -> None:
        self._inbox = inbox
        self._transport = transport
        self._waiting: list[tuple[Sequence[str], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Acknowledge, and return when the message system knows it. Cancelling stops the wait alone.

        Raises:
            TransportError: it may be delivered again.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((ack_ids, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._send_all(), name=f"longcall acknowledge {self._inbox}")
        await done

    async def aclose(self, *, timeout_s: float) -> None:
        """Wait for what is under way, and end it if it takes too long. A repeat does nothing."""
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=timeout_s)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for _ack_ids, done in self._waiting:
            done.cancel()

    async def _send_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: LongcallError | None = None
            try:
                await self._transport.acknowledge(
                    self._inbox, [ack_id for ack_ids, _done in batch for ack_id in ack_ids]
                )
            except LongcallError as refused:
                error = refused
            except asyncio.CancelledError:
                for _ack_ids, done in batch:
                    done.cancel()
                raise
            for _ack_ids, done in batch:
                if done.done():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
