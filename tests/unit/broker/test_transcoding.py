"""From HTTP requests to messages, by the rules of google.api.http."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from google.iam.v1 import iam_policy_pb2 as iam
from google.pubsub_v1.services.publisher.transports.rest_base import _BasePublisherRestTransport
from google.pubsub_v1.services.schema_service.transports.rest_base import _BaseSchemaServiceRestTransport
from google.pubsub_v1.services.subscriber.transports.rest_base import _BaseSubscriberRestTransport
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from longcall.broker.api.routes import _SERVICES, make_router
from longcall.broker.api.routing import Binding, Match, MethodNotAllowed, PathTemplate
from longcall.broker.api.transcoding import Query, decode_request
from longcall.broker.errors import InvalidArgument, NotFound
from longcall.broker.wire import Wire

TOPIC = "projects/p/topics/abc"


@pytest.mark.parametrize(
    ("template", "path", "variables"),
    [
        ("/v1/{topic=projects/*/topics/*}", "/v1/projects/p/topics/abc", {"topic": TOPIC}),
        ("/v1/{topic.name=projects/*/topics/*}", "/v1/projects/p/topics/abc", {"topic.name": TOPIC}),
        ("/v1/{topic=projects/*/topics/*}", "/v1/projects/p/topics/abc:publish", None),
        ("/v1/{topic=projects/*/topics/*}", "/v1/projects/p/topics/abc/more", None),
        ("/v1/{topic=projects/*/topics/*}", "/v1/projects/p/topics/", None),
        ("/v1/{topic=projects/*/topics/*}", "/v1/projects/a/b/topics/abc", None),
        ("/v1/{topic=projects/*/topics/*}", "/v2/projects/p/topics/abc", None),
        ("/v1/{topic=projects/*/topics/*}:publish", "/v1/projects/p/topics/abc:publish", {"topic": TOPIC}),
        ("/v1/{topic=projects/*/topics/*}:publish", "/v1/projects/p/topics/abc", None),
        ("/v1/{topic=projects/*/topics/*}:publish", "/v1/projects/p/topics/abc:pull", None),
        ("/v1/{p=projects/*}/topics", "/v1/projects/a.com:b/topics", {"p": "projects/a.com:b"}),
        ("/v1/{p=projects/*}/schemas:validate", "/v1/projects/p/schemas:validate", {"p": "projects/p"}),
        ("/v1/{a=p/*/t/*}", "/v1/p/x/t/a%25b%2Bc", {"a": "p/x/t/a%b+c"}),
        ("/v1/{a=p/*/t/*}", "/v1/p/x/t/a%2Fb%c3%bc", {"a": "p/x/t/a%2Fbü"}),
        ("/v1/{resource=**}:getIamPolicy", "/v1/a/b/c:getIamPolicy", {"resource": "a/b/c"}),
        ("/v1/{resource=**}", "/v1/", {"resource": ""}),
        ("/v1/{name}/x", "/v1/abc/x", {"name": "abc"}),
        ("/v1/*/x.y", "/v1/abc/x.y", {}),
        ("/v1/*/x.y", "/v1/abc/xzy", None),
        ("/v1/{a}/{b=x/**}", "/v1/1/x/2/3", {"a": "1", "b": "x/2/3"}),
    ],
)
def test_path(template: str, path: str, variables: dict[str, str] | None) -> None:
    assert PathTemplate(template).match(path) == variables


@pytest.mark.parametrize("text", ["", "v1/x", "/v1/{a", "/v1/a}", "/v1/{}", "/v1/{a}}"])
def test_text_that_is_no_template(text: str) -> None:
    with pytest.raises(ValueError, match="no path template"):
        PathTemplate(text)


def _rules_of(transport: type) -> set[tuple[str, str, str, str]]:
    """The rules of Google's own client: method, verb, path, body."""
    return {
        (name.removeprefix("_Base"), rule["method"].upper(), rule["uri"], rule.get("body", ""))
        for name, method in vars(transport).items()
        if name.startswith("_Base") and hasattr(method, "_get_http_options")
        for rule in method._get_http_options()
    }


@pytest.mark.parametrize(
    ("service", "transport"),
    [
        ("google.pubsub.v1.Publisher", _BasePublisherRestTransport),
        ("google.pubsub.v1.Subscriber", _BaseSubscriberRestTransport),
        ("google.pubsub.v1.SchemaService", _BaseSchemaServiceRestTransport),
    ],
)
def test_rules_are_those_of_googles_client(service: str, transport: type) -> None:
    assert set(_SERVICES[service]) | set(_SERVICES["google.iam.v1.IAMPolicy"]) == _rules_of(transport)


