"""What Cloud Run does to a service that works when no request is open, and what to set against it.

By default an instance has its processor only while it answers a request, may be ended when none is open,
and its files are gone with it (https://cloud.google.com/run/docs/configuring/billing-settings and
https://cloud.google.com/run/docs/container-contract).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from longcall.service.config import ServiceConfig
from longcall.service.store import is_shared

__all__ = ["standstill_advice", "start_warnings"]

_GRACE_S: Final = 10.0
"""Between SIGTERM and SIGKILL."""
_FLAGS: Final = "gcloud run services update SERVICE --no-cpu-throttling --min-instances 1"


def start_warnings(config: ServiceConfig, environ: Mapping[str, str]) -> Iterator[str]:
    """Say what of the configuration Cloud Run makes unsafe; nothing anywhere else."""
    if not _is_here(environ):
        return
    if not is_shared(config.store):
        yield (
            "On Cloud Run files end with the instance, and accepted calls with them: set LONGCALL_STORE to a "
            "postgresql:// address"
        )
    if config.works:
        yield f"Cloud Run takes the processor away between requests, calls at work or not, but for: {_FLAGS}"
    if config.drain_s >= _GRACE_S:
        yield (
            f"Cloud Run kills {_GRACE_S:.0f} s after SIGTERM, and --drain is {config.drain_s:g} s: "
            "with --drain 2 calls at work are handed over in time, otherwise after --takeover"
        )


def standstill_advice(environ: Mapping[str, str]) -> str:
    """Say what to do about a process that stood still."""
    if _is_here(environ):
        return f"Cloud Run takes the processor away between requests; {_FLAGS}"
    return "was it paused or starved, or does an async handler block the event loop?"


def _is_here(environ: Mapping[str, str]) -> bool:
    """Tell whether this is a Cloud Run service; jobs and worker pools keep their processor."""
    return "K_SERVICE" in environ
