"""A process that stood still, and what Cloud Run is likely to have to do with it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from longcall._core.clock import ShiftedClock, SystemClock
from longcall.service import ServiceConfig
from longcall.service.cloud_run import standstill_advice, start_warnings
from longcall.service.standstill import watching_for_standstill

TOPIC = "projects/p/topics/completions"
CLOUD_RUN = {"K_SERVICE": "trainer"}


class Warnings(logging.Handler):
    """What was logged, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.said.put_nowait(record.getMessage())


async def test_standstill_is_noticed_when_it_holds_something_up() -> None:
    clock, warnings = ShiftedClock(SystemClock()), Warnings()
    works = False
    logger = logging.getLogger("longcall.service.standstill")
    logger.addHandler(warnings)
    try:
        async with (
            watching_for_standstill(is_working=lambda: works, advice="idle", clock=clock),
            watching_for_standstill(is_working=lambda: True, advice="wake it", clock=clock),
            asyncio.timeout(30),
        ):
            await asyncio.sleep(0)
            clock.advance(60)
            assert "stood still for 60 s while it had calls at work: wake it" in await warnings.said.get()
    finally:
        logger.removeHandler(warnings)
    assert warnings.said.empty()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"store": "/var/calls", "drain_s": 5}, ["LONGCALL_STORE", "--no-cpu-throttling"]),
        ({"store": "postgresql://db/calls", "drain_s": 10}, ["--no-cpu-throttling", "--drain 2"]),
        ({"store": "postgresql://db/calls", "drain_s": 5, "works": False}, []),
    ],
)
def test_cloud_run_is_warned_of_by_what_it_makes_unsafe(
    settings: dict[str, float | str], said: list[str]
) -> None:
    config = ServiceConfig(topic=TOPIC, **settings)  # type: ignore[arg-type]
    warnings = list(start_warnings(config, CLOUD_RUN))
    assert len(warnings) == len(said)
    assert all(words in warning for words, warning in zip(said, warnings, strict=True))
    assert list(start_warnings(config, {})) == []


def test_advice_is_cloud_runs_there_and_anybodys_elsewhere() -> None:
    assert "--no-cpu-throttling" in standstill_advice(CLOUD_RUN)
    assert "event loop" in standstill_advice({})
