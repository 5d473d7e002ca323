"""A program for an Airflow 2's interpreter: make its database, and an administrator of each user of a file.

It stands alone: that interpreter may have no longcall. The passwords come from the file, since a
command line can be read by everybody on the machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["main"]


def main(passwords: Path) -> None:
    """Run `airflow db migrate`, then `airflow users create` for each user of the JSON file."""
    _airflow("db", "migrate")
    for user, password in json.loads(passwords.read_text()).items():
        who = ("--username", user, "--firstname", user, "--lastname", user, "--email", f"{user}@localhost")
        _airflow("users", "create", "--role", "Admin", *who, f"--password={password}")


def _airflow(*arguments: str) -> None:
    from airflow.__main__ import main as airflow

    sys.argv = ["airflow", *arguments]
    airflow()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
