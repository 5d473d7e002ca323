"""The OpenAPI and AsyncAPI documents say what a real service answers and publishes, no more and no less."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from jsonschema_path import SchemaPath
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from tests.contract.test_schemas import SCHEMAS
from tests.e2e.identities import AUDIENCE, CALLER, running_issuer
from tests.unit.service.handlers import Work, make_service

from longcall._core.clock import SystemClock
from longcall.contract.codec import _TYPES
from longcall.service import AuthConfig, ServiceConfig
from longcall.service.errors import StoreUnavailable
from longcall.service.store import open_store
from longcall.transport.memory import MemoryBackend, MemoryTransport

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "src/longcall/contract/schemas"
OPENAPI, ASYNCAPI = (
    json.loads((FOLDER / f"longcall.{name}.json").read_text()) for name in ("openapi", "asyncapi")
)
REGISTRY: Registry[Any] = Registry().with_resources(
    [
        *((schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()),
        *((f"{name}.schema.json", Resource.from_contents(schema)) for name, schema in SCHEMAS.items()),
    ]
)
TOPIC = "projects/p/topics/completions"
START, CALL = ("post", "/{endpoint}"), "/calls/{correlid}"
VECTORS = [json.loads(file.read_text()) for file in (ROOT / "tests/contract/golden/v1").glob("*.json")]


def is_valid(schema: dict[str, Any], value: object) -> bool:
    return Draft202012Validator(schema, registry=REGISTRY).is_valid(value)


def resolved(node: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference within the document stands for."""
    found: dict[str, Any] = node
    if node.get("$ref", "").startswith("#/"):
        found = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
    return found


def references(node: object) -> list[str]:
    if isinstance(node, list):
        return [found for each in node for found in references(each)]
    if not isinstance(node, dict):
        return []
    inner = [found for each in node.values() for found in references(each)]
    return [node["$ref"], *inner] if isinstance(node.get("$ref"), str) else inner


@dataclass
class Answers:
    """What a service has answered, by operation and status."""

    seen: dict[tuple[str, str], dict[str, httpx2.Response]] = field(default_factory=dict)

    def note(self, operation: tuple[str, str], answer: httpx2.Response) -> httpx2.Response:
        self.seen.setdefault(operation, {})[str(answer.status_code)] = answer
        return answer


@asynccontextmanager
async def serving(work: Work, **settings: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, Any]]:
    transport = MemoryTransport(MemoryBackend())
    await transport.create_topic(TOPIC)
    store = open_store("memory", service="tests", clock=SystemClock())
    config = ServiceConfig(topic=TOPIC, store="memory", drain_s=0, **settings)
    app = make_service(work).asgi(config, transport=transport, store=store)
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service")
    async with app.router.lifespan_context(app), http:
        yield http, store
    await store.aclose()


async def ask(answers: Answers) -> None:
    """Bring about everything that a caller can be answered, but for who may call."""
    work = Work()
    with suppress(StoreUnavailable):  # a service whose store is gone cannot stop in peace
        await ask_until_the_store_is_gone(answers, work)


async def ask_until_the_store_is_gone(answers: Answers, work: Work) -> None:
    async with serving(work, max_body_bytes=100) as (http, store):
        for query, body in (
            ("correlid=a", b"1"),
            ("correlid=a", b"2"),
            ("", b""),
            ("correlid=b", bytes(101)),
        ):
            answers.note(START, await http.post(f"/held?{query}", content=body))
        answers.note(START, await http.post("/nothing?correlid=a"))
        for name in ("a", "unknown"):
            answers.note(("get", CALL), await http.get(f"/calls/{name}"))
            answers.note(("delete", CALL), await http.delete(f"/calls/{name}"))
        while (await http.get("/calls/a")).json()["state"] != "cancelled":
            pass
        answers.note(("delete", CALL), await http.delete("/calls/a"))
        answers.note(START, await http.post("/held?correlid=a", content=b"1"))
        await store.aclose()
        answers.note(START, await http.post("/held?correlid=c"))
        answers.note(("get", CALL), await http.get("/calls/a"))
        answers.note(("delete", CALL), await http.delete("/calls/a"))


async def ask_as_a_stranger(answers: Answers) -> None:
    with running_issuer() as issuer:
        auth = AuthConfig(
            mode="google-id-token",
            audiences=(AUDIENCE,),
            allowed_callers=frozenset({CALLER}),
            certificates_url=issuer.url,
        )
        async with serving(Work(), auth=auth) as (http, _):
            for token in ("nonsense", issuer.key.token(email="stranger@example.org")):
                login = {"Authorization": f"Bearer {token}"}
                answers.note(START, await http.post("/held?correlid=a", headers=login))
                answers.note(("get", CALL), await http.get("/calls/a", headers=login))
                answers.note(("delete", CALL), await http.delete("/calls/a", headers=login))