def test_route() -> None:
    router = make_router()
    found = router.find("POST", f"/v1/{TOPIC}:publish")
    assert (found.binding.service, found.binding.method) == ("google.pubsub.v1.Publisher", "Publish")
    assert found.variables == {"topic": TOPIC}
    with pytest.raises(MethodNotAllowed) as raised:
        router.find("POST", f"/v1/{TOPIC}")
    assert raised.value.allowed == ["DELETE", "GET", "PATCH", "PUT"]
    with pytest.raises(NotFound):
        router.find("GET", "/v1/projects/p/widgets")


def decoded(kind: Any, *, query: str = "", body: str | bytes = b"", part: str = "*", **variables: str) -> Any:
    binding = Binding("service", "method", "POST", PathTemplate("/x"), part)
    raw = body.encode() if isinstance(body, str) else body
    return decode_request(kind, Match(binding, variables), Query.decode(query).fields, raw)


def test_body_is_the_message_but_for_what_the_path_binds() -> None:
    messages = [{"data": "YWI=", "orderingKey": "k"}, {"attributes": {"a": "1"}}]
    body = {"topic": "projects/other/topics/x", "messages": messages}
    assert decoded(Wire.PublishRequest, body=json.dumps(body), topic=TOPIC) == Wire.PublishRequest(
        topic=TOPIC,
        messages=[
            Wire.PubsubMessage(data=b"ab", ordering_key="k"),
            Wire.PubsubMessage(attributes={"a": "1"}),
        ],
    )


def test_body_is_one_field() -> None:
    request = decoded(
        Wire.CreateSchemaRequest,
        part="schema",
        body='{"type": "AVRO", "definition": "{}"}',
        query="schemaId=abc",
        parent="projects/p",
    )
    assert request == Wire.CreateSchemaRequest(
        parent="projects/p", schema_id="abc", schema=Wire.Schema(type_=2, definition="{}")
    )


@pytest.mark.parametrize("text", ["-_-_", "+/+/", "YQ==", "YQ", "YWI=", "YWI", ""])
def test_both_alphabets_of_base64_with_or_without_padding(text: str) -> None:
    [message] = decoded(Wire.PublishRequest, body=json.dumps({"messages": [{"data": text}]})).messages
    standard = text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4)
    assert message.data == base64.b64decode(standard)


def test_no_body_is_an_empty_message() -> None:
    assert decoded(Wire.Topic, name=TOPIC) == Wire.Topic(name=TOPIC)
    assert decoded(Wire.GetTopicRequest, part="", body="{", topic=TOPIC) == Wire.GetTopicRequest(topic=TOPIC)


@pytest.mark.parametrize("mask", ["labels,messageRetentionDuration", "labels,message_retention_duration"])
def test_path_and_mask_of_an_update(mask: str) -> None:
    body = {"topic": {"messageRetentionDuration": "3600.5s"}, "updateMask": mask}
    request = decoded(Wire.UpdateTopicRequest, body=json.dumps(body), **{"topic.name": TOPIC})
    duration = {"seconds": 3600, "nanos": 500_000_000}
    topic = Wire.Topic(name=TOPIC, message_retention_duration=duration)
    assert request == Wire.UpdateTopicRequest(
        topic=topic, update_mask={"paths": ["labels", "message_retention_duration"]}
    )


def test_query_parameters_of_all_kinds() -> None:
    assert decoded(Wire.ListTopicsRequest, query="pageSize=3&page_token=a%2Bb+c") == Wire.ListTopicsRequest(
        page_size=3, page_token="a+b c"
    )
    assert decoded(Wire.PullRequest, query="returnImmediately=true").return_immediately
    assert list(decoded(Wire.AcknowledgeRequest, query="ackIds=a&ackIds=b").ack_ids) == ["a", "b"]
    assert decoded(Wire.GetSchemaRequest, query="view=FULL") == Wire.GetSchemaRequest(view=2)
    assert decoded(Wire.GetSchemaRequest, query="view=2") == Wire.GetSchemaRequest(view=2)
    options = decoded(iam.GetIamPolicyRequest, query="options.requestedPolicyVersion=3")
    assert options == iam.GetIamPolicyRequest(options={"requested_policy_version": 3})
    nested = decoded(
        Wire.Subscription,
        query="retryPolicy.minimumBackoff=1.5s&retryPolicy.maximumBackoff=60s&expiration_policy.ttl=86400s",
    )
    backoff = {"minimum_backoff": {"seconds": 1, "nanos": 500_000_000}, "maximum_backoff": {"seconds": 60}}
    assert nested == Wire.Subscription(retry_policy=backoff, expiration_policy={"ttl": {"seconds": 86400}})
    assert decoded(Wire.SeekRequest, query="time=1970-01-01T00:00:01Z").time.seconds == 1
    masked = decoded(Wire.UpdateSnapshotRequest, query="updateMask=labels,expire_time")
    assert list(masked.update_mask.paths) == ["labels", "expire_time"]


