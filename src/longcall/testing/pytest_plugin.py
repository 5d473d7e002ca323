"""The fixtures `longcall_broker` and `longcall_broker_process`, for pytest.

Nothing of gRPC is imported before a test asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from longcall.testing.inspection import InspectedBroker
    from longcall.testing.process import BrokerProcess

__all__ = ["longcall_broker", "longcall_broker_process"]


@pytest.fixture
def longcall_broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[InspectedBroker]:
    """A new broker on a free port, in a thread of this process; PUBSUB_EMULATOR_HOST names it."""
    from longcall.broker import BrokerConfig
    from longcall.testing.broker import running_broker
    from longcall.testing.inspection import InspectedBroker

    with running_broker(BrokerConfig(testing=True)) as address:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        broker = InspectedBroker(address)
        yield broker
        broker.close()


@pytest.fixture
def longcall_broker_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerProcess]:
    """A new broker that is a process of its own and may be killed; PUBSUB_EMULATOR_HOST names it."""
    from longcall.testing.process import BrokerProcess

    with BrokerProcess(tmp_path / "longcall-broker") as broker:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
        yield broker
