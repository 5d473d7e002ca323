"""The client against a service of the SDK and a bare one, in one process and without sockets."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import httpx2
import pytest

from longcall.client import (
    AsyncClient,
    CallCancelled,
    CallFailed,
    CallRefused,
    CallSilent,
    CallTimeout,
    CallUnreachable,
    Client,
    ClientConfig,
    InboxPolicy,
    PerCallInbox,
    PerCallTopicInbox,
    SharedInbox,
    StartedCall,
)
from longcall.contract import (
    CallState,
    CallStatus,
    ContractError,
    JsonValue,
    Message,
    Progress,
    SigningKey,
    Succeeded,
    sign,
)
from longcall.service import Call, Service, ServiceConfig
from longcall.service import CallFailed as WorkFailed
from longcall.transport import InboxNotFound, TopicNotFound
from longcall.transport.memory import MemoryBackend, MemoryTransport

TOPIC = "projects/p/topics/reports"
URL = "http://service.test"
EAGER = ClientConfig(retry_min=timedelta(microseconds=1), retry_max=timedelta(microseconds=1))
POLICIES = [PerCallInbox(topic=TOPIC), SharedInbox(topic=TOPIC, name="reports")]

service = Service("tests")


@service.handler("/echo")
async def echo(call: Call) -> JsonValue:
    call.progress(1, 2, unit="steps")
    return {"echo": call.arguments}


@service.handler("/fail")
async def fail(call: Call) -> JsonValue:
    raise WorkFailed("No such model", code="no_model", retryable=False)


gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@service.handler("/held")
async def held(call: Call) -> JsonValue:
    await gates[call.id].wait()
    return "released"


@service.handler("/hang")
async def hang(call: Call) -> JsonValue:
    await asyncio.Event().wait()


@dataclass
class World:
    """A service, a message system, and a client of both."""

    backend: MemoryBackend
    transport: MemoryTransport
    http: httpx2.AsyncClient
    client: AsyncClient


@pytest.fixture(
    params=[*POLICIES, PerCallTopicInbox(project="p")], ids=["per_call", "shared", "per_call_topic"]
)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    backend = MemoryBackend()
    transport = MemoryTransport(backend)
    await transport.create_topic(TOPIC)
    config = ServiceConfig(topic=TOPIC, store="memory", drain_s=0.1, reply_topics=("projects/p/topics/lc-*",))
    app = service.asgi(config, transport=transport)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http,
        AsyncClient(transport=transport, policy=request.param, http=http, config=EAGER) as client,
    ):
        yield World(backend, transport, http, client)
    left = [name for name in backend.inboxes if not name.endswith("/reports")]
    assert left == []
    assert list(backend.topics) == [TOPIC]


Handler = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


@dataclass
class Bare:
    """A service that knows nothing of longcall, scripted by its answers."""

    transport: MemoryTransport
    answers: list[httpx2.Response | Exception] = field(default_factory=list)
    data: bytes | None = b"done"
    requests: list[httpx2.Request] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if request.method == "GET":
            self.asked.set()
        answer = self.answers.pop(0) if self.answers else httpx2.Response(200)
        if isinstance(answer, Exception):
            raise answer
        if request.method == "POST" and answer.is_success and self.data is not None:
            correlation_id = request.url.params["correlid"]
            await self.transport.publish(
                TOPIC, Message(data=self.data, attributes={"correlid": correlation_id})
            )
        return answer

    def client(
        self, policy: InboxPolicy = POLICIES[0], config: ClientConfig = EAGER
    ) -> tuple[httpx2.AsyncClient, AsyncClient]:
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self.handle))
        return http, AsyncClient(transport=self.transport, policy=policy, http=http, config=config)


@pytest.fixture
async def bare() -> Bare:
    transport = MemoryTransport(MemoryBackend())
    await transport.create_topic(TOPIC)
    return Bare(transport)


async def test_call_returns_its_result(world: World) -> None:
    assert await world.client.call(f"{URL}/echo", {"n": 1}) == {"echo": {"n": 1}}


async def test_many_calls_at_once_each_get_their_own_result(world: World) -> None:
    results = await asyncio.gather(*(world.client.call(f"{URL}/echo", n) for n in range(50)))

    assert results == [{"echo": n} for n in range(50)]


async def test_failure_comes_in_the_services_own_words(world: World) -> None:
    with pytest.raises(CallFailed, match=r"No such model \[no_model\]") as caught:
        await world.client.call(f"{URL}/fail")
    assert not caught.value.retryable


async def test_watch_yields_progress_and_ends_with_the_completion(world: World) -> None:
    call = await world.client.start(f"{URL}/echo", "x")

    bodies = [report.body async for report in world.client.watch(call)]

    assert Progress(done=1, total=2, unit="steps") in bodies
    assert bodies[-1] == Succeeded.of({"echo": "x"})


async def test_cancelled_call_says_so(world: World) -> None:
    call = await world.client.start(f"{URL}/hang")

    assert await world.client.cancel(call)
    with pytest.raises(CallCancelled):
        await world.client.wait(call)


async def test_call_that_takes_too_long_can_be_waited_for_again(world: World) -> None:
    call = await world.client.start(f"{URL}/hang")
    for _ in range(2):
        with pytest.raises(CallTimeout, match="goes on"):
            await world.client.wait(call, timeout=timedelta(microseconds=1))

    status = await world.client.status(call)
    assert status is not None
    assert not status.state.is_final
    await world.client.abandon(call)


async def test_call_in_one_line_that_times_out_stops_the_work(world: World) -> None:
    locations: list[str] = []

    async def remember(response: httpx2.Response) -> None:
        locations.extend(filter(None, [response.headers.get("location")]))

    world.http.event_hooks = {"response": [remember]}
    with pytest.raises(CallTimeout):
        await world.client.call(f"{URL}/hang", timeout=timedelta(microseconds=1))

    for _look in range(100):
        if (await world.http.get(URL + locations[0])).json()["state"] == CallState.CANCELLED:
            return
        await asyncio.sleep(0)
    pytest.fail("the work goes on")


async def test_start_with_the_same_id_is_the_same_call(world: World) -> None:
    call = await world.client.start(f"{URL}/echo", 1)
    again = await world.client.start(f"{URL}/echo", 1, correlation_id=call.correlation_id)

    assert again.signing_key != call.signing_key  # both keys sign: whoever waits can tell
    assert replace(again, signing_key=call.signing_key) == call
    assert await world.client.wait(again) == {"echo": 1}


async def test_refused_start_leaves_no_inbox(world: World) -> None:
    with pytest.raises(CallRefused, match="404") as caught:
        await world.client.start(f"{URL}/nothing-here")
    assert caught.value.status == 404


async def test_bare_service_is_a_full_citizen(bare: Bare) -> None:
    http, client = bare.client()
    async with http, client:
        assert await client.call(f"{URL}/start?model=a", {"n": 1}) == "done"
    request = bare.requests[0]
    assert dict(request.url.params) == {"model": "a", "correlid": request.headers["idempotency-key"]}
    assert json.loads(request.content) == {"n": 1}


@pytest.mark.parametrize(
    "trouble", [httpx2.Response(503), httpx2.ConnectError("refused"), httpx2.ReadTimeout("")]
)
async def test_start_is_repeated_with_the_same_id(bare: Bare, trouble: httpx2.Response | Exception) -> None:
    bare.answers = [trouble, trouble]
    http, client = bare.client()
    async with http, client:
        assert await client.call(f"{URL}/start") == "done"

    assert len(bare.requests) == 3
    assert len({request.headers["idempotency-key"] for request in bare.requests}) == 1


async def test_start_gives_up_after_its_attempts(bare: Bare) -> None:
    bare.answers = [httpx2.ConnectError("refused")] * 9
    http, client = bare.client()
    async with http, client:
        with pytest.raises(CallUnreachable, match=r"no answer from http://service.test/start: refused"):
            await client.start(f"{URL}/start")

    assert len(bare.requests) == EAGER.start_attempts
    assert bare.transport._backend.inboxes == {}


async def test_refusal_that_will_not_change_is_not_repeated(bare: Bare) -> None:
    bare.answers = [httpx2.Response(422, text="model missing")]
    http, client = bare.client()
    async with http, client:
        with pytest.raises(CallRefused, match="model missing"):
            await client.start(f"{URL}/start")

    assert len(bare.requests) == 1


@pytest.mark.parametrize("lost", ["message", "inbox"])
async def test_completion_that_was_lost_is_found_at_the_service(bare: Bare, lost: str) -> None:
    bare.data = None
    bare.answers = [httpx2.Response(202, headers={"Location": "/calls/1"})]
    eager = ClientConfig(reconcile_interval=timedelta(microseconds=1))
    http, client = bare.client(config=eager if lost == "message" else EAGER)
    async with http, client:
        call = await client.start(f"{URL}/start")
        status = {
            "correlid": call.correlation_id,
            "state": "succeeded",
            "result": {"data": 42, "content_type": "application/json"},
        }
        bare.answers = [httpx2.Response(503), *[httpx2.Response(200, json=status)] * 99]
        if lost == "inbox":
            bare.answers.pop(0)
            await bare.transport.delete_inbox(call.inbox)
        assert await client.wait(call) == 42


def running(call: StartedCall, minute: int) -> httpx2.Response:
    time = f"2026-01-01T00:{minute:02}:00Z"
    return httpx2.Response(
        200, json={"correlid": call.correlation_id, "state": "running", "heartbeat_time": time}
    )


@pytest.mark.parametrize("is_alive", [True, False])
async def test_call_that_is_silent_is_given_up_unless_the_service_knows_better(
    bare: Bare, is_alive: bool
) -> None:
    bare.data = None
    bare.answers = [httpx2.Response(202, headers={"Location": "/calls/1"})]
    http, client = bare.client(config=ClientConfig(heartbeat_timeout=timedelta(seconds=0.1)))
    async with http, client:
        call = await client.start(f"{URL}/start")
        bare.answers = [running(call, minute if is_alive else 0) for minute in range(60)]
        with pytest.raises(CallTimeout if is_alive else CallSilent):
            await client.wait(call, timeout=timedelta(seconds=1))


async def test_report_that_is_only_late_is_taken_before_the_services_word(bare: Bare) -> None:
    bare.data = None
    bare.answers = [httpx2.Response(202, headers={"Location": "/calls/1"})]
    http, client = bare.client(config=ClientConfig(reconcile_interval=timedelta(seconds=0.05)))
    async with http, client:
        call = await client.start(f"{URL}/start")
        result = {"data": "status", "content_type": "application/json"}
        status = {"correlid": call.correlation_id, "state": "succeeded", "result": result}
        bare.answers = [httpx2.Response(200, json=status)] * 99
        waiting = asyncio.create_task(client.wait(call))
        await bare.asked.wait()
        late = Message(data=b"report", attributes={"correlid": call.correlation_id})
        await bare.transport.publish(TOPIC, late)
        assert await waiting == "report"


async def test_inbox_that_is_gone_is_an_error_where_the_service_does_not_tell(bare: Bare) -> None:
    bare.data = None
    http, client = bare.client()
    async with http, client:
        call = await client.start(f"{URL}/start")
        await bare.transport.delete_inbox(call.inbox)
        with pytest.raises(InboxNotFound):
            await client.wait(call)
        assert await client.status(call) is None
        assert not await client.cancel(call)


async def test_location_on_another_origin_is_not_asked(bare: Bare) -> None:
    bare.answers = [httpx2.Response(202, headers={"Location": "http://evil.test/calls/1"})]
    http, client = bare.client()
    async with http, client:
        call = await client.start(f"{URL}/start", headers={"Authorization": "Bearer s3cret"})
        assert call.location is None
        assert "s3cret" not in repr(call)
        assert await client.wait(call) == "done"


async def test_missing_topic_starts_nothing(bare: Bare) -> None:
    http, client = bare.client(policy=PerCallInbox(topic=TOPIC + "-missing"))
    async with http, client:
        with pytest.raises(TopicNotFound):
            await client.start(f"{URL}/start")

    assert bare.requests == []


@pytest.mark.parametrize("url", ["ftp://service.test/x", "service.test/x", "http://[broken"])
async def test_url_that_is_none_is_refused_before_anything_is_left(bare: Bare, url: str) -> None:
    http = httpx2.AsyncClient()
    async with http, AsyncClient(transport=bare.transport, policy=POLICIES[0], http=http) as client:
        with pytest.raises(ContractError, match="url"):
            await client.start(url)
    assert bare.transport._backend.inboxes == {}


async def test_environment_without_a_topic_says_what_to_set() -> None:
    with pytest.raises(ContractError, match="LONGCALL_TOPIC"):
        AsyncClient.from_env({})
    client = AsyncClient.from_env(
        {"PUBSUB_EMULATOR_HOST": "127.0.0.1:1", "LONGCALL_TOPIC": "topic", "GOOGLE_CLOUD_PROJECT": "p"}
    )
    await client.aclose()
    await client.aclose()


def test_synchronous_client_calls_and_watches() -> None:
    transports: list[MemoryTransport] = []

    def connect() -> AsyncClient:
        transports.append(MemoryTransport(MemoryBackend()))
        transports[0]._backend._create_topic(TOPIC)
        bare = Bare(transports[0])
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(bare.handle))
        return AsyncClient(transport=transports[0], policy=POLICIES[0], http=http)

    with Client(connect) as client:
        assert client.call(f"{URL}/start") == "done"
        assert [report.body for report in client.watch(client.start(f"{URL}/start"))] == [
            Succeeded(data=b"done")
        ]
        call = client.start(f"{URL}/start")
        left = client.watch(call)
        next(left)
        left.close()
        assert client.wait(call) == "done"
        assert transports[0]._backend.inboxes == {}


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> dict[str, inspect.Signature]:
        return {
            name: inspect.signature(member).replace(return_annotation=None)
            for name, member in inspect.getmembers(kind, callable)
            if not name.startswith("_")
        }

    asynchronous, synchronous = public(AsyncClient), public(Client)
    asynchronous["close"] = asynchronous.pop("aclose")
    assert synchronous == asynchronous


def forged(call: StartedCall, **attributes: str) -> Message:
    named = {"correlid": call.correlation_id, "ce-type": "longcall.call.succeeded.v1", **attributes}
    return Message(data=b'"forged"', attributes={"content-type": "application/json", **named})


async def test_report_that_the_service_did_not_sign_is_left_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    call = await world.client.start(f"{URL}/held")
    assert call.signing_key is not None
    name = {"ce-id": f"{call.correlation_id}/1/2", "ce-source": "/services/tests"}
    other = sign(forged(call, **name), [SigningKey.new()])
    for message in (forged(call), forged(call, **name), other):
        await world.transport.publish(call.topic or TOPIC, message)
    waiting = asyncio.create_task(world.client.wait(call))
    while sum("did not sign" in record.message for record in caplog.records) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0)
    gates[call.correlation_id].set()
    assert await waiting == "released"


async def test_service_that_does_not_sign_is_believed_unless_it_has_to(bare: Bare) -> None:
    http, client = bare.client()
    async with http, client:
        call = await client.start(f"{URL}/start")
        assert call.signing_key is None
        assert await client.wait(call) == "done"
    bare.answers = [httpx2.Response(202, headers={"Location": "/calls/1"}), httpx2.Response(202)]
    http, client = bare.client(config=ClientConfig(signing="required"))
    async with http, client:
        with pytest.raises(ContractError, match="does not sign"):
            await client.start(f"{URL}/start")
    assert [request.method for request in bare.requests[-2:]] == ["POST", "DELETE"]


async def test_no_key_is_sent_where_signing_is_off(bare: Bare) -> None:
    bare.answers = [httpx2.Response(202, headers={"Longcall-Signed": "v1"})]
    http, client = bare.client(config=ClientConfig(signing="off"))
    async with http, client:
        call = await client.start(f"{URL}/start")
        assert call.signing_key is None
        assert "longcall-signing-key" not in bare.requests[0].headers
        assert await client.wait(call) == "done"


def test_key_shows_nowhere() -> None:
    key = SigningKey.new()
    call = StartedCall(
        correlation_id="a", inbox="i", lasting=False, url="http://s", location=None, signing_key=key
    )
    assert key.to_text()[8:20] not in f"{call!r} {key!r} {key}"


async def publish_bare(transport: MemoryTransport, request: httpx2.Request) -> None:
    """Publish as a service does that cannot set attributes, on the topic that it was told."""
    await transport.publish(request.headers["longcall-reply-topic"], Message(data=b"done"))


async def test_service_that_cannot_set_attributes_completes_the_call_whose_topic_it_is_told() -> None:
    backend = MemoryBackend()
    transport = MemoryTransport(backend)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        await publish_bare(transport, request)
        return httpx2.Response(200)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with AsyncClient(
        transport=transport, policy=PerCallTopicInbox(project="p"), http=http, config=EAGER
    ) as client:
        assert await client.call(URL) == "done"
    assert (backend.topics, backend.inboxes) == ({}, {})


async def test_service_that_ignores_the_reply_topic_is_found_by_its_status_resource() -> None:
    backend = MemoryBackend()
    transport = MemoryTransport(backend)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        status = CallStatus(
            correlation_id=request.url.params.get("correlid") or request.url.path.rpartition("/")[2],
            state=CallState.SUCCEEDED,
            completion=Succeeded.of("done"),
        )
        location = {"Location": f"/calls/{status.correlation_id}"}
        code = 202 if request.method == "POST" else 200
        return httpx2.Response(code, headers=location, json=status.to_wire())

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    async with AsyncClient(
        transport=transport, policy=PerCallTopicInbox(project="p"), http=http, config=EAGER
    ) as client:
        assert await client.call(URL) == "done"
    assert (backend.topics, backend.inboxes) == ({}, {})


async def test_service_that_may_not_publish_there_refuses_and_nothing_is_left() -> None:
    backend = MemoryBackend()
    transport = MemoryTransport(backend)
    await transport.create_topic(TOPIC)
    app = service.asgi(ServiceConfig(topic=TOPIC, store="memory", drain_s=0.1), transport=transport)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as http,
        AsyncClient(
            transport=transport, policy=PerCallTopicInbox(project="p"), http=http, config=EAGER
        ) as client,
    ):
        with pytest.raises(CallRefused, match="--reply-topic"):
            await client.call(f"{URL}/echo", 1)
    assert (list(backend.topics), backend.inboxes) == ([TOPIC], {})
