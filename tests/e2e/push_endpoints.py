"""HTTP servers that a push subscription may meet: one that records and answers as told, and raw ones."""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 30.0


@dataclass
class Pushed:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    @property
    def text(self) -> str:
        return base64.b64decode(self.event["message"]["data"]).decode()


class Endpoint:
    """Records requests. Each is answered with the status that `answer` gives, as soon as it gives one."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/push"
        self.requests: list[Pushed] = []
        self.answered = 0
        self.abandoned = 0
        self.answer: Callable[[Pushed], int] = lambda _: 204
        self.location = "http://127.0.0.1:1/"
        self._changed = threading.Condition()

    @property
    def texts(self) -> list[str]:
        return [pushed.text for pushed in list(self.requests)]

    def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Wait until something is true, of the requests or anything else."""
        end_s = time.monotonic() + WAIT_S
        while not predicate():
            assert time.monotonic() < end_s, [(pushed.path, pushed.body) for pushed in self.requests]
            with self._changed:
                self._changed.wait(0.02)

    def wait_for_count(self, count: int) -> None:
        """Wait until so many requests have come."""
        self.wait_for(lambda: len(self.requests) >= count)

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many answers are on their way."""
        self.wait_for(lambda: self.answered >= count)

    def wait_for_texts(self, *texts: str) -> None:
        """Wait until exactly these were pushed, in any order."""
        self.wait_for_count(len(texts))
        assert sorted(self.texts) == sorted(texts)

    def took(self, pushed: Pushed) -> None:
        with self._changed:
            self.requests.append(pushed)
            self._changed.notify_all()

    def answer_sent(self) -> None:
        with self._changed:
            self.answered += 1
            self._changed.notify_all()

    def lost(self) -> None:
        with self._changed:
            self.abandoned += 1
            self._changed.notify_all()


class Gate:
    """Answers that wait until they are let through, one by one or all."""

    def __init__(self, status: int = 204) -> None:
        self._status = status
        self._slots = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, _: Pushed) -> int:
        while not self._open.is_set() and not self._slots.acquire(timeout=0.05):
            pass
        return self._status

    def let_through(self, count: int = 1) -> None:
        self._slots.release(count)

    def open(self) -> None:
        self._open.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        endpoint: Endpoint = self.server.endpoint  # type: ignore[attr-defined] # set below
        body = self.rfile.read(int(self.headers["Content-Length"]))
        pushed = Pushed(self.path, dict(self.headers.items()), body)
        endpoint.took(pushed)
        status = endpoint.answer(pushed)
        try:
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", endpoint.location)
            if status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()
            self.wfile.flush()
            endpoint.answer_sent()
            self.connection.setblocking(False)
            with suppress(BlockingIOError):
                if not self.connection.recv(1, socket.MSG_PEEK):
                    endpoint.lost()
            self.connection.setblocking(True)
        except OSError:
            endpoint.lost()
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def running_endpoint() -> Iterator[Endpoint]:
    """Serve one endpoint on a free port."""
    server = _Server(("127.0.0.1", 0), _Handler)
    endpoint = Endpoint(server.server_address[1])
    server.endpoint = endpoint  # type: ignore[attr-defined]
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def read_request(connection: socket.socket) -> bytes:
    """Read one request to its end; nothing, if the connection is closed instead."""
    data = b""
    while part := connection.recv(65536):
        data += part
        head, found, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        if found and length and len(body) >= int(length[1]):
            return data
    return b""


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve connections with `talk`, each in a thread; yield a URL. An error of the connection ends it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            talk(connection)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        serving.join()
