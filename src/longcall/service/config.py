"""How a service is configured."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from longcall.contract import ContractError, resource_path
from longcall.service.auth import AuthConfig
from longcall.service.call import MAX_RESULT_BYTES, MAX_STORED_RESULT_BYTES
from longcall.service.errors import ServiceConfigError

__all__ = ["ServiceConfig"]

_TOPIC_PATTERN: Final = re.compile(r"projects/[^/*]+/topics/[^/*]*\*?")
_COUNTS: Final = (
    "max_processes",
    "max_tasks",
    "max_waiting",
    "max_body_bytes",
    "max_ended",
    "max_ended_bytes",
    "max_interruptions",
    "result_limit_bytes",
)
_TIMES: Final = ("heartbeat_s", "progress_interval_s", "max_ended_age_s", "takeover_s", "result_lifetime_s")
_RESULTS_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """The settings of a running service.

    Attributes:
        topic: full path of the topic where it publishes.
        store: the folder where calls are kept; `postgresql://…`, which replicas share; or `memory`, which
            forgets them with the process. Empty: a folder named after the service in the user's folder for
            state.
        works: whether this process runs calls; False: it only answers callers (PostgreSQL only).
        answers: whether it answers callers; False: health, readiness and metrics alone.
        max_processes: synchronous handlers that run at once.
        max_tasks: asynchronous handlers that run at once.
        max_waiting: accepted calls that wait for their turn; beyond that, 503.
        max_body_bytes: a larger request body is answered 413.
        max_ended: ended calls whose status is kept.
        max_ended_age_s: for how long it is kept.
        max_ended_bytes: of the kept calls' results and logs together; the oldest go first.
        heartbeat_s: pause between heartbeats of a running call.
        progress_interval_s: pause between two progress reports of a call.
        max_interruptions: a call whose work has died with the service so often fails.
        takeover_s: how long a replica must have been silent to count as dead.
        drain_s: how long a stopping service lets running work go on.
        reply_topics: where else reports may go when a request asks for it: full paths of topics, a last `*`
            for any ending. None: nowhere else.
        results_url: below which results are put that are too large for a message: any URL that fsspec knows.
            Empty: nowhere, a result that is too large fails its call.
        result_limit_bytes: a larger result is put there, at most what a message takes.
        result_lifetime_s: for how long it lies there.
        page: whether a person may look at the calls, at `/calls/`; `auth` holds there, too.
        auth: who may call.
    """

    topic: str
    store: str = field(default="", repr=False)
    works: bool = True
    answers: bool = True
    max_processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    max_tasks: int = 1000
    max_waiting: int = 10_000
    max_body_bytes: int = 10_000_000
    max_ended: int = 10_000
    max_ended_age_s: float = 7 * 24 * 3600.0
    max_ended_bytes: int = 256_000_000
    heartbeat_s: float = 30.0
    progress_interval_s: float = 0.25
    max_interruptions: int = 5
    takeover_s: float = 30.0
    drain_s: float = 5.0
    reply_topics: tuple[str, ...] = ()
    results_url: str = ""
    result_limit_bytes: int = MAX_RESULT_BYTES
    result_lifetime_s: float = 7 * 24 * 3600.0
    page: bool = True
    auth: AuthConfig = field(default_factory=AuthConfig)

    def __post_init__(self) -> None:
        """Refuse limits that make no service."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ServiceConfigError(name, "at least 1")
        for name in _TIMES:
            if not getattr(self, name) > 0:
                raise ServiceConfigError(name, "more than 0")
        if not 0 <= self.drain_s < math.inf:
            raise ServiceConfigError("drain_s", "0 or more seconds")
        self._check_results()
        for pattern in self.reply_topics:
            if not _TOPIC_PATTERN.fullmatch(pattern):
                raise ServiceConfigError("reply_topics", f"{pattern!r} is no projects/PROJECT/topics/TOPIC")
        try:
            path = resource_path(self.topic, project=None, collection="topics", field="topic")
        except ContractError as error:
            raise ServiceConfigError(error.field, error.reason) from error
        if path != self.topic:
            raise ServiceConfigError("topic", "a full path: projects/PROJECT/topics/TOPIC")

    def _check_results(self) -> None:
        if self.result_limit_bytes > MAX_RESULT_BYTES:
            raise ServiceConfigError("result_limit", f"at most {MAX_RESULT_BYTES}: no message takes more")
        if not self.results_url:
            if self.result_limit_bytes != MAX_RESULT_BYTES:
                raise ServiceConfigError("result_limit", "needs --results-url, where larger results go")
        elif not _RESULTS_URL.fullmatch(self.results_url) or "?" in self.results_url:
            raise ServiceConfigError("results_url", "an absolute URL, such as gs://bucket/folder")

    @property
    def max_result_bytes(self) -> int:
        """How large a result may be."""
        return MAX_STORED_RESULT_BYTES if self.results_url else MAX_RESULT_BYTES

    def allows_reply_topic(self, topic: str) -> bool:
        """Tell whether a request may have its reports published there."""
        return topic == self.topic or any(
            topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern
            for pattern in self.reply_topics
        )

    @property
    def project(self) -> str:
        """The project of the topic."""
        return self.topic.split("/")[1]

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str], *, topic: str | None = None, project: str | None = None
    ) -> Self:
        """Read the environment; the arguments win.

        It is `LONGCALL_TOPIC` (or `GCP_TOPIC`), `GOOGLE_CLOUD_PROJECT`, `LONGCALL_STORE`, `LONGCALL_AUTH…`,
        `LONGCALL_RESULTS_URL`, and `LONGCALL_REPLY_TOPICS`, with commas between.

        Raises:
            ServiceConfigError: no topic, no project, names that cannot be any, or half of who may call.
        """
        named = topic or environ.get("LONGCALL_TOPIC") or environ.get("GCP_TOPIC")
        if not named:
            raise ServiceConfigError("topic", "missing: give --topic, or set LONGCALL_TOPIC")
        try:
            path = resource_path(
                named,
                project=project or environ.get("GOOGLE_CLOUD_PROJECT"),
                collection="topics",
                field="topic",
            )
        except ContractError as error:
            raise ServiceConfigError(error.field, error.reason) from error
        listed = environ.get("LONGCALL_REPLY_TOPICS", "").split(",")
        return cls(
            topic=path,
            store=environ.get("LONGCALL_STORE", ""),
            reply_topics=tuple(each.strip() for each in listed if each.strip()),
            results_url=environ.get("LONGCALL_RESULTS_URL", ""),
            auth=AuthConfig.from_env(environ),
        )
