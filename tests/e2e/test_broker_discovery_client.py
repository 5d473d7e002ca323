"""Google's discovery client, which knows the HTTP API from another description: no `.proto` is in it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from longcall.broker import BrokerConfig
from longcall.testing.broker import started_broker

discovery = pytest.importorskip("googleapiclient.discovery")
errors = pytest.importorskip("googleapiclient.errors")
httplib2 = pytest.importorskip("httplib2")

TOPIC, INBOX = "projects/p/topics/top", "projects/p/subscriptions/inbox"
SNAPSHOT, SCHEMA = "projects/p/snapshots/snap", "projects/p/schemas/abc"
DEFINITION = '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}'


@pytest.fixture
def projects() -> Iterator[Any]:
    with started_broker(BrokerConfig(http_port=0)) as running:
        service = discovery.build(
            "pubsub",
            "v1",
            http=httplib2.Http(),
            static_discovery=True,
            client_options={"api_endpoint": f"http://{running.http_address}"},
        )
        yield service.projects()
        service.close()


def test_topics_and_messages(projects: Any) -> None:
    topics, subscriptions = projects.topics(), projects.subscriptions()
    topics.create(name=TOPIC, body={"labels": {"a": "b"}}).execute()
    patch = {"topic": {"labels": {"c": "d"}}, "updateMask": "labels"}
    assert topics.patch(name=TOPIC, body=patch).execute()["labels"] == {"c": "d"}
    subscriptions.create(name=INBOX, body={"topic": TOPIC, "expirationPolicy": {}}).execute()
    assert subscriptions.get(subscription=INBOX).execute()["expirationPolicy"] == {}
    patch = {"subscription": {"ackDeadlineSeconds": 60}, "updateMask": "ackDeadlineSeconds"}
    assert subscriptions.patch(name=INBOX, body=patch).execute()["ackDeadlineSeconds"] == 60
    messages = [{"data": b64encode(b"x").decode(), "attributes": {"a": "1"}}]
    [message_id] = topics.publish(topic=TOPIC, body={"messages": messages}).execute()["messageIds"]
    [received] = subscriptions.pull(subscription=INBOX, body={"maxMessages": 5}).execute()["receivedMessages"]
    assert received["message"]["messageId"] == message_id
    assert b64decode(received["message"]["data"]) == b"x"
    ack_ids = [received["ackId"]]
    later = {"ackIds": ack_ids, "ackDeadlineSeconds": 30}
    assert subscriptions.modifyAckDeadline(subscription=INBOX, body=later).execute() == {}
    assert subscriptions.acknowledge(subscription=INBOX, body={"ackIds": ack_ids}).execute() == {}
    assert topics.subscriptions().list(topic=TOPIC).execute() == {"subscriptions": [INBOX]}
    assert [each["name"] for each in topics.list(project="projects/p", pageSize=1).execute()["topics"]] == [
        TOPIC
    ]
    subscriptions.detach(subscription=INBOX).execute()
    assert subscriptions.delete(subscription=INBOX).execute() == {}
    assert topics.delete(topic=TOPIC).execute() == {}
    with pytest.raises(errors.HttpError) as raised:
        topics.get(topic=TOPIC).execute()
    assert (raised.value.status_code, "Topic not found" in raised.value.reason) == (404, True)


def test_snapshots_and_policies(projects: Any) -> None:
    topics, snapshots = projects.topics(), projects.snapshots()
    topics.create(name=TOPIC, body={}).execute()
    projects.subscriptions().create(name=INBOX, body={"topic": TOPIC}).execute()
    snapshots.create(name=SNAPSHOT, body={"subscription": INBOX}).execute()
    patch = {"snapshot": {"labels": {"a": "b"}}, "updateMask": "labels"}
    assert snapshots.patch(name=SNAPSHOT, body=patch).execute()["labels"] == {"a": "b"}
    assert topics.snapshots().list(topic=TOPIC).execute() == {"snapshots": [SNAPSHOT]}
    assert projects.subscriptions().seek(subscription=INBOX, body={"snapshot": SNAPSHOT}).execute() == {}
    binding = {"role": "roles/viewer", "members": ["user:a@example.com"]}
    for collection, name in ((topics, TOPIC), (snapshots, SNAPSHOT), (projects.subscriptions(), INBOX)):
        read = collection.getIamPolicy(resource=name, options_requestedPolicyVersion=3).execute()
        policy = {"bindings": [binding], "etag": read["etag"]}
        set_policy = collection.setIamPolicy(resource=name, body={"policy": policy}).execute()
        assert set_policy["bindings"] == [binding]
        asked = {"permissions": ["pubsub.topics.get"]}
        assert collection.testIamPermissions(resource=name, body=asked).execute() == asked
    assert snapshots.delete(snapshot=SNAPSHOT).execute() == {}


def test_schemas(projects: Any) -> None:
    schemas = projects.schemas()
    wanted = {"type": "AVRO", "definition": DEFINITION}
    first = schemas.create(parent="projects/p", schemaId="abc", body=wanted).execute()
    assert (first["name"], first["type"]) == (SCHEMA, "AVRO")
    second = schemas.commit(name=SCHEMA, body={"schema": wanted | {"name": SCHEMA}}).execute()
    listed = schemas.listRevisions(name=SCHEMA, view="BASIC").execute()["schemas"]
    assert {each["revisionId"] for each in listed} == {first["revisionId"], second["revisionId"]}
    old = f"{SCHEMA}@{first['revisionId']}"
    assert schemas.get(name=old, view="FULL").execute()["definition"] == DEFINITION
    schemas.rollback(name=SCHEMA, body={"revisionId": first["revisionId"]}).execute()
    schemas.deleteRevision(name=old).execute()
    assert schemas.validate(parent="projects/p", body={"schema": wanted}).execute() == {}
    message = {"name": SCHEMA, "message": b64encode(b'{"a": "x"}').decode(), "encoding": "JSON"}
    assert schemas.validateMessage(parent="projects/p", body=message).execute() == {}
    assert len(schemas.list(parent="projects/p").execute()["schemas"]) == 1
    assert schemas.delete(name=SCHEMA).execute() == {}
