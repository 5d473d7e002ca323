"""What may be registered and configured, and what is refused before anything starts."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longcall._core.clock import SystemClock
from longcall.contract import CallRequest, JsonValue, Progress
from longcall.service import Call, Service, ServiceConfig, ServiceConfigError
from longcall.service.log_lines import LogWriter
from longcall.service.wording import publishable

TOPIC = "projects/p/topics/completions"
CONFIG = ServiceConfig(topic=TOPIC)


def at_the_top(call: Call) -> JsonValue:
    return None


class Holder:
    def method(self, call: Call) -> JsonValue:
        return None


def make_local() -> Callable[[Call], JsonValue]:
    def local(call: Call) -> JsonValue:
        return None

    return local


def test_decorator_leaves_the_function_as_it_is() -> None:
    service = Service("s")
    assert service.handler("/h")(at_the_top) is at_the_top
    assert service.handlers == {"/h": at_the_top}
    service.asgi(CONFIG)


@pytest.mark.parametrize(
    "handler",
    [make_local(), lambda call: None, Holder().method, functools.partial(at_the_top)],
    ids=["local", "lambda", "method", "partial"],
)
def test_synchronous_handler_that_no_process_can_import_is_refused_at_once(
    handler: Callable[[Call], JsonValue],
) -> None:
    service = Service("s")
    service.handler("/h")(handler)
    with pytest.raises(ServiceConfigError, match="at the top of a module"):
        service.asgi(CONFIG)


def test_synchronous_handler_of_the_main_module_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(at_the_top, "__module__", "__main__")
    service = Service("s")
    service.handler("/h")(at_the_top)
    with pytest.raises(ServiceConfigError, match="longcall serve"):
        service.asgi(CONFIG)


def test_service_without_handlers_is_refused() -> None:
    with pytest.raises(ServiceConfigError, match="no handlers"):
        Service("s").asgi(CONFIG)


@pytest.mark.parametrize("path", ["", "train", "/calls", "/calls/x", "/health", "/{id}"])
def test_path_that_is_none_or_the_services_own_is_refused(path: str) -> None:
    with pytest.raises(ServiceConfigError, match="path"):
        Service("s").handler(path)


def test_path_is_taken_once_and_may_begin_like_one_of_the_services_own() -> None:
    service = Service("s")
    service.handler("/callsign")(at_the_top)
    with pytest.raises(ServiceConfigError, match="already"):
        service.handler("/callsign")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 81])
def test_name_that_is_no_source_is_refused(name: str) -> None:
    with pytest.raises(ServiceConfigError, match="name"):
        Service(name)


@pytest.mark.parametrize(
    "environ",
    [
        {"LONGCALL_TOPIC": "completions", "GOOGLE_CLOUD_PROJECT": "p"},
        {"GCP_TOPIC": "completions", "GOOGLE_CLOUD_PROJECT": "p"},
        {"LONGCALL_TOPIC": TOPIC},
        {"LONGCALL_TOPIC": TOPIC, "GCP_TOPIC": "other", "GOOGLE_CLOUD_PROJECT": "other"},
    ],
)
def test_topic_comes_from_the_environment(environ: dict[str, str]) -> None:
    config = ServiceConfig.from_env(environ)
    assert (config.topic, config.project) == (TOPIC, "p")


@pytest.mark.parametrize(
    ("environ", "missing"), [({}, "topic"), ({"LONGCALL_TOPIC": "completions"}, "project")]
)
def test_environment_that_names_too_little_is_refused(environ: dict[str, str], missing: str) -> None:
    with pytest.raises(ServiceConfigError, match=missing):
        ServiceConfig.from_env(environ)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("topic", "completions"),
        ("topic", "projects/p/subscriptions/s"),
        ("max_processes", 0),
        ("max_ended_bytes", 0),
        ("heartbeat_s", 0.0),
        ("progress_interval_s", math.nan),
        ("drain_s", -1.0),
        ("drain_s", math.inf),
    ],
)
def test_setting_that_makes_no_service_is_refused_by_name(setting: str, value: float | str) -> None:
    with pytest.raises(ServiceConfigError, match=setting):
        replace(CONFIG, **{setting: value})  # type: ignore[arg-type]


class Float(float):
    """A number of another library's."""


@pytest.mark.parametrize(
    ("done", "total"), [(math.nan, 1), (1, math.inf), (-1, None), (1, math.nan), (-math.inf, None)]
)
def test_progress_that_is_none_is_not_reported(done: float, total: float | None) -> None:
    reported: list[Progress] = []
    log_writer = LogWriter(lambda _line: None, clock=SystemClock())
    request = CallRequest(correlation_id="a")
    call = Call(request, attempt=1, on_progress=reported.append, log_writer=log_writer)
    call.progress(done, total)
    assert reported == []
    call.progress(Float(0.5), 3, "half\udcff")
    assert reported == [Progress(done=0.5, total=3, message="half\\udcff")]
    assert (type(reported[0].done), type(reported[0].total)) == (float, int)


@given(st.text(st.characters(codec=None)))
def test_any_text_can_be_made_publishable(text: str) -> None:
    fit = publishable(text)
    fit.encode()
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert fit == text


def test_endless_text_ends() -> None:
    assert len(publishable("x" * 1_000_000)) == 100_000
