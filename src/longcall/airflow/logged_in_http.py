"""Airflow's HTTP hook, with the logins that `service_login` reads from the connection beside its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow.providers.http.hooks.http import HttpHook
from requests import PreparedRequest, Response, Session
from requests.auth import AuthBase

from longcall.airflow.google_tokens import IdTokens, id_tokens
from longcall.airflow.service_login import (
    LOGIN_OPTIONS,
    BearerToken,
    GoogleIdToken,
    ServiceLogin,
    StockLogin,
    origin_of,
    read_login,
)

__all__ = ["LoggedInHttp"]


class LoggedInHttp(HttpHook):
    """Sends each request with the connection's login, to the connection's host alone."""

    def get_conn(self, *args: Any, **kwargs: Any) -> Session:
        """Return Airflow's session, logged in.

        Raises:
            ContractError: the connection's login options cannot be used.
        """
        session: Session = super().get_conn(*args, **kwargs)
        login = self._login()
        if not isinstance(login, StockLogin):
            session.auth = _Bearer(origin_of(self.base_url), login, id_tokens)
        if "auth" in session.headers:
            for name in LOGIN_OPTIONS:  # Airflow makes headers of all that it does not know
                session.headers.pop(name, None)
        return session

    def _login(self) -> ServiceLogin:
        connection = self.get_connection(self.http_conn_id)
        return read_login(
            self.http_conn_id,
            url=self.base_url,
            login=connection.login,
            password=connection.password,
            extra=connection.extra_dejson,
        )


class _Bearer(AuthBase):
    """Adds the token to requests for one origin. Where a redirect leads elsewhere, requests takes it off."""

    def __init__(self, origin: str, login: BearerToken | GoogleIdToken, tokens: IdTokens) -> None:
        self._origin = origin
        self._login = login
        self._tokens = tokens

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if origin_of(request.url or "") != self._origin:
            return request
        if isinstance(self._login, BearerToken):
            token = self._login.token
        else:
            token = self._tokens.token(self._login)
            request.register_hook("response", _forgetting(self._tokens, self._login, token))
        request.headers["Authorization"] = f"Bearer {token}"
        return request


def _forgetting(tokens: IdTokens, login: GoogleIdToken, token: str) -> Callable[..., Response]:
    def note(response: Response, **_options: object) -> Response:
        if response.status_code == 401:
            tokens.forget(login, token)
        return response

    return note
