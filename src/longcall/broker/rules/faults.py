"""Faults that a test asks for: which, where, how often. Rules in, decisions out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from longcall.broker.errors import BrokerError, InvalidArgument
from longcall.broker.wire import Code

__all__ = ["DELIVERY_FAULTS", "METHOD_FAULTS", "Fault", "Faults", "Refused", "is_named"]

DELIVERY_FAULTS: Final = ("drop", "duplicate", "delay", "reorder")
METHOD_FAULTS: Final = ("refuse", "slow", "crash_before", "crash_after")


class Refused(BrokerError):
    """A method is refused because a test wants it so."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message or "A test has asked for this.")
        self.code = code


@dataclass(slots=True, kw_only=True)
class Fault:
    """One rule.

    Attributes:
        kind: one of `DELIVERY_FAULTS` or `METHOD_FAULTS`.
        where: a subscription or topic, by its full name or the last part of it, or the name of a method,
            e.g. `Publish`; empty: any.
        times: how often it strikes; None: until it is cleared.
        share: of the occasions, 0 to 1.
        seed: of the chance that `share` goes by.
        delay_s: of `delay` and `slow`.
        code: status of `refuse`, by name.
        message: of `refuse`.
    """

    kind: str
    where: str = ""
    times: int | None = None
    share: float = 1.0
    seed: int = 0
    delay_s: float = 0.0
    code: str = "UNAVAILABLE"
    message: str = ""
    _chance: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            InvalidArgument: names the field.
        """
        if self.kind not in DELIVERY_FAULTS + METHOD_FAULTS:
            raise InvalidArgument(f"kind: {self.kind!r} is none of {DELIVERY_FAULTS + METHOD_FAULTS}")
        if not 0 < self.share <= 1:
            raise InvalidArgument(f"share: {self.share} is not between 0 and 1")
        if self.delay_s < 0 or (self.kind in ("delay", "slow") and not self.delay_s):
            raise InvalidArgument("delay_s: how many seconds?")
        if self.code not in get_args(Code):
            raise InvalidArgument(f"code: {self.code!r} is no gRPC status")
        self._chance = random.Random(self.seed)  # noqa: S311 - reproducible, not secret

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Fault:
        """Return the fault that a request describes.

        Raises:
            InvalidArgument: a field is unknown or of another type.
        """
        wanted = dict(fields)
        for name in ("times", "seed"):
            if wanted.get(name) is not None:
                wanted[name] = int(wanted[name])
        try:
            return cls(**wanted)
        except TypeError as error:
            raise InvalidArgument(f"not a fault: {error}") from error

    def strikes(self, *places: str) -> bool:
        """Tell whether it strikes here and now, and count that."""
        if self.times == 0 or (self.where and not any(is_named(place, self.where) for place in places)):
            return False
        if self.share < 1 and self._chance.random() >= self.share:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: list[Fault] = []

    def __bool__(self) -> bool:
        """Tell whether there is any rule."""
        return bool(self._rules)

    def add(self, fault: Fault) -> None:
        """Put a rule in force, after those that are."""
        self._rules.append(fault)

    def clear(self) -> None:
        """Put none in force."""
        self._rules.clear()

    def striking(self, kinds: Sequence[str], *places: str) -> Fault | None:
        """Return the first rule of these kinds that strikes here; that counts as one of its times.

        Args:
            kinds: which may.
            places: every name of here, e.g. of the subscription and of its topic.
        """
        return next((rule for rule in self._rules if rule.kind in kinds and rule.strikes(*places)), None)


def is_named(full: str, name: str) -> bool:
    """Tell whether `name` is the full name or the last part of it."""
    return name in (full, full.rpartition("/")[2])
