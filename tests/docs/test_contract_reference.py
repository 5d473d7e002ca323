"""The examples of the contract's reference are what the code reads and writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from longcall.contract import (
    MAX_ID_LENGTH,
    MAX_MESSAGE_BYTES,
    CallStatus,
    Message,
    decode_report,
    encode_report,
)
from longcall.contract.codec import _TYPES
from longcall.contract.message import MAX_ATTRIBUTE_VALUE_BYTES

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "contract.md").read_text()
EXAMPLES = re.findall(r"```json (\S+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", [text for kind, text in EXAMPLES if kind == "status"])
def test_status_examples_are_read_and_written_alike(text: str) -> None:
    assert CallStatus.from_wire(json.loads(text)).to_wire() == json.loads(text)


@pytest.mark.parametrize(("kind", "text"), [example for example in EXAMPLES if example[0] != "status"])
def test_report_examples_are_read_and_written_alike(kind: str, text: str) -> None:
    attributes = {"correlid": "a", "ce-type": kind, "ce-id": "1", "ce-source": "/s"}

    report = decode_report(Message(data=text.encode(), attributes=attributes))

    assert report is not None
    assert json.loads(encode_report(report).data) == json.loads(text)


def test_every_type_of_report_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `(longcall\.call\.\w+\.v1)`", PAGE, re.MULTILINE)) == set(_TYPES.values())


def test_no_json_example_goes_unchecked() -> None:
    assert len(EXAMPLES) == PAGE.count("```json") > 0


def test_limits_are_those_of_the_code() -> None:
    assert f"1 to {MAX_ID_LENGTH} visible ASCII" in PAGE
    assert f"| report | {MAX_MESSAGE_BYTES:,} bytes" in PAGE
    assert f"| attribute value | {MAX_ATTRIBUTE_VALUE_BYTES} bytes" in PAGE
