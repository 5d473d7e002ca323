"""The page of who conforms is about the tests that there are, and ours conforms everywhere."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conformance import table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "broker-conformance.md"


def _rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [^-|]", line)]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return [row for row in rows if row[1] != "in-memory double" and row[0]]


def test_page_lists_every_test_and_no_other() -> None:
    files = sorted(table.HERE.glob("test_*.py"))
    there = {behaviour.text for path in files for _, behaviour in table.behaviours(path)}
    assert {row[0] for row in _rows()} == there, "make conformance writes the page again"


def test_broker_conforms_everywhere() -> None:
    assert {row[2] for row in _rows()} <= {"yes", "-"}
    assert {row[3] for row in _rows()} <= {"yes", "-"}
    assert not [row for row in _rows() if "FAILED" in row]
