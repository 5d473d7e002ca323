"""The HTTP/JSON API of a running broker: what clients of other kinds send, and what they should not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from google.auth.credentials import AnonymousCredentials
from google.pubsub_v1 import types as T
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from tests.e2e.test_broker_process import broker

from longcall.broker import Broker, BrokerConfig, BrokerConfigError
from longcall.testing.broker import started_broker
from longcall.testing.clock import VirtualClock

WAIT_S = 30.0
TOPIC, INBOX = "/v1/projects/p/topics/top", "/v1/projects/p/subscriptions/inbox"
LIMIT_BYTES = 10_485_760
TOO_LARGE = "Request payload size exceeds the limit: 10485760 bytes."


@pytest.fixture
def running() -> Iterator[Broker]:
    with started_broker(BrokerConfig(http_port=0), clock=VirtualClock()) as started:
        yield started


@pytest.fixture
def http(running: Broker) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"http://{running.http_address}", timeout=WAIT_S) as client:
        yield client


def create(http: httpx2.Client) -> None:
    assert http.put(TOPIC).status_code == 200
    assert http.put(INBOX, json={"topic": TOPIC.removeprefix("/v1/")}).status_code == 200


def publish(http: httpx2.Client, *texts: str) -> list[str]:
    messages = [{"data": b64encode(text.encode()).decode()} for text in texts]
    answer = http.post(f"{TOPIC}:publish", json={"messages": messages})
    return [str(each) for each in answer.json()["messageIds"]]


def refused(answer: httpx2.Response, code: int, status: str, says: str = "") -> dict[str, Any]:
    """Expect an error in Google's form."""
    body = answer.json()["error"]
    assert (answer.status_code, body["code"], body["status"]) == (code, code, status), body
    assert says in body["message"], body
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    return dict(body)


