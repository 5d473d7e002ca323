"""A broker as new, while it runs."""

from __future__ import annotations

import asyncio

from longcall.broker.core.broker_core import BrokerCore

__all__ = ["reset"]


async def reset(core: BrokerCore) -> None:
    """Delete everything that is there now; streams end as those of deleted subscriptions do.

    Returns when that is durable. What others create meanwhile may stay.
    """
    state = core.state
    writes = [
        *(write for each in list(state.subscriptions.values()) for write in core.subscriptions.remove(each)),
        *(write for each in list(state.snapshots.values()) for write in core.snapshots.remove(each)),
    ]
    await asyncio.gather(
        state.store.write(writes),
        *(core.topics.delete(name) for name in list(state.topics)),
        *(core.schemas.delete(name) for name in list(state.schemas)),
    )
    await core.sweeper.sweep()
