"""Google ID tokens: made with whatever identity a connection names, kept until shortly before they expire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from longcall._core.clock import Clock, SystemClock
from longcall.airflow.errors import LoginFailed
from longcall.airflow.service_login import GoogleIdToken
from longcall.airflow.version_compat import AirflowException, AirflowNotFoundException, mask_secret

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

__all__ = ["IdTokens", "id_tokens"]

_SPARE: Final = timedelta(minutes=5)
"""Before the end of a token another is fetched: clocks differ, and requests take time."""
_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str = field(repr=False)
    expires: datetime


class IdTokens:
    """The ID tokens of this process, one for each login. For any thread.

    Only tokens are kept, not what they were made with: the next one sees what has changed in a connection.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._tokens: dict[GoogleIdToken, _Kept] = {}
        self._locks: dict[GoogleIdToken, threading.Lock] = {}
        self._lock = threading.Lock()

    def token(self, login: GoogleIdToken) -> str:
        """Return a token that is good for minutes at least; fetch one if need be, which may take a second.

        Raises:
            LoginFailed: there is none to be had; says why and what to do.
        """
        with self._lock:
            lock = self._locks.setdefault(login, threading.Lock())
        with lock:  # who comes meanwhile waits for the same token
            kept = self._tokens.get(login)
            if kept is not None and self._clock.now() < kept.expires - _SPARE:
                return kept.token
            kept = _fetch(login)
            mask_secret(kept.token)
            self._tokens[login] = kept
            return kept.token

    def forget(self, login: GoogleIdToken, token: str) -> None:
        """Do not use a token again that a service has refused."""
        with self._lock:
            kept = self._tokens.get(login)
            if kept is not None and kept.token == token:
                self._tokens.pop(login, None)


id_tokens: Final = IdTokens()
"""Shared by all tasks and triggers of this process."""


def _fetch(login: GoogleIdToken) -> _Kept:
    from google.auth.transport.requests import Request

    with _translated(login):
        credentials = _for_audience(_identity(login), login)
        credentials.refresh(Request())
    return _Kept(str(credentials.token), credentials.expiry.replace(tzinfo=UTC))


def _identity(login: GoogleIdToken) -> Credentials:
    """Return the account of a Google connection, a key file or this machine, or whom that impersonates."""
    import google.auth
    from google.auth import impersonated_credentials
    from google.oauth2 import service_account

    chain = list(login.impersonation_chain)
    if login.gcp_conn_id is not None:
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

        return GoogleBaseHook(login.gcp_conn_id, impersonation_chain=chain or None).get_credentials()
    if login.key_path is not None:
        source = service_account.Credentials.from_service_account_file(login.key_path, scopes=_SCOPES)
    else:
        source, _project = google.auth.default(scopes=_SCOPES)
    if not chain:
        return source
    return impersonated_credentials.Credentials(
        source, target_principal=chain[-1], delegates=chain[:-1], target_scopes=_SCOPES
    )


def _for_audience(identity: Credentials, login: GoogleIdToken) -> Credentials:
    """Return credentials whose token is an ID token for the audience, with the account's address in it."""
    from google.auth import compute_engine, impersonated_credentials
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    if isinstance(identity, impersonated_credentials.Credentials):
        return impersonated_credentials.IDTokenCredentials(
            identity, target_audience=login.audience, include_email=True
        )
    if isinstance(identity, compute_engine.Credentials):
        return compute_engine.IDTokenCredentials(
            Request(), login.audience, use_metadata_identity_endpoint=True
        )
    if isinstance(identity, service_account.Credentials):
        return service_account.IDTokenCredentials(
            signer=identity.signer,
            service_account_email=identity.service_account_email,
            token_uri=identity._token_uri,
            target_audience=login.audience,
            universe_domain=identity.universe_domain,
        )
    raise LoginFailed(
        f"no ID token for {login.audience}: {type(identity).__module__}.{type(identity).__name__} is "
        "no service account; name one in impersonation_chain",
        retryable=False,
    )


@contextmanager
def _translated(login: GoogleIdToken) -> Iterator[None]:
    from google.auth import exceptions

    try:
        yield
    except (exceptions.TransportError, exceptions.TimeoutError) as error:
        raise _failed(login, error, "Google could not be reached", retryable=True) from error
    except exceptions.RefreshError as error:
        # A metadata server that does not answer is raised as this, with the transport's error inside.
        passing = error.retryable or isinstance(error.__cause__, exceptions.TransportError)
        remedy = "Google did not answer as it should" if passing else _remedy(login)
        raise _failed(login, error, remedy, retryable=passing) from error
    except exceptions.DefaultCredentialsError as error:
        # A metadata server may not answer yet: GKE's takes seconds after a pod has started.
        is_machine = login.gcp_conn_id is None and login.key_path is None
        raise _failed(login, error, _remedy(login), retryable=is_machine) from error
    except (exceptions.GoogleAuthError, AirflowNotFoundException) as error:
        raise _failed(login, error, _remedy(login), retryable=False) from error
    except (AirflowException, OSError, ValueError, KeyError) as error:  # a connection, a key file
        raise _failed(login, error, _remedy(login), retryable=False) from error


def _failed(login: GoogleIdToken, error: Exception, remedy: str, *, retryable: bool) -> LoginFailed:
    return LoginFailed(f"no ID token for {login.audience}: {error}; {remedy}", retryable=retryable)


def _remedy(login: GoogleIdToken) -> str:
    if login.impersonation_chain:
        return (
            f"{login.impersonation_chain[-1]} must grant roles/iam.serviceAccountTokenCreator to whoever is "
            "before it in impersonation_chain, and the project needs the API iamcredentials.googleapis.com"
        )
    if login.gcp_conn_id is not None:
        return f"check the Google connection {login.gcp_conn_id!r}"
    if login.key_path is not None:
        return f"check key_path: {login.key_path} must be a service account's key, readable here"
    return (
        "this machine needs a service account, or GOOGLE_APPLICATION_CREDENTIALS, or the HTTP connection's "
        "extra a gcp_conn_id, key_path or impersonation_chain"
    )
