"""Endpoints that are slow, dead or hostile: they are bounded, and everybody else goes on being served."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.push_endpoints import Endpoint, raw_server, read_request, running_endpoint
from tests.e2e.test_broker_api import INBOX, TOPIC, Google, google_clients, message
from tests.e2e.test_broker_push import in_line

from longcall.testing.broker import running_broker
from longcall.testing.clock import VirtualClock

CHUNK = b"x" * 65536
HUGE_BYTES = 100_000_000
OTHER = "projects/p/subscriptions/other"


@pytest.fixture
def google() -> Iterator[Google]:
    clock = VirtualClock()
    with running_broker(clock=clock) as address, google_clients(address, clock) as clients:
        clients.publisher.create_topic(name=TOPIC)
        yield clients


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with running_endpoint() as running:
        yield running


class Hostile:
    """Answers with `first` and then with `forever`, until the broker has had enough.

    Attributes:
        requests: what it was sent.
        sent_bytes: how much it got rid of, for each connection that is closed.
    """

    def __init__(self, first: bytes, forever: bytes = b"") -> None:
        self._first, self._forever = first, forever
        self.requests: list[bytes] = []
        self.sent_bytes: list[int] = []

    def __call__(self, connection: socket.socket) -> None:
        sent_bytes = 0
        try:
            while request := read_request(connection):
                self.requests.append(request)
                connection.sendall(self._first)
                sent_bytes += len(self._first)
                while self._forever and sent_bytes < HUGE_BYTES:
                    connection.sendall(self._forever)
                    sent_bytes += len(self._forever)
                if b"HTTP/1.0" in self._first or b"Length" not in self._first:
                    return
        finally:
            self.sent_bytes.append(sent_bytes)


def _push(google: Google, url: str, name: str, **fields: object) -> None:
    google.subscriber.create_subscription(
        request={"name": name, "topic": TOPIC, "push_config": {"push_endpoint": url}} | fields
    )


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS: dict[str, Callable[[], Hostile]] = {
    "headers": lambda: Hostile(OK, b"X-Long: " + CHUNK + b"\r\n"),
    "one header": lambda: Hostile(OK + b"X-Long: ", CHUNK),
    "status line": lambda: Hostile(b"HTTP/1.1 200 ", CHUNK),
    "informational answers": lambda: Hostile(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000),
    "nonsense": lambda: Hostile(b"", CHUNK),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_endless_answer_is_a_failure_and_costs_little(google: Google, endpoint: Endpoint, what: str) -> None:
    hostile = ENDLESS[what]()
    with raw_server(hostile) as url:
        _push(google, url, INBOX)
        google.publish(message("x"))
        endpoint.wait_for(lambda: bool(hostile.sent_bytes))
        assert max(hostile.sent_bytes) < HUGE_BYTES / 10  # what the sockets held, not what it would have sent
        _push(google, endpoint.url, OTHER)
        google.publish(message("y"))
        endpoint.wait_for_texts("y")
        google.clock.advance(60)
        endpoint.wait_for(lambda: len(hostile.sent_bytes) >= 2)  # it was a failure: it comes again


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 OK\r\n\r",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
def test_answer_that_is_none_is_a_failure(google: Google, endpoint: Endpoint, answer: bytes) -> None:
    requests = []

    def talk(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(answer)

    with raw_server(talk) as url:
        _push(google, url, INBOX)
        google.publish(message("x"))

        def came_again() -> bool:
            google.clock.advance(1)
            return len(requests) >= 3

        endpoint.wait_for(came_again)


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Transfer-Encoding: chunked\r\n\r\n10000\r\n" + CHUNK,
        OK + b"Content-Length: 1000000000\r\n\r\n",
        OK + b"\r\n",
        OK + b"Set-Cookie: a=b\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        OK + b"Content-Length: 5\r\n\r\nabcdefghijkl",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
    ],
)
def test_status_is_what_counts_however_the_body_goes_on(
    google: Google, endpoint: Endpoint, answer: bytes
) -> None:
    is_long = b"chunked" in answer or b"1000000000" in answer
    hostile = Hostile(answer, CHUNK if is_long else b"")
    with raw_server(hostile) as url:
        _push(google, url, INBOX, enable_message_ordering=True)
        google.publish(*in_line("first", "second"))  # the second comes when the first is acknowledged
        endpoint.wait_for(lambda: len(hostile.requests) == 2)
        bodies = [json.loads(request.partition(b"\r\n\r\n")[2]) for request in hostile.requests]
        assert [body["message"]["data"] for body in bodies] == ["Zmlyc3Q=", "c2Vjb25k"]


def test_endpoint_that_never_answers_holds_up_nobody(google: Google, endpoint: Endpoint) -> None:
    connections: list[socket.socket] = []
    done = threading.Event()

    def hang(connection: socket.socket) -> None:
        connections.append(connection)
        done.wait()

    with raw_server(hang) as url:
        for i in range(20):
            _push(google, url, f"{INBOX}-{i}")
        _push(google, endpoint.url, OTHER)
        texts = [str(i) for i in range(50)]
        google.publish(*(message(text) for text in texts))
        endpoint.wait_for(lambda: set(endpoint.texts) == set(texts))
        endpoint.wait_for(lambda: len(connections) == 20 * 4)
        for _ in range(5):
            google.clock.advance(11)  # they all fail, and the windows shrink
            google.clock.advance(60)
        google.publish(message("last"))
        endpoint.wait_for(lambda: "last" in endpoint.texts)
        done.set()


def test_login_and_cookies_stay_where_they_belong(google: Google, endpoint: Endpoint) -> None:
    received: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        while request := read_request(connection):
            received.append(request)
            connection.sendall(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    with raw_server(talk) as url:
        _push(google, url.replace("://", "://user:p%40ss@"), INBOX)
        google.publish(message("x"))
        endpoint.wait_for(lambda: len(received) == 1)
        google.publish(message("y"))
        endpoint.wait_for(lambda: len(received) == 2)
        for request in received:
            assert b"Authorization: Basic dXNlcjpwQHNz\r\n" in request
            assert b"cookie" not in request.lower()
            assert b"user:p" not in request
