"""Google's exceptions as the transport's, at the one border where they are known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from google.api_core import exceptions as google_errors
from google.auth import exceptions as auth_errors

from longcall.transport.errors import (
    TransportDenied,
    TransportError,
    TransportRefused,
    TransportUnavailable,
)

__all__ = ["translated"]

_RETRYABLE = (
    google_errors.Aborted,
    google_errors.BadGateway,
    google_errors.Cancelled,  # by the server or the channel; a task's own cancellation is CancelledError
    google_errors.DeadlineExceeded,
    google_errors.GatewayTimeout,
    google_errors.InternalServerError,
    google_errors.ResourceExhausted,
    google_errors.RetryError,
    google_errors.ServiceUnavailable,
    google_errors.TooManyRequests,
    google_errors.Unknown,
)
_DENIED = (google_errors.Forbidden, google_errors.Unauthorized)


@contextmanager
def translated(resource: str, *, missing: type[TransportError] = TransportRefused) -> Iterator[None]:
    """Raise what Google's client raises as the transport's errors, about `resource`.

    Args:
        resource: the topic or inbox that is asked for.
        missing: what NOT_FOUND means here.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _translate(google_errors.from_grpc_error(error), resource, missing) from error
    except (google_errors.GoogleAPIError, auth_errors.GoogleAuthError) as error:
        raise _translate(error, resource, missing) from error


def _translate(
    error: google_errors.GoogleAPIError | auth_errors.GoogleAuthError,
    resource: str,
    missing: type[TransportError],
) -> TransportError:
    said = getattr(error, "message", "") or str(error)
    if isinstance(error, google_errors.NotFound):
        return missing(f"{resource} does not exist: {said}", resource=resource)
    if isinstance(error, (*_DENIED, auth_errors.GoogleAuthError)):
        return TransportDenied(
            f"not permitted on {resource}: {said}; check the credentials and their Pub/Sub role",
            resource=resource,
        )
    if isinstance(error, _RETRYABLE):
        return TransportUnavailable(f"Pub/Sub could not serve {resource}: {said}", resource=resource)
    return TransportRefused(f"Pub/Sub refused the request for {resource}: {said}", resource=resource)
