"""Metrics for Prometheus, with prometheus_client, which is optional: `pip install 'longcall[metrics]'`.

What happens is counted as it happens; how much there is, the store is asked at
each scrape. Labels are handlers' paths and fixed words: their number is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from longcall import __version__
from longcall.contract import CallState, ReportBody
from longcall.service.errors import StoreUnavailable
from longcall.service.observer import NullObserver, Observer
from longcall.service.store.levels import Levels
from longcall.transport.errors import TopicNotFound, TransportDenied, TransportUnavailable

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

__all__ = ["PrometheusObserver", "ReadLevels", "make_observer", "metrics_routes"]

log = logging.getLogger(__name__)

ReadLevels: TypeAlias = Callable[[], Awaitable[Levels]]

_HOUR: Final = 3600.0
_WAIT_BUCKETS: Final = (0.01, 0.1, 1, 5, 15, 60, 300, 900, _HOUR, 4 * _HOUR, 24 * _HOUR)
_RUN_BUCKETS: Final = (0.1, 1, 5, 15, 60, 300, 900, _HOUR, 4 * _HOUR, 12 * _HOUR, 24 * _HOUR, 72 * _HOUR)
_LEVELS_S: Final = 2.0
"""How long a scrape waits for the store; Prometheus itself gives up after 10 s."""
_OTHER: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_KINDS: Final = tuple(kind.__name__.lower() for kind in get_args(ReportBody))
_FINAL: Final = tuple(state for state in CallState if state.is_final)
_FAILURES: Final[Mapping[type[BaseException], str]] = {
    TransportUnavailable: "unavailable",
    TopicNotFound: "topic_not_found",
    TransportDenied: "denied",
}


def make_observer(handlers: Collection[str]) -> Observer:
    """Return one that counts; without prometheus_client, one that does not."""
    try:
        return PrometheusObserver(handlers)
    except ImportError:
        log.debug("No metrics: prometheus_client is not installed")
        return NullObserver()


def metrics_routes(observer: Observer, read_levels: Callable[[Request], ReadLevels]) -> list[BaseRoute]:
    """Return the route of `/metrics`; none if nothing is counted.

    Args:
        observer: what `make_observer` returned.
        read_levels: finds, for a request, what asks the store.
    """
    if not isinstance(observer, PrometheusObserver):
        return []

    async def scrape(request: Request) -> Response:
        levels = await _levels(read_levels(request))
        content, content_type = observer.encode(levels, accept=request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": content_type, "Cache-Control": "no-store"})

    return [Route("/metrics", scrape, methods=["GET"])]


async def _levels(read: ReadLevels) -> Levels | None:
    """Ask the store; None when it does not answer: the rest of the metrics is then wanted most."""
    try:
        async with asyncio.timeout(_LEVELS_S):
            return await read()
    except (StoreUnavailable, TimeoutError) as error:
        log.warning("The call store does not say how much is in it: %s", str(error) or "it takes too long")
        return None


class PrometheusObserver:
    """Counts, in a registry of its own."""

    def __init__(self, handlers: Collection[str]) -> None:
        """Count nothing yet; each handler's counters begin with 0, so that the first call is a rise.

        Args:
            handlers: the paths; any other is counted as `other`.

        Raises:
            ImportError: prometheus_client is not installed.
        """
        import prometheus_client as prometheus

        self._handlers = tuple(handlers)
        self._registry = registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=registry)
        self._accepted = prometheus.Counter(
            "longcall_calls_accepted_total", "Calls accepted.", ["handler"], registry=registry
        )
        self._started = prometheus.Counter(
            "longcall_attempts_started_total", "Attempts at work begun.", ["handler"], registry=registry
        )
        self._interrupted = prometheus.Counter(
            "longcall_attempts_interrupted_total",
            "Attempts that ended without an outcome.",
            ["handler"],
            registry=registry,
        )
        self._ended = prometheus.Counter(
            "longcall_calls_ended_total", "Calls ended.", ["handler", "state"], registry=registry
        )
        self._waited = prometheus.Histogram(
            "longcall_queue_duration_seconds",
            "From acceptance to the begin of an attempt.",
            ["handler"],
            buckets=_WAIT_BUCKETS,
            registry=registry,
        )
        self._ran = prometheus.Histogram(
            "longcall_run_duration_seconds",
            "From the begin of the last attempt to its outcome.",
            ["handler", "state"],
            buckets=_RUN_BUCKETS,
            registry=registry,
        )
        self._published = prometheus.Counter(
            "longcall_reports_published_total", "Reports published.", ["kind"], registry=registry
        )
        self._failures = prometheus.Counter(
            "longcall_publish_failures_total",
            "Tries to publish a report that failed.",
            ["kind", "error"],
            registry=registry,
        )
        self._answered = prometheus.Counter(
            "longcall_http_requests_total",
            "Requests answered.",
            ["method", "route", "status"],
            registry=registry,
        )
        prometheus.Info("longcall_build", "What runs here.", registry=registry).info({"version": __version__})
        self._begin_with_zero()

    def _begin_with_zero(self) -> None:
        for handler in self._handlers:
            for metric in (self._accepted, self._started, self._interrupted, self._waited):
                metric.labels(handler)
            for state in _FINAL:
                self._ended.labels(handler, str(state))
        for kind in _KINDS:
            self._published.labels(kind)

    def accepted(self, handler: str) -> None:
        """Count a call."""
        self._accepted.labels(self._known(handler)).inc()

    def started(self, handler: str, *, waited_s: float) -> None:
        """Count an attempt, and how long its call has waited."""
        self._started.labels(self._known(handler)).inc()
        self._waited.labels(self._known(handler)).observe(max(0.0, waited_s))

    def ended(self, handler: str, *, state: CallState, ran_s: float | None) -> None:
        """Count a call's end, and how long its last attempt took."""
        labels = self._known(handler), str(state)
        self._ended.labels(*labels).inc()
        if ran_s is not None:
            self._ran.labels(*labels).observe(max(0.0, ran_s))

    def interrupted(self, handler: str) -> None:
        """Count an attempt that came to nothing."""
        self._interrupted.labels(self._known(handler)).inc()

    def published(self, kind: str) -> None:
        """Count a report that is out."""
        self._published.labels(kind if kind in _KINDS else _OTHER).inc()

    def publish_failed(self, kind: str, error: BaseException) -> None:
        """Count a try that failed."""
        word = next((word for type_, word in _FAILURES.items() if isinstance(error, type_)), _OTHER)
        self._failures.labels(kind if kind in _KINDS else _OTHER, word).inc()

    def answered(self, *, method: str, route: str, status: int) -> None:
        """Count an answer."""
        self._answered.labels(method if method in _METHODS else _OTHER, route or _OTHER, str(status)).inc()

    def encode(self, levels: Levels | None, *, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics and their media type.

        Args:
            levels: what is in the store; None: it did not say, and neither do the metrics.
            accept: what the scraper takes: Prometheus's text form, or OpenMetrics.
        """
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return encode(_Scrape(self._registry, levels, self._handlers)), content_type

    def _known(self, handler: str) -> str:
        return handler if handler in self._handlers else _OTHER


class _Scrape:
    """A collector of prometheus_client's: what was counted, and what is in the store."""

    def __init__(self, registry: CollectorRegistry, levels: Levels | None, handlers: Collection[str]) -> None:
        self._registry = registry
        self._levels = levels
        self._handlers = handlers

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        yield from self._registry.collect()
        levels = self._levels
        up = "Whether the call store says how much is in it."
        yield GaugeMetricFamily("longcall_store_up", up, value=levels is not None)
        if levels is None:
            return
        yield self._by_handler("longcall_calls_waiting", "Calls that wait for their turn.", levels.waiting)
        yield self._by_handler("longcall_calls_running", "Calls at work.", levels.running)
        yield GaugeMetricFamily(
            "longcall_completions_unpublished", "Completions still to publish.", value=levels.unpublished
        )
        yield GaugeMetricFamily(
            "longcall_completions_unpublished_age_seconds",
            "Since when the oldest of them waits; 0: there is none.",
            value=levels.oldest_unpublished_s,
        )

    def _by_handler(self, name: str, text: str, counts: Mapping[str, int]) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily

        family = GaugeMetricFamily(name, text, labels=["handler"])
        for handler in self._handlers:
            family.add_metric([handler], counts.get(handler, 0))
        # The store may hold calls of handlers that are no more.
        others = sum(count for handler, count in counts.items() if handler not in self._handlers)
        if others:
            family.add_metric([_OTHER], others)
        return family
