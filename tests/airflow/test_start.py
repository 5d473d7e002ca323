"""The request that starts the work: what it says, when it is repeated, what its answer must be like."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from longcall.airflow.arguments import StartRequest
from longcall.airflow.errors import AnswerRejected
from longcall.airflow.record import CallRecord
from longcall.airflow.steps import check_start, start
from longcall.client import CallRefused
from longcall.contract import ContractError

CONTEXT: Any = {"ti": SimpleNamespace(dag_id="dag", task_id="call")}
RECORD = CallRecord(correlid="lc-one", inbox="inbox", lasting=True, project_id="p", gcp_conn_id="g")


@dataclass
class ScriptedService:
    """Answers each POST with the next of `answers`, the last one for ever."""

    answers: list[tuple[int, dict[str, str]]]
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    @contextmanager
    def running(self) -> Iterator[ScriptedService]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                scripted.requests.append((self.command, self.path))
                status, headers = scripted.answers[0]
                if len(scripted.answers) > 1:
                    scripted.answers.pop(0)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, *words: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedService]:
    with ScriptedService([(202, {"Location": "/calls/lc-one"})]).running() as running:
        monkeypatch.setenv("AIRFLOW_CONN_SCRIPTED", running.url)
        yield running


def request(**changes: Any) -> StartRequest:
    given: dict[str, Any] = {
        "http_conn_id": "scripted",
        "endpoint": "/train",
        "method": "POST",
        "data": None,
        "headers": None,
        "timeout": None,
        "heartbeat_timeout": None,
        "signing": "off",
        "start_attempts": 3,
        "start_retry_max": timedelta(seconds=1),
    }
    return StartRequest(**(given | changes))


@pytest.mark.parametrize(
    ("endpoint", "query", "expected"),
    [
        ("/train", None, {}),
        ("/train", {"model": "a b&c", "n": 3}, {"model": ["a b&c"], "n": ["3"]}),
        ("/train?version=2", {"day": ["1", "2"]}, {"version": ["2"], "day": ["1", "2"]}),
    ],
)
def test_query_is_sent_beside_the_id(
    service: ScriptedService, endpoint: str, query: Any, expected: dict[str, list[str]]
) -> None:
    record, _ = start(RECORD, request(endpoint=endpoint, query=query), CONTEXT)

    ((method, path),) = service.requests
    parts = urlsplit(path)
    assert (method, parts.path) == ("POST", "/train")
    assert parse_qs(parts.query) == {**expected, "correlid": ["lc-one"]}
    assert record.location == f"{service.url}/calls/lc-one"


@pytest.mark.parametrize("query", [{"correlid": "lc-two"}, "model=small"])
def test_query_that_cannot_be_sent_names_the_field(service: ScriptedService, query: Any) -> None:
    with pytest.raises(ContractError, match=r"^query: "):
        start(RECORD, request(query=query), CONTEXT)
    assert service.requests == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_service_that_is_busy_is_asked_again_with_the_same_id(service: ScriptedService, status: int) -> None:
    service.answers = [(status, {"Retry-After": "0"}), *service.answers]

    start(RECORD, request(), CONTEXT)

    assert service.requests == [("POST", "/train?correlid=lc-one")] * 2


@pytest.mark.parametrize(
    ("answer", "times"),
    [((503, {}), 3), ((503, {"Retry-After": "3600"}), 1), ((422, {}), 1)],
)
def test_service_is_asked_no_oftener_than_makes_sense(
    service: ScriptedService, answer: tuple[int, dict[str, str]], times: int
) -> None:
    service.answers = [answer]

    with pytest.raises(CallRefused, match=str(answer[0])):
        start(RECORD, request(start_retry_max=timedelta(milliseconds=1)), CONTEXT)

    assert len(service.requests) == times


def test_no_attempt_at_all_is_refused(service: ScriptedService) -> None:
    with pytest.raises(ContractError, match=r"^start_attempts: "):
        start(RECORD, request(start_attempts=0), CONTEXT)


def test_answer_that_the_check_accepts_starts_the_call(service: ScriptedService) -> None:
    wanted = request(response_check=lambda answer: answer.status_code == 202)
    record, started = start(RECORD, wanted, CONTEXT)

    check_start(record, started, wanted)


class _OfTheAuthor(Exception):
    pass


def _raise(answer: object) -> bool:
    raise _OfTheAuthor


@pytest.mark.parametrize(("check", "error"), [(lambda answer: False, AnswerRejected), (_raise, _OfTheAuthor)])
def test_answer_that_the_check_does_not_accept_is_an_error(
    service: ScriptedService, check: Any, error: type[Exception]
) -> None:
    """Who started the call cancels it then, as after any other error: see `test_ends`."""
    record, started = start(RECORD, request(response_check=check), CONTEXT)

    with pytest.raises(error):
        check_start(record, started, request(response_check=check))