def test_openapi_document_is_one() -> None:
    handlers = {
        "urn": lambda uri: SCHEMAS[uri.rpartition(":")[2]],
        "file": lambda uri: SCHEMAS[uri.rpartition("/")[2].removesuffix(".schema.json")],
    }
    base = (FOLDER / "longcall.openapi.json").as_uri()
    OpenAPIV31SpecValidator(SchemaPath.from_dict(OPENAPI, base_uri=base, handlers=handlers)).validate()


async def test_service_answers_what_the_openapi_document_says_and_nothing_else() -> None:
    answers = Answers()
    await ask(answers)
    await ask_as_a_stranger(answers)

    documented = {
        (method, path): set(operation["responses"])
        for path, item in OPENAPI["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }
    assert {operation: set(seen) for operation, seen in answers.seen.items()} == documented
    for (method, path), seen in answers.seen.items():
        for status, answer in seen.items():
            said = resolved(OPENAPI["paths"][path][method]["responses"][status], OPENAPI)
            [(content_type, content)] = said["content"].items()
            assert answer.headers["content-type"] == content_type, (method, path, status)
            assert is_valid(content["schema"], answer.json()), (method, path, status)
            for name, header in said.get("headers", {}).items():
                if name != "Longcall-Signed":  # on request
                    assert is_valid(header["schema"], answer.headers[name]), (method, path, status, name)


async def test_headers_that_the_openapi_document_names_are_read() -> None:
    named = {
        parameter["name"]: resolved(parameter, OPENAPI)
        for parameter in OPENAPI["paths"]["/{endpoint}"]["post"]["parameters"]
    }
    wrong = {
        "Idempotency-Key": ("b", 400),
        "Longcall-Deadline": ("tomorrow", 400),
        "Longcall-Caller": ("x" * 1001, 400),
        "Longcall-Reply-Topic": ("projects/p/topics/not-allowed", 422),
        "Longcall-Signing-Key": ("whsec_c2hvcnQ=", 400),
    }
    assert set(named) == {"correlid", "Prefer", "traceparent", *wrong}
    async with serving(Work()) as (http, _):
        for name, (value, status) in wrong.items():
            answer = await http.post("/held?correlid=a", headers={name: value})
            assert answer.status_code == status, name
        key = "whsec_" + base64.b64encode(bytes(32)).decode()
        signed = await http.post("/held?correlid=a", headers={"Longcall-Signing-Key": key})
        schema = OPENAPI["paths"]["/{endpoint}"]["post"]["responses"]["202"]["headers"]["Longcall-Signed"][
            "schema"
        ]
        assert is_valid(schema, signed.headers["longcall-signed"])
        assert is_valid(named["Longcall-Signing-Key"]["schema"], key)


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_every_reference_of_a_document_leads_somewhere(document: dict[str, Any]) -> None:
    found = references(document)

    assert {name for name in found if not name.startswith("#/")} <= {
        f"{name}.schema.json" for name in SCHEMAS
    }
    for name in found:
        if name.startswith("#/"):
            assert resolved({"$ref": name}, document)


def test_asyncapi_document_has_each_report_and_level_0() -> None:
    channel = ASYNCAPI["channels"]["reports"]
    messages = [resolved(reference, ASYNCAPI) for reference in channel["messages"].values()]

    assert ASYNCAPI["asyncapi"] == "3.0.0"
    assert [message["name"] for message in messages] == [*_TYPES.values(), "bare"]
    [operation] = ASYNCAPI["operations"].values()
    assert (operation["action"], resolved(operation["channel"], ASYNCAPI)) == ("send", channel)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_asyncapi_document_and_golden_vector_agree(vector: dict[str, Any]) -> None:
    """What longcall writes is a message of exactly one kind, with the payload of that kind."""
    attributes, data = vector["message"]["attributes"], base64.b64decode(vector["message"]["data_base64"])
    kinds = {
        name: message
        for name, message in ASYNCAPI["components"]["messages"].items()
        if is_valid(message["headers"], attributes)
    }
    if vector.get("canonical"):
        assert list(kinds) == [vector["report"]["kind"]]
        payload = kinds[vector["report"]["kind"]].get("payload")
        assert payload is None or not data or is_valid(payload, json.loads(data))
    elif "report" in vector and vector["name"].startswith("level0"):
        assert list(kinds) == ["bare"]
    elif "ignored" in vector:
        assert not kinds