class Raw:
    """A connection on which anything may be sent."""

    def __init__(self, address: str | None) -> None:
        assert address is not None
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT_S)

    def send(self, text: str | bytes) -> None:
        self.socket.sendall(text.encode() if isinstance(text, str) else text)

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Read one answer; return its status and its JSON."""
        with self.socket.makefile("rb") as file:
            status = int(file.readline().split()[1])
            length = 0
            while (line := file.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            return status, json.loads(file.read(length))

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def raw(running: Broker) -> Iterator[Raw]:
    with closing(Raw(running.http_address)) as connection:
        yield connection


def test_health(http: httpx2.Client) -> None:
    answer = http.get("/")
    assert (answer.status_code, answer.text.strip()) == (200, "Ok")


def test_message_goes_round(http: httpx2.Client) -> None:
    create(http)
    [message_id] = publish(http, "hällo")
    answer = http.post(f"{INBOX}:pull", json={"maxMessages": "10"})
    [received] = answer.json()["receivedMessages"]
    assert received["message"]["messageId"] == message_id
    assert received["message"]["data"] == b64encode("hällo".encode()).decode()
    acknowledged = http.post(f"{INBOX}:acknowledge", json={"ackIds": [received["ackId"]]})
    assert (acknowledged.status_code, acknowledged.json()) == (200, {})
    assert http.post(f"{INBOX}:pull", json={"maxMessages": 1, "returnImmediately": True}).json() == {}


def test_http_and_grpc_are_one_broker(running: Broker, http: httpx2.Client) -> None:
    create(http)
    publish(http, "x")
    with grpc.insecure_channel(running.address) as channel:
        subscriber = SubscriberGrpcTransport(channel=channel, credentials=AnonymousCredentials())
        request = T.PullRequest(subscription=INBOX.removeprefix("/v1/"), max_messages=1)
        assert [each.message.data for each in subscriber.pull(request).received_messages] == [b"x"]


def test_query_parameters(http: httpx2.Client) -> None:
    for n in range(3):
        http.put(f"{TOPIC}-{n}")
    first = http.get("/v1/projects/p/topics", params={"pageSize": 2}).json()
    rest = http.get("/v1/projects/p/topics", params={"page_token": first["nextPageToken"]}).json()
    assert [each["name"] for each in first["topics"] + rest["topics"]] == [
        f"projects/p/topics/top-{n}" for n in range(3)
    ]
    refused(http.get("/v1/projects/p/topics?pageSize=x"), 400, "INVALID_ARGUMENT")
    unknown = refused(http.get("/v1/projects/p/topics?nonsense=1"), 400, "INVALID_ARGUMENT")
    assert 'Unknown name "nonsense"' in unknown["message"]


def test_system_parameters(http: httpx2.Client) -> None:
    create(http)
    assert http.get(TOPIC).json()["state"] == "ACTIVE"
    assert http.get(f"{TOPIC}?$alt=json;enum-encoding=int").json()["state"] == 1
    assert "\n  " in http.get(f"{TOPIC}?prettyPrint=true&key=whatever").text
    refused(http.get(f"{TOPIC}?alt=proto"), 400, "INVALID_ARGUMENT")


def test_name_that_is_percent_encoded(http: httpx2.Client) -> None:
    created = http.put("/v1/projects/p/topics/a%2Bb%25c")
    assert created.json()["name"] == "projects/p/topics/a+b%c"
    assert http.get("/v1/projects/p/topics/a+b%25c").status_code == 200


def test_refusals_have_googles_form(http: httpx2.Client) -> None:
    refused(http.get(TOPIC), 404, "NOT_FOUND", "Resource not found (resource=top)")
    create(http)
    refused(http.put(TOPIC), 409, "ALREADY_EXISTS")
    refused(http.patch(TOPIC, json={"topic": {}, "updateMask": ""}), 400, "INVALID_ARGUMENT", "update_mask")
    refused(http.get("/v1/projects/p/widgets"), 404, "NOT_FOUND", "/v1/projects/p/widgets")
    refused(http.get("/nowhere"), 404, "NOT_FOUND")
    refused(http.post(f"{TOPIC}:nonsense"), 404, "NOT_FOUND")
    refused(http.post(f"{INBOX}:streamingPull"), 404, "NOT_FOUND")
    wrong = http.post(TOPIC)
    refused(wrong, 405, "UNIMPLEMENTED", "DELETE, GET, PATCH, PUT")
    assert wrong.headers["allow"] == "DELETE, GET, PATCH, PUT"
    policy = {"policy": {"etag": "AAAA"}}
    refused(http.post(f"{TOPIC}:setIamPolicy", json=policy), 409, "ABORTED")


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"nonsense": 1}', b'{"labels": 1}'])
def test_bad_json(http: httpx2.Client, body: bytes) -> None:
    refused(http.put(TOPIC, content=body), 400, "INVALID_ARGUMENT", "Invalid JSON payload received")
    assert http.get("/").status_code == 200


def test_data_that_is_no_base64_is_refused(http: httpx2.Client) -> None:
    create(http)
    answer = http.post(f"{TOPIC}:publish", json={"messages": [{"data": "Hello, world!"}]})
    refused(answer, 400, "INVALID_ARGUMENT", "Base64 decoding failed")


def test_details_of_an_error(http: httpx2.Client) -> None:
    http.put(TOPIC)
    http.put(INBOX, json={"topic": TOPIC.removeprefix("/v1/"), "enableExactlyOnceDelivery": True})
    publish(http, "x")
    [received] = http.post(f"{INBOX}:pull", json={"maxMessages": 1}).json()["receivedMessages"]
    ack = {"ackIds": [received["ackId"]]}
    assert http.post(f"{INBOX}:modifyAckDeadline", json=ack | {"ackDeadlineSeconds": 0}).status_code == 200
    error = refused(http.post(f"{INBOX}:acknowledge", json=ack), 400, "INVALID_ARGUMENT")
    [detail] = error["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert detail["reason"] == "EXACTLY_ONCE_ACKID_FAILURE"


def test_largest_body(http: httpx2.Client) -> None:
    create(http)
    for size, code in ((LIMIT_BYTES, 404), (LIMIT_BYTES + 1, 400)):
        answer = http.post("/nowhere", content=b"x" * size)
        assert answer.status_code == code
    refused(http.put(TOPIC, content=b" " * 20_000_000), 400, "INVALID_ARGUMENT", TOO_LARGE)
    assert http.get(TOPIC).status_code == 200


def test_body_that_is_too_large_is_refused_before_it_comes(raw: Raw) -> None:
    raw.send("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    status, body = raw.answer()
    assert (status, body["error"]["message"]) == (400, TOO_LARGE)


def test_client_that_asks_before_it_sends_is_told_not_to(raw: Raw) -> None:
    raw.send("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11000000\r\n\r\n")
    assert raw.answer()[0] == 400
    assert raw.socket.recv(1) == b""


def test_endless_body_is_refused_at_the_limit(raw: Raw) -> None:
    raw.send("POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    for _ in range(LIMIT_BYTES // 0x10000 + 1):
        raw.send(chunk)
    status, body = raw.answer()
    assert (status, body["error"]["message"]) == (400, TOO_LARGE)


def test_pages_of_other_sites_are_refused(running: Broker, http: httpx2.Client) -> None:
    create(http)
    refused(http.post("/reset", headers={"Origin": "https://example.com"}), 403, "PERMISSION_DENIED")
    refused(http.post("/reset", headers={"Origin": "null"}), 403, "PERMISSION_DENIED")
    assert http.get(TOPIC, headers={"Origin": f"http://{running.http_address}"}).status_code == 200


def test_pull_ends_when_the_client_says(http: httpx2.Client) -> None:
    create(http)
    timeout = {"X-Server-Timeout": "0.1"}
    assert http.post(f"{INBOX}:pull", json={"maxMessages": 1}, headers=timeout).json() == {}
    timeout = {"X-Server-Timeout": "soon"}
    refused(http.post(f"{INBOX}:pull", json={"maxMessages": 1}, headers=timeout), 400, "INVALID_ARGUMENT")


def test_requests_on_one_connection_are_answered_in_turn(raw: Raw) -> None:
    head = "HTTP/1.1\r\nHost: x\r\n\r\n"
    raw.send(f"GET /v1/projects/p/topics {head}GET /nowhere {head}")
    with raw.socket.makefile("rb") as file:
        statuses = []
        while len(statuses) < 2:
            line = file.readline()
            assert line
            if line.startswith(b"HTTP/1.1"):
                statuses.append(int(line.split()[1]))
    assert statuses == [200, 404]


@pytest.mark.parametrize("text", ["\x16\x03\x01\x02\x00\r\n\r\n", "GET / HTTP/x\r\n\r\n", "x" * 100_000])
def test_what_is_no_http_is_refused(raw: Raw, http: httpx2.Client, text: str) -> None:
    try:
        raw.send(text)
        answer = raw.socket.recv(100)
    except ConnectionError:
        answer = b""
    assert answer.startswith(b"HTTP/1.1 400") or answer == b""
    assert http.get("/").status_code == 200


def test_reset_drops_everything_for_good(tmp_path: Path) -> None:
    config = BrokerConfig(http_port=0, data_dir=tmp_path)
    with started_broker(config) as running, httpx2.Client(base_url=f"http://{running.http_address}") as http:
        create(http)
        publish(http, "x")
        http.put("/v1/projects/p/snapshots/snap", json={"subscription": INBOX.removeprefix("/v1/")})
        policy = {"policy": {"bindings": [{"role": "roles/viewer", "members": ["user:a@example.com"]}]}}
        assert http.post(f"{TOPIC}:setIamPolicy", json=policy).status_code == 200
        record = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}
        schema = {"type": "AVRO", "definition": json.dumps(record)}
        assert http.post("/v1/projects/p/schemas?schemaId=abc", json=schema).status_code == 200
        assert http.post("/reset").status_code == 200
        _is_empty(http)
        create(http)
        assert http.post(f"{INBOX}:pull", json={"maxMessages": 1, "returnImmediately": True}).json() == {}
        assert "bindings" not in http.get(f"{TOPIC}:getIamPolicy").json()
        assert http.post("/reset").status_code == 200
    with started_broker(config) as running, httpx2.Client(base_url=f"http://{running.http_address}") as http:
        _is_empty(http)


def _is_empty(http: httpx2.Client) -> None:
    for collection in ("topics", "subscriptions", "snapshots", "schemas"):
        assert http.get(f"/v1/projects/p/{collection}").json() == {}


def test_reset_ends_who_waits(http: httpx2.Client) -> None:
    create(http)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(http.post, f"{INBOX}:pull", json={"maxMessages": 1})
        while not waiting.done():  # whether it waits already cannot be seen from here
            http.post("/reset")
        refused(waiting.result(), 404, "NOT_FOUND")


def test_pull_that_waits_when_the_broker_stops_is_answered() -> None:
    body = '{"maxMessages": 1}'
    request = f"POST {INBOX}:pull HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with (
        started_broker(BrokerConfig(http_port=0)) as running,
        httpx2.Client(base_url=f"http://{running.http_address}", timeout=WAIT_S) as http,
    ):
        create(http)
        waiting = Raw(running.http_address)
        waiting.send(request)
        for _ in range(5):  # each answer gives the other request time to begin
            http.get("/")
    with closing(waiting):
        status, answer = waiting.answer()
    assert (status, answer["error"]["status"]) == (503, "UNAVAILABLE")


def test_port_in_use_is_one_clear_error(running: Broker) -> None:
    with (
        pytest.raises(BrokerConfigError, match=r"cannot listen on 127.0.0.1:\d+: .* in use"),
        started_broker(BrokerConfig(http_port=running.http_port)),
    ):
        pass
    with pytest.raises(BrokerConfigError, match="http_port: 70000"):
        BrokerConfig(http_port=70000)


def test_broker_without_http_has_no_address_and_none_of_the_libraries() -> None:
    code = (
        "import asyncio, sys\n"
        "from longcall.broker import Broker\n"
        "async def main():\n"
        "    async with Broker() as broker:\n"
        "        assert broker.http_address is None\n"
        "asyncio.run(main())\n"
        "print([name for name in ('uvicorn', 'starlette', 'h11') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_command_says_where_http_is() -> None:
    with broker("--http-port", "0") as process:
        assert process.popen.stdout is not None
        line = process.popen.stdout.readline()
        base = line.removeprefix("  HTTP/JSON: ").partition("/v1/")[0]
        assert httpx2.get(f"{base}/v1/projects/p/topics/completions").status_code == 200


def test_many_clients_at_once(http: httpx2.Client, running: Broker) -> None:
    create(http)
    found: list[str] = []

    def work() -> None:
        with httpx2.Client(base_url=f"http://{running.http_address}", timeout=WAIT_S) as own:
            found.extend(publish(own, *"abc"))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 60
