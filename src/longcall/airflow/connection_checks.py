"""What the Test button of a `longcall` connection does: the real thing, once, and nothing left behind.

Each check says what it tried, how that ended and, where it failed, what to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from longcall._core.errors import LongcallError
from longcall.airflow.connections import EMULATOR_VARIABLE, find_access, resolve_project
from longcall.airflow.errors import LoginFailed
from longcall.airflow.service_hook import ServiceHook
from longcall.airflow.settings import InboxSettings
from longcall.airflow.version_compat import AirflowNotFoundException
from longcall.client import CallAddress, delete_address
from longcall.transport import TopicNotFound, TransportDenied, TransportError, TransportUnavailable

if TYPE_CHECKING:
    from longcall.transport.pubsub import PubSubTransport

__all__ = ["Finding", "check_pubsub", "check_service", "told"]

_CONSUME: Final = "pubsub.subscriptions.consume"
_RETENTION_S: Final = 600.0
"""The shortest that Pub/Sub takes, should the deletion fail; the expiration is the shortest anyway."""
_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check ended.

    Attributes:
        subject: what was tried.
        passed: whether it works.
        said: what was seen, and the remedy where it failed.
    """

    subject: str
    passed: bool
    said: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.subject}: {'ok' if self.passed else 'FAILED'}: {' '.join(self.said.split())}"


def told(findings: Sequence[Finding]) -> tuple[bool, str]:
    """Return whether all is well, and a line for each finding, as Airflow wants it."""
    return all(finding.passed for finding in findings), "\n".join(map(str, findings))


def check_pubsub(settings: InboxSettings) -> list[Finding]:
    """Find out whether tasks with these settings can make, read and delete their inboxes."""
    try:
        project = resolve_project(settings.project_id, route=settings.route)
        address = settings.address(project=project, labels={"purpose": "connection-test"})
        access = find_access(settings.route)
    except (LongcallError, AirflowNotFoundException) as error:
        return [Finding("Pub/Sub", False, str(error))]
    by = f"the Google connection {settings.route.gcp_conn_id!r}"
    if access.emulator_host:
        by = f"the emulator at {access.emulator_host}, for {EMULATOR_VARIABLE} is set"

    async def check() -> list[Finding]:
        transport = access.open()
        try:
            return await _check_inbox(transport, address)
        finally:
            await transport.aclose()

    with asyncio.Runner() as runner:
        return [Finding("Pub/Sub", True, f"project {project}, by {by}"), *runner.run(check())]


def check_service(http_conn_id: str) -> list[Finding]:
    """Find out whether the service answers, and whether it lets the connection's login in."""
    hook = ServiceHook(http_conn_id)
    try:
        return list(_service_findings(hook))
    except LongcallError as error:
        if isinstance(error, LoginFailed) or isinstance(error.__cause__, LoginFailed):
            return [Finding("login", False, f"http_conn_id {http_conn_id!r}: {error}")]
        return [Finding("service", False, f"{error}; {_remedy_for_no_answer(error)}")]
    except AirflowNotFoundException as error:
        return [Finding("service", False, f"{error}: create it, or name another in http_conn_id")]


async def _check_inbox(transport: PubSubTransport, address: CallAddress) -> list[Finding]:
    """Make an inbox as a call does, ask whether it may be read, and delete it if it is not a lasting one."""
    spec = address.inbox
    try:
        trial = spec if address.lasting else replace(spec, retention_s=_RETENTION_S)
        await replace(address, inbox=trial).create(transport)
    except TransportError as error:
        return [Finding("inbox", False, f"{error}; {_remedy_for_inbox(error, address)}")]
    found = (
        f"{spec.name} is ready" if address.lasting else f"a trial subscription was attached to {spec.topic}"
    )
    findings = [Finding("inbox", True, found)]
    try:
        findings.append(await _check_reading(transport, spec.name))
    finally:
        if not address.lasting:
            findings.append(await _check_deletion(transport, address))
    return findings


async def _check_reading(transport: PubSubTransport, name: str) -> Finding:
    try:
        granted = await transport.granted(name, [_CONSUME])
    except TransportError as error:
        return Finding("reading", False, str(error))
    if _CONSUME in granted:
        return Finding("reading", True, "permitted")
    return Finding(
        "reading", False, f"not permitted: grant {_CONSUME} (roles/pubsub.subscriber) to the account"
    )


async def _check_deletion(transport: PubSubTransport, address: CallAddress) -> Finding:
    try:
        await delete_address(transport, inbox=address.inbox.name, topic=address.topic)
    except TransportError as error:
        remedy = (
            "grant pubsub.subscriptions.delete to the account, or each call leaves a subscription for a day"
        )
        return Finding("deletion", False, f"{error}; {remedy}")
    return Finding("deletion", True, "the trial subscription is gone again")


def _service_findings(hook: ServiceHook) -> Iterator[Finding]:
    health = hook.ask("/health", timeout_s=_TIMEOUT_S)
    if health >= 500:
        yield Finding("service", False, f"answers {health} to /health: look into its log")
        return
    yield Finding("service", True, f"answers ({health} to /health)")
    # Services of this package tell their health to everybody, and their calls to those who may call.
    status = health if health in _LOGIN_REMEDIES else hook.ask("/calls", timeout_s=_TIMEOUT_S)
    if status in _LOGIN_REMEDIES:
        yield Finding("login", False, f"answered {status}: {_LOGIN_REMEDIES[status]}")
    elif status < 300:
        yield Finding("login", True, "taken")
    else:
        yield Finding(
            "login", True, f"not refused ({status} to /calls, which only services of longcall have)"
        )


_LOGIN_REMEDIES: Final = {
    401: "the service does not take this login; check the HTTP connection: password, auth, audience",
    403: "the service knows the account and does not let it in; on Cloud Run grant it roles/run.invoker, "
    "else add it to LONGCALL_AUTH_ALLOWED_CALLERS",
}


def _remedy_for_inbox(error: TransportError, address: CallAddress) -> str:
    project, topic = address.inbox.topic.split("/")[1], address.inbox.topic.split("/")[3]
    if isinstance(error, TopicNotFound):
        return f"an administrator creates it: gcloud pubsub topics create {topic} --project {project}"
    if isinstance(error, TransportDenied):
        return (
            "grant the account pubsub.subscriptions.create (and get) in the project, and "
            "pubsub.topics.attachSubscription on the topic; roles/pubsub.editor has all of them"
        )
    if isinstance(error, TransportUnavailable):
        return "check the network, the endpoint, and whether the API pubsub.googleapis.com is enabled"
    return "change the connection, or the subscription"


def _remedy_for_no_answer(error: LongcallError) -> str:
    from requests import exceptions
    from urllib3.exceptions import NameResolutionError

    cause = error.__cause__
    reason = getattr(next(iter(getattr(cause, "args", ())), None), "reason", None)
    if isinstance(cause, exceptions.SSLError):
        return "TLS failed: check host and port, the service's certificate, `verify` in the extra"
    if isinstance(reason, NameResolutionError):
        return "the host is not known here: check the host of the HTTP connection"
    if isinstance(cause, exceptions.Timeout):
        return f"no answer within {_TIMEOUT_S:.0f} s: check host and port, and firewalls in between"
    if isinstance(cause, exceptions.ConnectionError):
        return "nothing answers there: check host and port, and whether the service runs"
    return "check the HTTP connection"
