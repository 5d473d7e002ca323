"""Google's exceptions as the transport's, at the one border where they are known."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import grpc
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from longcall.transport.errors import (
    TransportDenied,
    TransportError,
    TransportRefused,
    TransportUnavailable,
)

__all__ = ["MAPPED", "translate", "translated"]

MAPPED: Final[dict[str, type[TransportError]]] = {
    "Aborted": TransportUnavailable,
    "AlreadyExists": TransportRefused,
    "BadGateway": TransportUnavailable,
    "BadRequest": TransportRefused,
    "Cancelled": TransportUnavailable,  # by the server; a task's own cancellation is CancelledError
    "ClientError": TransportRefused,
    "Conflict": TransportRefused,
    "DataLoss": TransportRefused,
    "DeadlineExceeded": TransportUnavailable,
    "DuplicateCredentialArgs": TransportRefused,
    "FailedPrecondition": TransportRefused,
    "Forbidden": TransportDenied,
    "GatewayTimeout": TransportUnavailable,
    "GoogleAPICallError": TransportRefused,
    "GoogleAPIError": TransportRefused,
    "InternalServerError": TransportUnavailable,
    "InvalidArgument": TransportRefused,
    "LengthRequired": TransportRefused,
    "MethodNotAllowed": TransportRefused,
    "MethodNotImplemented": TransportRefused,
    "MissingStatusHeaderError": TransportRefused,
    "MovedPermanently": TransportRefused,
    "NotFound": TransportRefused,
    "NotModified": TransportRefused,
    "OutOfRange": TransportRefused,
    "PermissionDenied": TransportDenied,
    "PreconditionFailed": TransportRefused,
    "Redirection": TransportRefused,
    "RequestRangeNotSatisfiable": TransportRefused,
    "ResourceExhausted": TransportUnavailable,
    "ResumableTransferError": TransportRefused,
    "ResumeIncomplete": TransportRefused,
    "RetryError": TransportUnavailable,
    "ServerError": TransportUnavailable,
    "ServiceUnavailable": TransportUnavailable,
    "TemporaryRedirect": TransportRefused,
    "TooManyRequests": TransportUnavailable,
    "TransferStalledError": TransportUnavailable,
    "Unauthenticated": TransportDenied,
    "Unauthorized": TransportDenied,
    "Unknown": TransportUnavailable,
    "UnseekableStreamError": TransportRefused,
    "UploadCancelledError": TransportRefused,
}
"""By class name, since an older google-api-core lacks some of them. A subclass not named is its base."""

_PLUGIN_FAILED: Final = "Getting metadata from plugin failed"
"""How gRPC reports a token that could not be fetched: as UNAVAILABLE, whether or not it ever will be."""


@contextmanager
def translated(resource: str, *, missing: type[TransportError] = TransportRefused) -> Iterator[None]:
    """Raise what Google's client raises as the transport's errors, about `resource`.

    Args:
        resource: the topic or inbox that is asked for.
        missing: what NOT_FOUND means here.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # gRPC raises this in whoever uses a call whose channel is closed, too; nobody cancelled the task.
        raise TransportUnavailable(
            f"the connection to Pub/Sub was closed during a request for {resource}", resource=resource
        ) from error
    except grpc.aio.AioRpcError as error:
        raise translate(google_errors.from_grpc_error(error), resource, missing) from error
    except (google_errors.GoogleAPIError, auth_errors.GoogleAuthError) as error:
        raise translate(error, resource, missing) from error


def translate(
    error: google_errors.GoogleAPIError | auth_errors.GoogleAuthError,
    resource: str,
    missing: type[TransportError] = TransportRefused,
) -> TransportError:
    """Return the transport's error for one of Google's."""
    said = getattr(error, "message", "") or str(error)
    if isinstance(error, google_errors.NotFound):
        return missing(f"{resource} does not exist: {said}", resource=resource)
    kind = _kind(error)
    if kind is TransportDenied:
        text = f"not permitted on {resource}: {said}; check the credentials and their Pub/Sub role"
    elif kind is TransportUnavailable:
        remedy = "; check the credentials, their token could not be fetched" if _PLUGIN_FAILED in said else ""
        text = f"Pub/Sub could not serve {resource}: {said}{remedy}"
    else:
        text = f"Pub/Sub refused the request for {resource}: {said}"
    return kind(text, resource=resource)


def _kind(error: google_errors.GoogleAPIError | auth_errors.GoogleAuthError) -> type[TransportError]:
    if isinstance(error, auth_errors.GoogleAuthError):
        unreached = isinstance(error, auth_errors.TransportError | auth_errors.TimeoutError)
        return TransportUnavailable if unreached or getattr(error, "retryable", False) else TransportDenied
    return next(MAPPED[base.__name__] for base in type(error).__mro__ if base.__name__ in MAPPED)
