"""Whose call it is, as it stands in the labels of its inbox and in the request that starts it.

Whoever sweeps up after a killed process has nothing else to go by. A label's value has at most 63 characters
of a small alphabet, so that what must be exact is cut in pieces there.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode

from longcall.contract import MAX_CALLER

__all__ = ["CallOwner"]

_OWNER: Final = "longcall_owner_"
_PIECE: Final = 63
_MAX_PIECES: Final = 58
"""An inbox has 64 labels at most, and some are others'."""
_MAX_ENDPOINT: Final = 300
"""Beyond that it is left out."""
_TASK: Final = ("deployment", "dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOwner:
    """The Airflow task that waits for a call, and where the call was started.

    Attributes:
        deployment: whose task it is, for several may use one project and one service.
        dag_id: the DAG.
        run_id: its run.
        task_id: the task that waits.
        map_index: -1 unless it is mapped.
        http_conn_id: the connection to the service.
        endpoint: below that connection's URL, without a query; empty: not known.
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    http_conn_id: str
    endpoint: str

    def to_labels(self) -> dict[str, str]:
        """Return it as labels of an inbox; none, should its names be too long for that."""
        fields = asdict(self)
        if len(self.endpoint) > _MAX_ENDPOINT:
            fields["endpoint"] = ""
        values = json.dumps(list(fields.values()), ensure_ascii=False, separators=(",", ":"))
        text = base64.b32encode(values.encode()).decode().rstrip("=").lower()
        pieces = [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]
        if len(pieces) > _MAX_PIECES:
            return {}
        return {f"{_OWNER}{number}": piece for number, piece in enumerate(pieces)}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> Self | None:
        """Read it from the labels of an inbox; None: they name none."""
        pieces: list[str] = []
        while (piece := labels.get(f"{_OWNER}{len(pieces)}")) is not None:
            pieces.append(piece)
        text = "".join(pieces).upper()
        try:
            values = json.loads(base64.b32decode(text + "=" * (-len(text) % 8)))
            deployment, dag_id, run_id, task_id, map_index, http_conn_id, endpoint = values
            return cls(
                deployment=str(deployment),
                dag_id=str(dag_id),
                run_id=str(run_id),
                task_id=str(task_id),
                map_index=int(map_index),
                http_conn_id=str(http_conn_id),
                endpoint=str(endpoint),
            )
        except (binascii.Error, TypeError, ValueError):
            return None

    def to_caller(self) -> str:
        """Return the task as the `caller` of a request; empty, should its names be too long for that."""
        text = urlencode({name: getattr(self, name) for name in _TASK})
        return text if len(text) <= MAX_CALLER else ""

    @classmethod
    def from_caller(cls, text: str, *, http_conn_id: str) -> Self | None:
        """Read it from the caller of a call; None: it says something else.

        Args:
            text: what `to_caller` wrote.
            http_conn_id: the connection to the service that was asked.
        """
        said = dict(parse_qsl(text))
        try:
            names = {name: said[name] for name in _TASK}
            index = int(names.pop("map_index"))
            return cls(**names, map_index=index, http_conn_id=http_conn_id, endpoint="")
        except (KeyError, ValueError):
            return None

    def __str__(self) -> str:
        """Return it as a person reads it."""
        index = "" if self.map_index < 0 else f"[{self.map_index}]"
        return f"{self.dag_id} / {self.run_id} / {self.task_id}{index}"
