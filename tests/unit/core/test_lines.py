"""Lines for a person, of text from anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall._core.lines import LineBudget, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 漢 🎉", "plain ä 漢 🎉"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bplain", "plain"),
        ("a\tb", "a       b"),
        ("ok\r\n2026-01-01 INFO forged", "ok\\r\\n2026-01-01 INFO forged"),
        ("nul\x00 bell\x07", "nul\\x00 bell\\x07"),
        ("turned \u202etxt.exe", "turned \\u202etxt.exe"),
        ("half \ud800", "half \\ud800"),
        ("thin\u2009space\xa0kept", "thin space kept"),
        ("", ""),
    ],
)
def test_line_is_harmless(text: str, shown: str) -> None:
    assert one_line(text, limit=100) == shown


@given(st.text(st.characters() | st.sampled_from("\x1b[]0;m\x07\\")), st.integers(1, 50))
def test_any_text_becomes_one_printable_line_of_the_limit(text: str, limit: int) -> None:
    line = one_line(text, limit=limit)
    assert line.isprintable()
    assert len(line) <= limit
    assert one_line(line, limit=limit) == line


def test_line_that_is_cut_says_so() -> None:
    assert one_line("x" * 11, limit=10) == "x" * 9 + "…"
    assert one_line("x" * 10, limit=10) == "x" * 10


def test_budget_lets_a_burst_through_and_then_a_few_a_second() -> None:
    budget = LineBudget()
    assert sum(budget.allows(now_s=0.0) for _ in range(1000)) == 200
    assert budget.take_left_out() == 800
    assert sum(budget.allows(now_s=1.0) for _ in range(1000)) == 20
    assert sum(budget.allows(now_s=1000.0) for _ in range(1000)) == 200
