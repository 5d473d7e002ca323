"""Schemas after a restart and a kill, and whatever is asked of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import (
    InvalidArgument,
)
from google.pubsub_v1.types import SchemaView
from google.pubsub_v1.types import schema as schema_types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e.schema_clients import (
    BINARY,
    PROJECT,
    PROTO,
    PROTO_V1,
    PROTO_V2,
    SCHEMA,
    TOPIC,
    V1,
    V2,
    Google,
    google_clients,
)

from longcall.broker import BrokerConfig
from longcall.testing.broker import running_broker
from longcall.testing.clock import VirtualClock

pytestmark = pytest.mark.filterwarnings("ignore:The return_immediately flag is deprecated")


@pytest.fixture
def google() -> Iterator[Google]:
    with running_broker(clock=VirtualClock()) as address, google_clients(address) as clients:
        yield clients


def test_restart_keeps_schemas_revisions_and_the_settings_of_topics(tmp_path: Path) -> None:
    config = BrokerConfig(data_dir=tmp_path)
    with running_broker(config) as address, google_clients(address) as google:
        google.create(PROTO_V1, PROTO)
        google.commit(PROTO_V2, PROTO)
        third = google.schemas.rollback_schema(
            name=SCHEMA, revision_id=google.schemas.get_schema(name=SCHEMA).revision_id
        )
        google.create_topic(encoding=BINARY, last_revision_id=third.revision_id)
        google.schemas.delete_schema_revision(name=f"{SCHEMA}@{third.revision_id}")
        google.create(schema_id="gone")
        google.schemas.delete_schema(name=f"{PROJECT}/schemas/gone")
        before = list(google.schemas.list_schema_revisions(request={"name": SCHEMA, "view": SchemaView.FULL}))
    with running_broker(config) as address, google_clients(address) as google:
        after = list(google.schemas.list_schema_revisions(request={"name": SCHEMA, "view": SchemaView.FULL}))
        assert after == before
        assert len(after) == 2
        assert [schema.name for schema in google.schemas.list_schemas(parent=PROJECT)] == [SCHEMA]
        fourth = google.commit(PROTO_V1, PROTO)  # after the deleted bound of the topic, so not for it
        google.publish(b"\x0a\x04Ohio")
        assert google.revision_ids() == [before[1].revision_id]
        with pytest.raises(InvalidArgument, match="Message failed schema validation"):
            google.publish(b"\x18\x01")
        assert fourth.revision_id not in {schema.revision_id for schema in before}
        google.schemas.delete_schema(name=SCHEMA)
    with running_broker(config) as address, google_clients(address) as google:
        assert not list(google.schemas.list_schemas(parent=PROJECT))
        assert google.publisher.get_topic(topic=TOPIC).schema_settings.schema == "_deleted-schema_"


# Whatever comes


_METHODS = {
    "CreateSchema": "CreateSchemaRequest",
    "GetSchema": "GetSchemaRequest",
    "ListSchemas": "ListSchemasRequest",
    "ListSchemaRevisions": "ListSchemaRevisionsRequest",
    "CommitSchema": "CommitSchemaRequest",
    "RollbackSchema": "RollbackSchemaRequest",
    "DeleteSchemaRevision": "DeleteSchemaRevisionRequest",
    "DeleteSchema": "DeleteSchemaRequest",
    "ValidateSchema": "ValidateSchemaRequest",
    "ValidateMessage": "ValidateMessageRequest",
}
_NAMES = st.sampled_from(["", PROJECT, SCHEMA, f"{SCHEMA}@", f"{SCHEMA}@0", "@", "projects//schemas/", "\0"])
_SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "name": _NAMES,
        "type_": st.sampled_from([0, 2, 2, 2, 7]),
        "definition": st.sampled_from([V1, V2, "", "{", '"int"', "[]"]) | st.text(max_size=20),
    },
)
_FIELDS = {
    "parent": _NAMES,
    "name": _NAMES,
    "schema": _SCHEMAS,
    "schema_id": st.sampled_from(["", "state", "a/b", "%%%"]) | st.text(max_size=5),
    "view": st.integers(0, 9),
    "page_size": st.integers(-2, 2),
    "page_token": st.text(max_size=10) | st.just("YWZ0ZXI6"),
    "revision_id": st.sampled_from(["", "0", "@"]) | st.text(max_size=9),
    "message": st.binary(max_size=20) | st.just(b'{"name": ""}'),
    "encoding": st.integers(0, 9),
}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(sorted(_METHODS)), data=st.data())
def test_any_request_is_answered(google: Google, method: str, data: Any) -> None:
    kind = getattr(schema_types, _METHODS[method])
    known = {name: values for name, values in _FIELDS.items() if name in kind.meta.fields}
    request = data.draw(st.fixed_dictionaries({}, optional=known))
    if method == "ValidateMessage" and "schema" in request:
        request.pop("name", None)
    call = grpc.insecure_channel(google.address)
    with call as channel:
        send = channel.unary_unary(f"/google.pubsub.v1.SchemaService/{method}")
        try:
            send(kind.serialize(kind(request)))
        except grpc.RpcError as error:
            assert error.code().name in (  # noqa: PT017 - it may also succeed
                "INVALID_ARGUMENT",
                "NOT_FOUND",
                "ALREADY_EXISTS",
                "RESOURCE_EXHAUSTED",
            ), error


# Processes


def test_libraries_of_schemas_are_loaded_with_the_first_schema() -> None:
    script = (
        "import sys, longcall.broker, longcall.broker.server\n"
        "rules = 'longcall.broker.rules.'\n"
        "print([n for n in ('fastavro', 'grpc_tools.protoc', rules + 'avro', rules + 'protobuf')"
        " if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_schemas_survive_a_kill(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "longcall.cli.main",
        "broker",
        "--port",
        "0",
        "--data-dir",
        str(tmp_path),
    ]

    @contextmanager
    def broker() -> Iterator[Google]:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            try:
                assert process.stdout is not None
                port = process.stdout.readline().rpartition(" ")[2].strip()
                with google_clients(f"127.0.0.1:{port}") as clients:
                    yield clients
            finally:
                process.kill()

    with broker() as google:
        google.create(PROTO_V1, PROTO)
        google.create_topic()
        kept = google.commit(PROTO_V2, PROTO)
    with broker() as google:
        assert google.schemas.get_schema(name=SCHEMA) == kept
        google.publish(b'{"name": "a", "population": 5}')
        assert google.revision_ids() == [kept.revision_id]
