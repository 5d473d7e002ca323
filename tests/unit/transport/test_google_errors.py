"""Each of Google's exceptions is one of the transport's, by decision and not by accident."""

from __future__ import annotations

import asyncio
import inspect

import grpc
import pytest
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from longcall.transport import (
    InboxNotFound,
    TransportDenied,
    TransportError,
    TransportRefused,
    TransportUnavailable,
)
from longcall.transport._google_errors import MAPPED, translate, translated

NOT_OVER_GRPC = {"AsyncRestUnsupportedParameterError"}
INBOX = "projects/p/subscriptions/s"


def exceptions_of(module: object) -> list[type[Exception]]:
    return [
        member
        for _name, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Exception) and member.__module__ == module.__name__  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize("kind", exceptions_of(google_errors), ids=lambda kind: kind.__name__)
def test_exception_of_google_is_mapped_by_name(kind: type[Exception]) -> None:
    assert kind.__name__ in MAPPED or kind.__name__ in NOT_OVER_GRPC, (
        f"google.api_core has grown {kind.__name__}: decide in _google_errors.MAPPED what it means"
    )


@pytest.mark.parametrize("kind", exceptions_of(auth_errors), ids=lambda kind: kind.__name__)
def test_exception_of_the_credentials_is_a_transport_error(kind: type[auth_errors.GoogleAuthError]) -> None:
    error = translate(kind("no token"), INBOX)

    assert isinstance(error, TransportDenied | TransportUnavailable)
    assert "no token" in str(error)
    assert error.resource == INBOX


def test_token_server_out_of_reach_is_worth_another_try() -> None:
    assert translate(auth_errors.TransportError("no route"), INBOX).retryable
    assert translate(auth_errors.RefreshError("busy", retryable=True), INBOX).retryable
    assert not translate(auth_errors.DefaultCredentialsError("none"), INBOX).retryable


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
def test_every_grpc_status_is_a_transport_error(status: grpc.StatusCode) -> None:
    raised = grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), details="the reason")

    with pytest.raises(TransportError, match="the reason") as caught, translated(INBOX):
        raise raised

    assert caught.value.__cause__ is raised
    assert INBOX in str(caught.value)
    retryable = {"ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED"}
    assert caught.value.retryable == (status.name in retryable | {"UNAVAILABLE", "UNKNOWN"})


def test_not_found_means_what_was_asked_for() -> None:
    with pytest.raises(InboxNotFound), translated(INBOX, missing=InboxNotFound):
        raise google_errors.NotFound("gone")
    with pytest.raises(TransportRefused), translated(INBOX):
        raise google_errors.NotFound("gone")


def test_denial_says_what_to_check() -> None:
    with pytest.raises(TransportDenied, match="check the credentials"), translated(INBOX):
        raise google_errors.PermissionDenied("User not authorized")


def test_token_that_could_not_be_fetched_says_what_to_check() -> None:
    said = "Getting metadata from plugin failed with error: invalid_grant"

    with pytest.raises(TransportUnavailable, match="check the credentials"), translated(INBOX):
        raise google_errors.ServiceUnavailable(said)


def test_exception_of_a_future_google_is_what_its_base_is() -> None:
    class Newer(google_errors.ServiceUnavailable):
        pass

    assert type(translate(Newer("x"), INBOX)) is TransportUnavailable


async def test_cancelling_the_task_passes_through() -> None:
    async def request() -> None:
        with translated(INBOX):
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_call_cancelled_by_its_channel_is_a_lost_connection() -> None:
    call = asyncio.get_running_loop().create_future()
    call.cancel()

    with pytest.raises(TransportUnavailable, match="was closed"), translated(INBOX):
        await call
