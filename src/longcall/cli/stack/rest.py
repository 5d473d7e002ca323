"""A logged-in HTTP client of one Airflow: requests, their errors, and waiting for what they tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import httpx2

from longcall.cli.stack.airflow_env import AirflowLogin
from longcall.cli.stack.airflow_release import Airflow3
from longcall.cli.stack.errors import StackError, StackTimeout
from longcall.contract import JsonValue

__all__ = ["RestClient"]

_POLL_INTERVAL_S = 0.2
_MAX_BUSY = 10


class RestClient:
    """Sends requests to one Airflow. Not for use from several threads at once; the owner closes it."""

    def __init__(self, url: str, login: AirflowLogin, release: Airflow3, check: Callable[[], None]) -> None:
        """Keep the address; nothing is sent yet.

        Args:
            url: of the API server or webserver, without a path.
            login: logged in with at the first request that needs it.
            release: how this Airflow is spoken to.
            check: called while waiting; raises when waiting has become pointless.
        """
        self._url = url
        self._login = login
        self._release = release
        self._check = check
        self._authorization: dict[str, str] | None = None
        # Not from the environment: a proxy has no business on loopback.
        self._http = httpx2.Client(base_url=url, timeout=120.0, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def sick_part(self) -> str | None:
        """Say which component has not reported; None: all are well."""
        try:
            health = self._http.get(self._release.health_path, timeout=5.0).json()
        except (httpx2.TransportError, ValueError):
            return "the API server did not answer"
        missing = [part for part in self._release.health_parts if health[part]["status"] != "healthy"]
        return f"no sign of life from {', '.join(missing)}" if missing else None

    def wait_while(self, reason: Callable[[], str | None], *, timeout_s: float) -> None:
        """Wait until there is no reason to wait.

        Raises:
            StackTimeout: names the last reason.
        """
        deadline_s = time.monotonic() + timeout_s
        while (why := reason()) is not None:
            self._check()
            if time.monotonic() > deadline_s:
                raise StackTimeout(f"{why} within {timeout_s:g} s")
            time.sleep(_POLL_INTERVAL_S)

    def json(self, method: str, path: str, body: dict[str, JsonValue] | None = None) -> dict[str, JsonValue]:
        """Send a request and return the answer.

        Raises:
            StackError: no answer, or an error.
        """
        answer = self.find(method, path, body, missing_ok=False)
        return {} if answer is None else answer

    def find(
        self, method: str, path: str, body: dict[str, JsonValue] | None = None, *, missing_ok: bool = True
    ) -> dict[str, JsonValue] | None:
        """Send a request and return the answer; None: there is no such thing.

        Raises:
            StackError: no answer, or another error.
        """
        response = self._send(method, path, body)
        if response.status_code == 404 and missing_ok:
            return None
        _refuse_errors(response)
        answer: dict[str, JsonValue] = response.json()
        return answer

    def log_lines(self, path: str) -> list[str]:
        """Return a task's log, one event a line; empty when it has none yet.

        Raises:
            StackError: no answer, or an error.
        """
        response = self._send("GET", path, None, accept=self._release.log_type)
        if response.is_error:
            raise StackError(
                f"Airflow answered GET {path} with {response.status_code}: {response.text[:500]}"
            )
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return self._release.log_lines(response.json() if is_json else response.text)

    def _send(
        self, method: str, path: str, body: dict[str, JsonValue] | None, *, accept: str = "application/json"
    ) -> httpx2.Response:
        if self._authorization is None:
            self._authorization = self._log_in()
        headers = {"Accept": accept} | self._authorization
        try:
            return self._ask(method, f"{self._release.api_root}{path}", body, headers)
        except httpx2.TransportError as error:
            self._check()
            raise StackError(
                f"Airflow's API at {self._url} did not answer {method} {path}: {error}"
            ) from error

    def _ask(
        self, method: str, path: str, body: dict[str, JsonValue] | None, headers: Mapping[str, str]
    ) -> httpx2.Response:
        """Send a request; again when SQLite was busy for five seconds, so that it changed nothing."""
        for _ in range(_MAX_BUSY):
            response = self._http.request(method, path, json=body, headers=headers)
            if response.status_code != 500 or "Database error" not in response.text:
                break
        return response

    def _log_in(self) -> dict[str, str]:
        try:
            return self._release.log_in(self._http, self._login.user, self._login.password)
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            raise StackError(f"Airflow refused the login of {self._login.user!r}: {status}") from error
        except httpx2.TransportError as error:
            self._check()
            raise StackError(f"Airflow's API at {self._url} did not answer the login: {error}") from error


def _refuse_errors(response: httpx2.Response) -> None:
    if response.is_error:
        request = response.request
        raise StackError(
            f"Airflow answered {request.method} {request.url.path} with {response.status_code}: "
            f"{response.text[:500]}"
        )
