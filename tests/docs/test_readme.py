"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DAG_SNIPPET, SERVICE_SNIPPET = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_dag_of_the_readme_maps_one_call_for_each_model() -> None:
    names: dict[str, object] = {}

    exec(DAG_SNIPPET.replace('with DAG("train_models"):', 'with DAG("train_models") as dag:'), names)

    dag = names["dag"]
    assert dag.task_dict["train"].is_mapped  # type: ignore[attr-defined] # an Airflow DAG


def test_the_service_of_the_readme_has_its_call() -> None:
    names: dict[str, object] = {"__name__": "my_module"}

    exec(SERVICE_SNIPPET, names)

    assert type(names["service"]).__name__ == "Service"


@pytest.mark.parametrize("page", [README, *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name)
def test_every_link_to_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []
