"""The examples of the contract's reference are what the code reads and writes."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from longcall.contract import (
    MAX_ID_LENGTH,
    MAX_MESSAGE_BYTES,
    CallStatus,
    Message,
    Report,
    Succeeded,
    correlation_filter,
    decode_report,
    encode_report,
    new_correlation_id,
    url_with_correlation_id,
)
from longcall.contract.codec import _TYPES
from longcall.contract.message import ENVELOPE_BYTES, MAX_ATTRIBUTE_VALUE_BYTES
from longcall.testing.broker import running_broker

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "contract.md").read_text()
WAIT_S = 30.0
BARE_SERVICE, SIGNATURE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SIGNATURES = json.loads((ROOT / "tests/contract/golden/signatures.json").read_text("utf-8"))
EXAMPLES = re.findall(r"```json (\S+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", [text for kind, text in EXAMPLES if kind == "status"])
def test_status_examples_are_read_and_written_alike(text: str) -> None:
    assert CallStatus.from_wire(json.loads(text)).to_wire() == json.loads(text)


@pytest.mark.parametrize(("kind", "text"), [example for example in EXAMPLES if example[0] != "status"])
def test_report_examples_are_read_and_written_alike(kind: str, text: str) -> None:
    attributes = {"correlid": "a", "ce-type": kind, "ce-id": "1", "ce-source": "/s"}

    report = decode_report(Message(data=text.encode(), attributes=attributes))

    assert report is not None
    assert json.loads(encode_report(report).data) == json.loads(text)


def test_every_type_of_report_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `(longcall\.call\.\w+\.v1)`", PAGE, re.MULTILINE)) == set(_TYPES.values())


def test_no_json_example_goes_unchecked() -> None:
    assert len(EXAMPLES) == PAGE.count("```json") > 0


def test_limits_are_those_of_the_code() -> None:
    assert f"1 to {MAX_ID_LENGTH} visible ASCII" in PAGE
    assert f"| report | {MAX_MESSAGE_BYTES - ENVELOPE_BYTES:,} bytes" in PAGE
    assert f"Pub/Sub's {MAX_MESSAGE_BYTES:,}" in PAGE
    assert f"| attribute value | {MAX_ATTRIBUTE_VALUE_BYTES} bytes" in PAGE


def test_every_schema_file_is_linked() -> None:
    for file in (ROOT / "src" / "longcall" / "contract" / "schemas").iterdir():
        assert f"(../../src/longcall/contract/schemas/{file.name})" in PAGE


def test_the_bare_service_of_the_page_completes_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    topic, inbox = re.findall(r"projects/p/topics/\w+", BARE_SERVICE)[0], "projects/p/subscriptions/inbox"
    correlation_id = new_correlation_id()
    names: dict[str, object] = {"__name__": "bare_service"}
    with running_broker() as address:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        exec(BARE_SERVICE, names)
        channel = grpc.insecure_channel(address)
        with (
            PublisherClient(transport=PublisherGrpcTransport(channel=channel)) as publisher,
            SubscriberClient(transport=SubscriberGrpcTransport(channel=channel)) as subscriber,
        ):
            publisher.create_topic(name=topic)
            subscriber.create_subscription(
                request={"name": inbox, "topic": topic, "filter": correlation_filter(correlation_id)}
            )

            client = names["app"].test_client()  # type: ignore[attr-defined] # a Flask application
            answer = client.post(url_with_correlation_id("/serve", correlation_id))
            pulled = subscriber.pull(subscription=inbox, max_messages=1, timeout=WAIT_S)

    assert answer.status_code == 200
    [received] = pulled.received_messages
    message = Message(data=received.message.data, attributes=dict(received.message.attributes))
    assert decode_report(message) == Report(correlation_id=correlation_id, body=Succeeded(data=b"Work Done!"))


@pytest.mark.parametrize("vector", SIGNATURES, ids=lambda vector: vector["name"])
def test_signature_of_the_reference_is_ours(vector: dict[str, Any]) -> None:
    page: dict[str, Any] = {}
    exec(SIGNATURE, page)
    data = base64.b64decode(vector["data_base64"])
    made = [page["signature"](key, vector["attributes"], data) for key in vector["signing_key"].split()]
    assert " ".join(made) == vector["signature"]
