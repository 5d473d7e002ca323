"""Fill in what longcall makes of a golden vector's message.

Run as `python -m tests.contract.complete_vector FILE...`. A FILE holds `description` and `message`;
name and outcome are added, to be read over before they are committed: from then on the vector is
never changed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.contract.test_golden import message_of, report_to_json

from longcall.contract import ContractError, MalformedReport, decode_report, encode_report


def outcome(vector: dict[str, Any]) -> dict[str, Any]:
    """Return the members that say what a reader makes of the vector's message."""
    message = message_of(vector)
    try:
        report = decode_report(message)
    except MalformedReport as error:
        return {"refused": error.field}
    if report is None:
        return {"ignored": True}
    try:
        canonical = encode_report(report) == message
    except ContractError:  # without the attributes that CloudEvents requires: a bare service's
        canonical = False
    return {"canonical": canonical, "report": report_to_json(report)}


def complete(vector: dict[str, Any], *, name: str) -> dict[str, Any]:
    """Return the whole vector."""
    given = {"description": vector["description"], "message": vector["message"]}
    return {"name": name, **given, **outcome(vector)}


def main() -> None:
    """Complete the files that the command line names."""
    for file in map(Path, sys.argv[1:]):
        vector = complete(json.loads(file.read_text("utf-8")), name=file.stem)
        file.write_text(json.dumps(vector, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
