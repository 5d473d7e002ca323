"""The form of a `longcall` connection, as each Airflow reads it."""

from __future__ import annotations

import json
import sys
import warnings
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager

from longcall.airflow.connection_form import CONNECTION_FIELDS, conn_fields
from longcall.airflow.hook import LongCallHook
from longcall.airflow.provider_info import get_provider_info


def test_airflow_lists_the_type_and_its_hook() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other providers' hooks
        hook = ProvidersManager().hooks["longcall"]

    assert hook is not None
    assert (hook.hook_class_name, hook.connection_id_attribute_name) == (
        "longcall.airflow.hook.LongCallHook",
        "longcall_conn_id",
    )
    assert hook.connection_testable


def test_description_of_the_form_is_what_airflow_takes() -> None:
    (described,) = get_provider_info()["connection-types"]  # type: ignore[misc]
    behaviour = described["ui-field-behaviour"]

    assert described["conn-fields"] == conn_fields()
    assert behaviour["hidden-fields"] == LongCallHook.get_ui_field_behaviour()["hidden_fields"]
    json.dumps(described)
    for field in described["conn-fields"].values():
        jsonschema.Draft7Validator.check_schema(field["schema"])
        jsonschema.validate(None, {"type": field["schema"]["type"]})


def test_airflow_2_gets_the_same_fields_from_the_hook() -> None:
    if find_spec("wtforms") is None:
        pytest.skip("this Airflow has no forms of its own")
    assert tuple(LongCallHook.get_connection_form_widgets()) == CONNECTION_FIELDS


def test_airflow_3_0_and_3_1_get_the_same_fields_from_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have no forms, and put stand-ins in place of the libraries, which 3.2 still has."""
    services = pytest.importorskip("airflow.api_fastapi.core_api.services.ui.connections")
    stand_ins = services.HookMetaService
    names: dict[str, dict[str, Any]] = {
        "wtforms": {"StringField": stand_ins.MockStringField},
        "wtforms.validators": {"Optional": stand_ins.MockOptional, "any_of": stand_ins.MockEnum},
        "flask_babel": {"lazy_gettext": str},
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {"BS3TextFieldWidget": stand_ins.MockAnyWidget},
    }
    for name, members in names.items():
        monkeypatch.setitem(sys.modules, name, cast("ModuleType", SimpleNamespace(**members)))

    widgets = LongCallHook.get_connection_form_widgets()

    described = {name: widget.param.dump() for name, widget in widgets.items()}
    assert tuple(described) == CONNECTION_FIELDS
    for name, field in conn_fields().items():
        assert isinstance(field, dict)
        assert described[name]["description"] == field["description"]
        assert described[name]["schema"].get("enum") == field["schema"].get("enum")
        assert described[name]["schema"]["title"] == field["label"]
