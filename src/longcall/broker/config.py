"""How a broker is configured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longcall.broker.errors import BrokerConfigError

__all__ = ["BrokerConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """The settings of a broker.

    Attributes:
        host: address to listen on. There is no authentication: keep it on loopback.
        port: 0: any that is free.
        http_port: of the HTTP/JSON API; 0: any that is free; None: there is none.
        data_dir: folder for what must last; None: in memory, gone with the process.
        power_safe: with `data_dir`, survive a power cut too; every publish then waits for the disk.
        testing: serve `longcall.broker.v1.Testing`: inspection, faults, and a clock that can be set forward.
        sweep_interval_s: pause between two looks for what has expired.
    """

    host: str = "127.0.0.1"
    port: int = 0
    http_port: int | None = None
    data_dir: Path | None = None
    power_safe: bool = False
    testing: bool = False
    sweep_interval_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what no server can be started with."""
        for name, port in (("port", self.port), ("http_port", self.http_port or 0)):
            if not 0 <= port <= 65535:
                raise BrokerConfigError(f"{name}: {port} is not between 0 and 65535")
        if self.power_safe and self.data_dir is None:
            raise BrokerConfigError("power_safe: there is nothing to keep safe without data_dir")
        if self.sweep_interval_s <= 0:
            raise BrokerConfigError("sweep_interval_s: more than 0")
