"""Take the pictures of a task that are in the docs: `python -m tests.airflow.screenshots FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx2
from tests.e2e.chromium import Page, open_page

from longcall.cli.stack import LocalStack

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1400, 680
EXPAND = "document.querySelector('[aria-label=\"Expand all extra JSON\"]').click()"
EDITORS = "[...document.querySelectorAll('.monaco-editor')]"
LINES = "document.querySelectorAll('.monaco-editor .view-line').length"


def picture(folder: Path) -> None:
    """Take the pictures, of a DAG run that is made for it."""
    with LocalStack(
        dags_folder=HERE / "pictured",
        service="pictured:service",
        env={"PYTHONPATH": str(HERE.parent / "e2e"), "AIRFLOW_CONN_DIGITS": "{service_url}"},
    ) as stack:
        run_id = stack.airflow.trigger("train_models")
        assert stack.airflow.wait_for_run("train_models", run_id).state == "success"
        task = f"{stack.airflow_url}/dags/train_models/runs/{run_id}/tasks/train"
        link = f"document.querySelector('a[href^=\"{stack.service_url}\"]') !== null"
        with open_page() as page:
            log_in(page, stack)
            page.go(task)
            page.wait_for("document.body.innerText.includes('has arrived')")
            page.screenshot(folder / "task-log.png", width=WIDTH, height=HEIGHT)
            page.go(f"{task}/details")
            page.wait_for(link)
            page.screenshot(folder / "task-link.png", width=WIDTH, height=HEIGHT)
            page.go(f"{task}/xcom")
            page.screenshot(folder / "task-xcom.png", width=WIDTH, height=1220)
            page.wait_for(f"{EDITORS}.length > 2 && {EDITORS}.every(e => e.querySelector('.view-line'))")
            page.value(EXPAND)
            page.wait_for(f"{LINES} > 20")
            page.screenshot(folder / "task-xcom.png", width=WIDTH, height=1220)


def log_in(page: Page, stack: LocalStack) -> None:
    """Give the browser what it has after the login page."""
    login = {"username": stack.login.user, "password": stack.login.password}
    answer = httpx2.post(f"{stack.airflow_url}/auth/token", json=login, trust_env=False)
    token = answer.raise_for_status().json()["access_token"]
    page.send("Network.setCookie", name="_token", value=token, url=stack.airflow_url)


if __name__ == "__main__":
    picture(Path(sys.argv[1]))