@pytest.mark.parametrize(
    "query",
    [
        "nonsense=1",
        "pageSize.x=1",
        "pageSize=x",
        "pageSize=99999999999",
        "pageSize=1&pageSize=2",
        "pageToken=%ff",
        "&".join(["pageToken=a"] * 1001),
        "alt=proto",
    ],
)
def test_bad_query(query: str) -> None:
    with pytest.raises(InvalidArgument):
        decoded(Wire.ListTopicsRequest, query=query)


@pytest.mark.parametrize(
    "query",
    ["labels=1", "labels.a=1", "retryPolicy=1s", "detached=yes", "retryPolicy.minimumBackoff=x", "state=NOT"],
)
def test_bad_query_for_a_subscription(query: str) -> None:
    with pytest.raises(InvalidArgument):
        decoded(Wire.Subscription, query=query)


def test_googles_system_parameters_are_no_fields() -> None:
    query = Query.decode("key=a&access_token=b&fields=name&$.xgafv=2&$alt=json;enum-encoding=int&pageSize=1")
    assert query == Query([("pageSize", "1")], enums_as_numbers=True)
    assert Query.decode("prettyPrint=true").pretty
    assert not Query.decode("prettyPrint=false").pretty


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '"x"',
        "1",
        b"\xff",
        "[" * 100_000,
        '{"messages": ' * 90 + "1" + "}" * 90,
        '{"messages": {}}',
        '{"messages": [null]}',
        '{"messages": [1]}',
        '{"messages": [{"data": "Hello, world"}]}',
        '{"messages": [{"data": "abcde"}]}',
        '{"messages": [{"attributes": []}]}',
        '{"messages": [{"attributes": {"a": 1}}]}',
        '{"messages": [{"data": "\\ud800"}]}',
        '{"messages": [{"orderingKey": "\\ud800"}]}',
        '{"messages": [{"publishTime": "yesterday"}]}',
        '{"messages": ' + "[" * 900 + "]" * 900 + "}",
        '{"topic": 1}',
        '{"topic": "a", "topic": "b"}',
        '{"nonsense": 1}',
        '{"messages": [{"attributes": {"a": ' + "1" * 10_000 + "}}]}",
    ],
)
def test_bad_body(body: str | bytes) -> None:
    with pytest.raises(InvalidArgument, match="Invalid JSON payload received"):
        decoded(Wire.PublishRequest, body=body)


ROUTER = make_router()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["3s", "labels"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([field.json_name for field in Wire.Subscription.DESCRIPTOR.fields])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, JSON, max_size=4), st.binary(max_size=200))
@example({"labels": {"a": None}}, b"")
@example({"expirationPolicy": {"ttl": {"seconds": 1}}}, b"")
def test_any_body_is_a_message_or_refused(fields: dict[str, Any], raw: bytes) -> None:
    for body in (json.dumps(fields), raw):
        with suppress(InvalidArgument):
            assert isinstance(decoded(Wire.Subscription, body=body), Wire.Subscription)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.sampled_from(["pageSize", "pageToken", "project", "nonsense", ".", "a.b"]))
def test_any_query_is_a_message_or_refused(text: str, name: str) -> None:
    for query in (text, f"{name}={text}"):
        with suppress(InvalidArgument):
            decoded(Wire.ListTopicsRequest, query=query)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.sampled_from(["GET", "POST", "PUT"]))
def test_any_path_is_found_or_refused(path: str, verb: str) -> None:
    for text in (path, f"/v1/{path}", f"/v1/projects/p/topics/{path}"):
        with suppress(NotFound, MethodNotAllowed):
            ROUTER.find(verb, text)
