"""Who runs an accepted call: this machine alone, or one of several replicas."""

from longcall.service.engine.local import LocalEngine
from longcall.service.engine.port import Engine, Workforce

__all__ = ["Engine", "LocalEngine", "Workforce"]
