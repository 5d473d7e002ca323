"""`AsyncClient`: start a call, watch it, wait for its result, cancel it."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from longcall._core.clock import Clock, SystemClock
from longcall._core.errors import LongcallError
from longcall.client._http import HttpAnswer, check_url, is_same_origin, send
from longcall.client.answer import completion_result, read_start_answer, refusal
from longcall.client.config import ClientConfig
from longcall.client.errors import CallError, CallSilent, CallTimeout
from longcall.client.labels import created_label
from longcall.client.policy import (
    CallAddress,
    InboxPolicy,
    delete_address,
    policy_from_env,
)
from longcall.client.results import ResultAccess, fetch_result
from longcall.client.router import Arrival, Router
from longcall.client.watching import CallWatch, Patience
from longcall.contract import (
    JSON_TYPE,
    CallRequest,
    CallStatus,
    Completion,
    ContractError,
    JsonValue,
    Report,
    SigningKey,
    Succeeded,
    decode_json,
    encode_json,
    is_completion,
    request_headers,
    url_with_correlation_id,
)
from longcall.transport.errors import TransportError
from longcall.transport.port import Transport

if TYPE_CHECKING:
    import httpx2

__all__ = ["AsyncClient", "StartedCall"]

log = logging.getLogger(__name__)

_CANCEL_MISSED: Final = frozenset({404, 405, 410, 501})


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedCall:
    """A call in flight. What it takes to wait for it, in this process or in another.

    Attributes:
        correlation_id: the call.
        inbox: full path of the inbox where its reports arrive.
        lasting: the inbox is shared, and stays when the call ends.
        url: where it was started, without its query.
        location: URL of its status resource; None for a service that has none.
        headers: that the service wants with every request, such as a login.
        signing_key: that its reports are signed with; None: they are not.
        topic: full path of the call's own topic; empty: it has none.
    """

    correlation_id: str
    inbox: str
    lasting: bool
    url: str
    location: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    signing_key: SigningKey | None = None
    topic: str = ""


class AsyncClient:
    """Calls long-running services. Made in one event loop and used in it alone; `async with` closes it."""

    def __init__(
        self,
        *,
        transport: Transport,
        policy: InboxPolicy,
        http: httpx2.AsyncClient | None = None,
        config: ClientConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Keep what is needed; no I/O.

        Args:
            transport: where reports come from; the caller closes it, after this client.
            policy: where they arrive.
            http: to reach services with; the caller closes it. None: one of its own.
            config: how patient to be.
            clock: the clocks to go by.
        """
        import httpx2

        self._transport = transport
        self._policy = policy
        self._config = config or ClientConfig()
        self._own_http = (
            httpx2.AsyncClient(timeout=self._config.request_timeout.total_seconds()) if http is None else None
        )
        self._http = http if http is not None else self._own_http
        self._own_transport: Transport | None = None
        self._clock = clock or SystemClock()
        self._router = Router(transport, config=self._config.router, clock=self._clock)

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str],
        *,
        topic: str | None = None,
        project: str | None = None,
        inbox: str | None = None,
        topic_per_call: bool = False,
        config: ClientConfig | None = None,
    ) -> Self:
        """Connect to Google Pub/Sub, or to the emulator that `PUBSUB_EMULATOR_HOST` names.

        Args:
            environ: `LONGCALL_TOPIC` and `GOOGLE_CLOUD_PROJECT` stand in for what is not given.
            topic: where services publish, by path or id.
            project: of a topic that is given by id.
            inbox: name of a lasting inbox to share among all calls; None: one for each call.
            topic_per_call: make a topic for each call, too, and ask services to publish there.
            config: how patient to be. None: the defaults, and results by reference may be fetched from
                below the URLs of `LONGCALL_RESULT_PREFIXES`, with commas between.

        Raises:
            ContractError: the topic or the project is missing, or cannot be one.
        """
        from longcall.transport.pubsub import PubSubTransport

        policy = policy_from_env(
            environ, topic=topic, project=project, inbox=inbox, topic_per_call=topic_per_call
        )
        transport = PubSubTransport.from_env(environ)
        config = config or ClientConfig(results=ResultAccess.from_env(environ))
        client = cls(transport=transport, policy=policy, config=config)
        client._own_transport = transport
        return client

    async def __aenter__(self) -> Self:
        """Do nothing: connections are made when they are needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    async def aclose(self) -> None:
        """End every wait and close what this client has opened; calls go on. A repeat does nothing."""
        await self._router.aclose()
        if self._own_http is not None:
            await self._own_http.aclose()
        if self._own_transport is not None:
            await self._own_transport.aclose()

    async def call(
        self,
        url: str,
        arguments: JsonValue | bytes = None,
        *,
        timeout: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JsonValue | bytes:
        """Start a call and return its result. On every other way out the work is asked to stop.

        Cancelling this cancels the remote work, too: nobody else knows of it. Use `start` and `wait` for
        a call that shall outlive its caller. Raises as those two.
        """
        call = await self.start(url, arguments, headers=headers)
        try:
            return await self.wait(call, timeout=timeout)
        except BaseException as error:
            if isinstance(error, CallTimeout | CallSilent) or not isinstance(error, CallError):
                await self.abandon(call)
            raise

    async def start(
        self,
        url: str,
        arguments: JsonValue | bytes = None,
        *,
        correlation_id: str | None = None,
        content_type: str = "",
        deadline: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> StartedCall:
        """Make the inbox, then ask the service to start; a request that fails for a while is repeated.

        The work is started once, however often it is asked for with one id. When it could not be
        started, the inbox is deleted again.

        Args:
            url: the service's endpoint.
            arguments: bytes go as they are, anything else as JSON; None: no body.
            correlation_id: of a call that the client's policy has minted before, to start it again
                safely; None: a new one.
            content_type: of `arguments` that are bytes.
            deadline: after which nobody waits for the answer, aware.
            headers: beside the contract's own, which win; sent with status requests and cancellation, too.

        Raises:
            CallUnreachable: no answer, though asked several times. Perhaps started.
            CallRefused: the service does not take it.
            TransportError: there is no inbox, and nothing was started.
            ContractError: the URL or the arguments cannot be sent; or the service does not sign its reports,
                which `signing="required"` asks for: then the call is cancelled again.
        """
        address = self._policy.new_call() if correlation_id is None else self._policy.address(correlation_id)
        body, body_type = _encode(arguments, content_type)
        request = CallRequest(
            correlation_id=address.correlation_id,
            body=body,
            content_type=body_type,
            deadline=deadline,
            reply_topic=address.topic,
            signing_keys=() if self._config.signing == "off" else (SigningKey.new(),),
        )
        check_url(url)
        labels = {**address.inbox.labels, **created_label(self._clock.now())}
        await replace(address, inbox=replace(address.inbox, labels=labels)).create(self._transport)
        try:
            answer = await self._send_start(url, request, headers or {})
        except BaseException:
            await self._delete_inbox(address.inbox.name, address.lasting, address.topic)
            raise
        call = _started(address, url, answer, headers or {}, request.signing_keys)
        if self._config.signing == "required" and call.signing_key is None:
            await self.abandon(call)
            raise ContractError("signing", "required, and this service does not sign its reports")
        return call

    async def watch(
        self, call: StartedCall, *, timeout: timedelta | None = None
    ) -> AsyncGenerator[Report, None]:
        """Yield the reports of a call as they come; the completion is the last.

        The completion is acknowledged, and the call's own inbox deleted, when the next report after it
        is asked for; leave earlier and it comes again to the next who waits. To leave early at once,
        close the iterator (`contextlib.aclosing`).

        Raises:
            CallTimeout: it did not end in `timeout`. It goes on, and can be waited for again.
            CallSilent: no sign of life for the configured `heartbeat_timeout`; the same.
            InboxNotFound: the inbox is gone and the service does not say how the call ended.
            TransportError: reports cannot be received.
        """
        patience = Patience(
            ask_after_s=self._config.reconcile_interval.total_seconds(),
            silence_s=_seconds(self._config.heartbeat_timeout),
            timeout_s=_seconds(timeout),
        )
        async with self._router.subscribe(
            call.correlation_id, inbox=call.inbox, has_own_topic=bool(call.topic)
        ) as arrivals:
            watch = CallWatch(
                arrivals,
                correlation_id=call.correlation_id,
                ask=functools.partial(self.status, call),
                patience=patience,
                signing_keys=(call.signing_key,) if call.signing_key is not None else (),
            )
            while True:
                arrival = await watch.next()
                report = arrival.report if isinstance(arrival, Arrival) else _status_report(call, arrival)
                yield report
                if is_completion(report.body):
                    break
            if call.lasting and isinstance(arrival, Arrival):
                await self._acknowledge(arrival)
        await self._delete_inbox(call.inbox, call.lasting, call.topic)

    async def wait(self, call: StartedCall, *, timeout: timedelta | None = None) -> JsonValue | bytes:
        """Return the result of a call, and clean up after it. A result by reference is fetched.

        Raises:
            CallFailed: the work has failed.
            CallCancelled: it was cancelled.
            CallTimeout: it did not end in `timeout`. It goes on, and can be waited for again.
            ResultNotFetched: it lies elsewhere, and could not or may not be fetched; see `result`.
            ContractError: the result is not what its content type says.
            TransportError: as `watch`.
        """
        completion: Report | None = None
        async with aclosing(self.watch(call, timeout=timeout)) as reports:
            async for report in reports:
                completion = report
        assert completion is not None  # `watch` ends after a completion alone
        return await self.result(completion)

    async def result(self, completion: Report) -> JsonValue | bytes:
        """Return the result that a completion carries, or refers to.

        Raises:
            CallFailed, CallCancelled: what it says instead.
            ResultNotFetched: it lies elsewhere, and could not or may not be fetched: see
                `ClientConfig.results`. To ask again, with `CallStatus.completion`, is safe.
            ContractError: it is no completion, or the result is not what its content type says.
        """
        if isinstance(completion.body, Succeeded) and completion.body.reference is not None:
            fetched = await asyncio.to_thread(fetch_result, completion.body, self._config.results)
            completion = replace(completion, body=fetched)
        return completion_result(completion)

    async def status(self, call: StartedCall) -> CallStatus | None:
        """Ask the service how the call stands; None when it has no status resource.

        Raises:
            CallUnreachable: no answer. Retryable.
            CallRefused: the service does not know the call, or does not tell.
            ContractError: the answer is no status.
        """
        if call.location is None:
            return None
        answer = await self._send("GET", call.location, call.headers)
        if answer.status != 200:
            raise refusal(status=answer.status, body=answer.body, url=answer.url)
        return CallStatus.from_wire(decode_json(answer.body, field="status"))

    async def cancel(self, call: StartedCall) -> bool:
        """Ask the service to stop the work; tell whether it took the request. A repeat is harmless.

        The completion still arrives, and says whether the work was stopped or had ended before.

        Raises:
            CallUnreachable: no answer. Retryable.
            CallRefused: the service will not.
        """
        if call.location is None:
            return False
        answer = await self._send("DELETE", call.location, call.headers)
        if answer.status in _CANCEL_MISSED:
            return False
        if not 200 <= answer.status < 300:
            raise refusal(status=answer.status, body=answer.body, url=answer.url)
        return True

    async def abandon(self, call: StartedCall) -> None:
        """Cancel the work as far as that can be done, and delete the call's own inbox."""
        try:
            await self.cancel(call)
        except LongcallError as error:
            log.warning("The call %s could not be cancelled: %s", call.correlation_id, error)
        finally:
            await self._delete_inbox(call.inbox, call.lasting, call.topic)

    async def _send_start(self, url: str, request: CallRequest, headers: Mapping[str, str]) -> HttpAnswer:
        target = url_with_correlation_id(url, request.correlation_id)
        attempts = self._config.new_start_attempts()
        while True:
            try:
                answer = await self._send(
                    "POST", target, {**headers, **request_headers(request)}, body=request.body
                )
                read_start_answer(
                    status=answer.status, headers=answer.headers, body=answer.body, url=answer.url
                )
                return answer
            except CallError as error:
                pause_s = attempts.pause_s(error)
                if pause_s is None:
                    raise
                log.info("Start of call %s: %s; again in %.1f s", request.correlation_id, error, pause_s)
                await asyncio.sleep(pause_s)

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], *, body: bytes = b""
    ) -> HttpAnswer:
        assert self._http is not None  # given, or made by the constructor
        return await send(self._http, method, url, headers=headers, body=body)

    async def _acknowledge(self, arrival: Arrival) -> None:
        try:
            await arrival.acknowledge()
        except TransportError as error:
            # The caller has its result; this process or another will acknowledge what comes again.
            log.warning("The completion of call %s may come again: %s", arrival.report.correlation_id, error)

    async def _delete_inbox(self, name: str, lasting: bool, topic: str) -> None:
        if lasting:
            return
        try:
            await delete_address(self._transport, inbox=name, topic=topic)
        except TransportError as error:
            # Its expiration deletes it when this could not; a result must not be lost for that.
            log.warning("Inbox %s is left to expire: %s", name, error)
            if topic:
                log.warning("Topic %s may be left, and does not expire: delete it", topic)


def _status_report(call: StartedCall, completion: Completion) -> Report:
    return Report(correlation_id=call.correlation_id, body=completion, source=call.url)


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _encode(arguments: JsonValue | bytes, content_type: str) -> tuple[bytes, str]:
    if arguments is None:
        return b"", ""
    if isinstance(arguments, bytes):
        return arguments, content_type or "application/octet-stream"
    return encode_json(arguments, field="arguments"), JSON_TYPE


def _started(
    address: CallAddress,
    url: str,
    answer: HttpAnswer,
    headers: Mapping[str, str],
    signing_keys: Sequence[SigningKey],
) -> StartedCall:
    started = read_start_answer(
        status=answer.status, headers=answer.headers, body=answer.body, url=answer.url
    )
    location = started.location
    if location is not None and not is_same_origin(location, url):
        log.warning(
            "Call %s: its status resource lies on another origin, which is not asked: %s",
            address.correlation_id,
            location,
        )
        location = None
    return StartedCall(
        correlation_id=address.correlation_id,
        inbox=address.inbox.name,
        lasting=address.lasting,
        url=url.partition("?")[0],
        location=location,
        headers=dict(headers),
        signing_key=signing_keys[0] if signing_keys and started.is_signed else None,
        topic=address.topic,
    )
