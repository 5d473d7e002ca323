"""How requests to a service log in: what its HTTP connection says. Pure.

Without `auth` in the connection's extra all is as Airflow has it: basic with a login, and what else the extra
holds goes out as headers. With `auth`, the options named here are longcall's and never become headers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from longcall.contract import ContractError

__all__ = [
    "LOGIN_OPTIONS",
    "BearerToken",
    "GoogleIdToken",
    "ServiceLogin",
    "StockLogin",
    "origin_of",
    "read_login",
]

LOGIN_OPTIONS: Final = ("auth", "audience", "impersonation_chain", "gcp_conn_id", "key_path")
"""What is read from the extra of an HTTP connection, beside what Airflow reads itself."""

_KINDS: Final = ("basic", "bearer", "google-id-token")
_ONLY_GOOGLE: Final = LOGIN_OPTIONS[1:]
_KEYS: Final = ("keyfile_dict", "keyfile")
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class StockLogin:
    """Airflow's own: basic with the connection's login, or whatever header its extra holds."""


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token that does not change: the connection's password."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleIdToken:
    """A token that Google signs, for one audience, for an hour.

    Attributes:
        audience: whom the token is for.
        impersonation_chain: service accounts; the last one is who calls. Empty: the identity itself.
        gcp_conn_id: the Google connection whose identity it is; None: another's.
        key_path: a service account's key file; None, and no connection: this machine's identity.
    """

    audience: str
    impersonation_chain: tuple[str, ...] = ()
    gcp_conn_id: str | None = None
    key_path: str | None = None


ServiceLogin: TypeAlias = StockLogin | BearerToken | GoogleIdToken


def read_login(
    conn_id: str, *, url: str, login: str | None, password: str | None, extra: Mapping[str, object]
) -> ServiceLogin:
    """Return what an HTTP connection says of the login.

    Args:
        conn_id: for errors.
        url: the connection's scheme, host and port.
        login: its login.
        password: its password.
        extra: its extra.

    Raises:
        ContractError: names the connection, the field and the remedy; never what a secret field holds.
    """
    for name in _KEYS:
        if name in extra:
            raise _error(
                conn_id,
                name,
                "not here, where Airflow's own operators would send it as a header: put the key into a "
                "Google connection, and name that in gcp_conn_id",
            )
    kind = extra.get("auth")
    if kind is None:
        return StockLogin()
    if kind not in _KINDS:
        raise _error(conn_id, "auth", f"one of {', '.join(_KINDS)}, not {kind!r}")
    if extra.get("srv_lookup"):
        raise _error(conn_id, "srv_lookup", "does not go with auth: the login is for one host")
    if kind == "google-id-token":
        return _google(conn_id, url=url, extra=extra)
    for name in _ONLY_GOOGLE:
        if name in extra:
            raise _error(conn_id, name, f"belongs to auth 'google-id-token', not to {kind!r}")
    if kind == "basic":
        if not login:
            raise _error(conn_id, "login", "missing: auth 'basic' needs login and password")
        return StockLogin()
    if not password:
        raise _error(conn_id, "password", "missing: it is the token of auth 'bearer'")
    if not (password.isascii() and password.isprintable()) or " " in password:
        raise _error(conn_id, "password", "is no token: a header cannot carry it")
    return BearerToken(password)


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, without a port that goes without saying."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _google(conn_id: str, *, url: str, extra: Mapping[str, object]) -> GoogleIdToken:
    named = {
        name: _text(conn_id, name, extra[name])
        for name in _ONLY_GOOGLE
        if name != "impersonation_chain" and name in extra
    }
    if "gcp_conn_id" in named and "key_path" in named:
        raise _error(
            conn_id, "key_path", "the Google connection in gcp_conn_id has a key already: name one of them"
        )
    return GoogleIdToken(
        audience=named.get("audience") or _audience(conn_id, url),
        impersonation_chain=_chain(conn_id, extra.get("impersonation_chain")),
        gcp_conn_id=named.get("gcp_conn_id"),
        key_path=named.get("key_path"),
    )


def _audience(conn_id: str, url: str) -> str:
    parts = urlsplit(url)
    if not parts.hostname:
        raise _error(conn_id, "host", "missing: the token is made for it")
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise _error(
            conn_id,
            "schema",
            "is not https: a token on a plain connection is everybody's. Set the schema to https, or, where "
            "something else encrypts, name the audience",
        )
    return origin_of(url)


def _chain(conn_id: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _error(conn_id, "impersonation_chain", "an account's e-mail address, or a list of them")
    chain = tuple(name.strip() for name in names)
    if not chain or not all("@" in name for name in chain):
        raise _error(conn_id, "impersonation_chain", "an account's e-mail address, or a list of them")
    return chain


def _text(conn_id: str, name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _error(conn_id, name, "a text that is not empty")
    return value


def _error(conn_id: str, name: str, reason: str) -> ContractError:
    return ContractError("http_conn_id", f"{conn_id!r}: {name}: {reason}")
