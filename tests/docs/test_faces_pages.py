"""The faces of a call: the DAGs of their pages run as they stand; the reference names every argument."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from longcall.airflow import LongCallSensor, ServiceCompletionsTrigger
from longcall.airflow.arguments import InboxArguments, ResultArguments, StartArguments

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "airflow.md").read_text()
PAGES = {
    "call-from-a-task.md": "train_models",
    "show-the-steps.md": "train_in_steps",
    "wait-for-a-call.md": "after_training",
    "decorate-a-function.md": "train_decorated",
    "run-a-dag-on-completion.md": "when_trained",
}
RUN = """
import os
import httpx2
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
from google.cloud import pubsub_v1
from longcall.service import Call, Service
from longcall.testing import running_broker, running_service

digits = Service("digits")

@digits.handler("/train")
def train(call: Call):
    return {"accuracy": {"svc": 0.97, "mlp": 0.9}[call.arguments["model"]]}

def dag_of(dag_id):
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"] + f"/{dag_id}.py")
    assert not bag.import_errors, bag.import_errors
    return bag.dags[dag_id]

def results(run, task_id):
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    with create_session() as session:
        rows = session.query(XComModel).filter_by(dag_id=run.dag_id, run_id=run.run_id, task_id=task_id)
        return [row.value for row in rows.filter_by(key="return_value").order_by(XComModel.map_index)]

with running_broker() as host:
    os.environ["PUBSUB_EMULATOR_HOST"] = host
    pubsub_v1.PublisherClient().create_topic(name="projects/test/topics/completions")
    with running_service(digits, topic="completions", project="test") as url:
        os.environ["AIRFLOW_CONN_DIGITS"] = url
        for dag_id, task_id in (
            ("train_models", "train"), ("train_in_steps", "publish_report"), ("train_decorated", "best")
        ):
            run = dag_of(dag_id).test()
            print(dag_id, run.state, results(run, task_id), flush=True)
        answer = httpx2.post(f"{url}/train?correlid=by-hand", json={"model": "svc"}, trust_env=False)
        run = dag_of("after_training").test(run_conf={"location": answer.headers["location"]})
        print("after_training", run.state, results(run, "wait"), flush=True)
        print("when_trained", dag_of("when_trained").dag_id)
"""


def dag_in(name: str) -> str:
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "how-to" / name).read_text(), re.DOTALL | re.MULTILINE
    )
    return str(block)


@pytest.mark.timeout(300)
def test_dag_of_each_page_runs_as_it_stands_there(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    for page, dag_id in PAGES.items():
        (dags / f"{dag_id}.py").write_text(dag_in(page))
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "GOOGLE_CLOUD_PROJECT": "test",
        "PYTHONPATH": str(dags),
    }
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    subprocess.run(migrate, env=environment, check=True, capture_output=True)

    done = subprocess.run(
        [sys.executable, "-c", RUN],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said, said
    for line in (
        "train_models success [0.97, 0.9]",
        "train_in_steps success ['accuracy 0.97']",
        "train_decorated success [0.97]",
        "after_training success [{'accuracy': 0.97}]",
        "when_trained when_trained",
    ):
        assert line in done.stdout, said


@pytest.mark.parametrize(
    ("face", "heading"),
    [
        (InboxArguments, "LongCallOperator"),
        (StartArguments, "LongCallOperator"),
        (ResultArguments, "LongCallOperator"),
        (LongCallSensor, "LongCallSensor"),
        (ServiceCompletionsTrigger, "ServiceCompletionsTrigger"),
    ],
)
def test_reference_has_every_argument_with_its_default(face: Any, heading: str) -> None:
    (section,) = re.findall(rf"^## `{heading}`\n(.*?)(?=^## |\Z)", REFERENCE, re.DOTALL | re.MULTILINE)
    documented = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    parameters = inspect.signature(face.__init__).parameters
    own = {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert own
    assert own <= documented
