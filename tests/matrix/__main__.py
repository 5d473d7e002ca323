"""Run the provider's tests in each environment given, and print the table of the docs.

Tests without a stack run in the environment itself. The stack's tests run here, with the environment's
Airflow: broker and service are in no need of one, and as a rule live elsewhere.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

PACKAGES = ("apache-airflow", "apache-airflow-providers-common-compat", "apache-airflow-providers-google")
ASK = (
    "import importlib.metadata as m, json, platform, sys;"
    "print(json.dumps([platform.python_version(), *map(m.version, sys.argv[1:])]))"
)


@dataclass(slots=True)
class Outcome:
    """What the tests of one environment came to."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, report: Path) -> None:
        """Count what a JUnit file tells; without one, pytest itself failed."""
        if not report.exists():
            self.failed.append("pytest ended without a report")
            return
        for case in ElementTree.parse(report).iter("testcase"):
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.append(f"{case.get('classname')}::{case.get('name')}")
            elif skip is not None:
                self.skipped[str(skip.get("message"))] += 1
            else:
                self.passed += 1


def run(python: Path) -> Outcome:
    """Run both kinds of tests against one environment."""
    outcome = Outcome()
    with_airflow = ("--airflow-python", python)
    with tempfile.TemporaryDirectory() as folder:
        for name, command in {
            "inside": (python, "-m", "pytest", "-m", "not stack", "tests/unit/airflow", "tests/airflow"),
            "stack": (sys.executable, "-m", "pytest", "-m", "stack", "tests/airflow", *with_airflow),
        }.items():
            report = Path(folder) / f"{name}.xml"
            subprocess.run([*command, "-q", "--junitxml", report], check=False, stdout=sys.stderr)
            outcome.add(report)
    return outcome


def row(python: Path, outcome: Outcome) -> str:
    """Return the table's row."""
    asked = subprocess.run([python, "-c", ASK, *PACKAGES], check=True, capture_output=True, text=True)
    python_version, airflow, *providers = json.loads(asked.stdout)
    reasons = "; ".join(f"{count} × {reason}" for reason, count in outcome.skipped.items())
    counts = (outcome.passed, len(outcome.failed), sum(outcome.skipped.values()))
    return f"| {' | '.join(map(str, (airflow, python_version, *providers, *counts, reasons)))} |"


def main(environments: list[str]) -> int:
    """Print a row as soon as it is known; return the number of environments where something failed."""
    print("| Airflow | Python | common-compat | google | passed | failed | skipped | because |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    bad = 0
    for environment in environments:
        python = Path(environment).absolute() / "bin" / "python"
        outcome = run(python)
        print(row(python, outcome), flush=True)
        for failed in outcome.failed:
            print(f"failed on {environment}: {failed}", file=sys.stderr)
        bad += bool(outcome.failed)
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
