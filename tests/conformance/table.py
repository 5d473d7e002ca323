"""The page of the docs that shows who conforms, made from a run of the suite.

    make conformance

As a pytest plugin it watches the run; as a module it says which behaviours there are.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Behaviour", "Table", "behaviours", "page"]

HERE = Path(__file__).parent
COLUMNS = {
    "memory": "in-memory double",
    "broker": "longcall broker",
    "http": "the same over HTTP",
    "google": "Google's emulator",
}
INTRODUCTION = """\
# Who conforms

What one suite, `tests/conformance`, found on each system. `make conformance` runs it and writes this page, if
`LONGCALL_GOOGLE_EMULATOR` names the executable of Google's emulator; `make test` runs it without that. A
behaviour rests on Google's documentation, on comments of `pubsub.proto`, or on recordings of the real
service; the service itself was not run.

*yes*: does it. *no*: does something else, which is said. *-*: not asked: the double has no API of its own,
HTTP has no streams, or the behaviour takes too long where the test cannot move the time. Over HTTP it is
Google's own REST client that asks.
"""


@dataclass(frozen=True, order=True)
class Behaviour:
    """One line of the table.

    Attributes:
        area: title of its file.
        text: what is expected.
    """

    area: str
    text: str


def behaviours(path: Path) -> Iterator[tuple[str, Behaviour]]:
    """Yield the tests of a file by name, with the behaviour that each is about."""
    module = ast.parse(path.read_text())
    area = (ast.get_docstring(module) or path.stem).partition("\n")[0].rstrip(".")
    for function in module.body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test_"):
            said = ast.get_docstring(function) or function.name.removeprefix("test_").replace("_", " ")
            text = said.partition("\n")[0].rstrip(".")
            yield function.name, Behaviour(area, text[0].upper() + text[1:])


@dataclass
class Table:
    """What a run has found."""

    found: dict[Behaviour, dict[str, set[str]]] = field(default_factory=dict)
    _known: dict[Path, dict[str, Behaviour]] = field(default_factory=dict)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Note which behaviour and system a test is about."""
        if item.path not in self._known:
            self._known[item.path] = dict(behaviours(item.path))
        behaviour = self._known[item.path][item.originalname]  # type: ignore[attr-defined]
        parameters = getattr(item, "callspec", None)
        values = parameters.params.values() if parameters else ()
        systems = [value for value in values if isinstance(value, str) and value in COLUMNS]
        item.user_properties.append(("behaviour", behaviour))
        item.user_properties.append(("system", systems[0] if systems else "broker"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what became of it."""
        properties = dict(report.user_properties)
        if report.when != "call" and not (report.when == "setup" and report.skipped):
            return
        verdict = "yes" if report.passed else "-"
        if hasattr(report, "wasxfail"):
            verdict = f"no: {report.wasxfail.removeprefix('reason: ')}"
        elif report.failed:
            verdict = "FAILED"
        systems = self.found.setdefault(properties["behaviour"], {})
        systems.setdefault(properties["system"], set()).add(verdict)


def page(table: Table, versions: dict[str, str]) -> str:
    """Return the page, in Markdown."""
    names = [f"{label} {versions.get(system, '')}".strip() for system, label in COLUMNS.items()]
    lines = [INTRODUCTION]
    area = ""
    for behaviour, systems in sorted(table.found.items()):
        if behaviour.area != area:
            area = behaviour.area
            lines += [f"\n## {area}\n", f"| | {' | '.join(names)} |", "| --- " * 5 + "|"]
        cells = [_verdict(systems.get(system, ())) for system in COLUMNS]
        lines.append(f"| {behaviour.text} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _verdict(found: Iterable[str]) -> str:
    """Return one verdict for the cases of a test; what is wrong with one of them is what counts."""
    by_weight = sorted(found, key=lambda verdict: (verdict == "-", verdict == "yes", verdict))
    return by_weight[0].replace("|", "\\|") if by_weight else "-"
