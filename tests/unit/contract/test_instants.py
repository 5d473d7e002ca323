"""Instants mean the same in every language and every version of Python."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.contract.strategies import instants

from longcall.contract import ContractError
from longcall.contract.instants import decode_instant, encode_instant

ALMOST = st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?[Zz+-][0-9:]{0,5}", fullmatch=True)


@given(instants)
def test_every_instant_survives(instant: datetime) -> None:
    text = encode_instant(instant, field="t")

    assert text.endswith("Z")
    assert decode_instant(text, field="t") == instant


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00+05:30", datetime(2026, 1, 31, 6, 30, tzinfo=UTC)),
        ("2026-01-31T12:00:00-00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5Z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-12-31T23:59:60Z", datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_every_form_of_rfc_3339_is_read(text: str, instant: datetime) -> None:
    assert decode_instant(text, field="t") == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "noon",
        "2026-01-31",
        "2026-01-31T12:00Z",
        "2026-01-31T12:00:00",
        "20260131T120000Z",
        "2026-W05-1T12:00:00Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T24:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T12:00:00+00:00:30",
        "2026-01-31T12:00:00Z\n",
        "２026-01-31T12:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:60Z",
    ],
)
def test_what_rfc_3339_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match="RFC 3339"):
        decode_instant(text, field="t")


@given(st.text(max_size=40) | ALMOST)
def test_any_text_is_an_instant_or_is_refused(text: str) -> None:
    try:
        instant = decode_instant(text, field="t")
    except ContractError:
        return
    assert instant.tzinfo is UTC
