"""One schema in memory: its revisions, and where the deleted ones were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from longcall.broker.core.store import SavedState, Write
from longcall.broker.protos import Schema
from longcall.broker.rules.schemas import CompiledSchema, split_revision
from longcall.broker.wire import Wire

__all__ = ["ActiveSchema", "Revision", "load_schemas", "saved_revision"]


@dataclass(slots=True, eq=False)
class Revision:
    """One revision.

    Attributes:
        number: higher than that of every earlier one.
        body: the `Schema` message as clients see it, with its definition.
        compiled: what messages are checked against; None: nobody has needed it yet.
    """

    number: int
    body: Schema
    compiled: CompiledSchema | None = None


@dataclass(slots=True, eq=False)
class ActiveSchema:
    """A schema with at least one revision.

    Attributes:
        name: full path.
        revisions: oldest first.
        deleted: numbers of deleted revisions, by id: topics may still name them.
    """

    name: str
    revisions: list[Revision] = field(default_factory=list)
    deleted: dict[str, int] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """Of the first revision: tells it from an earlier schema of the same name."""
        return min([*self.deleted.values(), *(each.number for each in self.revisions)])

    @property
    def newest(self) -> Revision:
        """What the name alone stands for."""
        return self.revisions[-1]

    def find(self, revision_id: str) -> Revision | None:
        """Return a revision; None: it is not there."""
        return next((each for each in self.revisions if each.body.revision_id == revision_id), None)

    def between(self, first_id: str, last_id: str) -> Sequence[Revision]:
        """Return the revisions of a range, newest first; an empty id leaves that side open.

        In place of a deleted bound stands its neighbour inside the range: see the page "Delete a schema
        revision".
        """
        first, last = self._number_of(first_id), self._number_of(last_id)
        return [
            each
            for each in reversed(self.revisions)
            if (first is None or each.number >= first) and (last is None or each.number <= last)
        ]

    def has_had(self, revision_id: str) -> bool:
        """Tell whether a revision is, or was, of this id."""
        return self._number_of(revision_id) is not None

    def delete(self, revision: Revision) -> Sequence[Write]:
        """Drop a revision; return what must be written: a mark in its place."""
        revision_id = revision.body.revision_id
        self.revisions.remove(revision)
        self.deleted[revision_id] = revision.number
        mark = Wire.Schema(name=self.name, revision_id=revision_id).SerializeToString()
        return [Write.resource("schema", f"{self.name}@{revision_id}", mark, number=revision.number)]

    def gone(self) -> Sequence[Write]:
        """Return what must be written to forget the whole of it."""
        ids = [*(each.body.revision_id for each in self.revisions), *self.deleted]
        return [Write.resource_gone("schema", f"{self.name}@{revision_id}") for revision_id in ids]

    def _number_of(self, revision_id: str) -> int | None:
        found = self.find(revision_id)
        return found.number if found else self.deleted.get(revision_id)


def load_schemas(state: SavedState) -> dict[str, ActiveSchema]:
    """Return the schemas that a store has kept, by name."""
    schemas: dict[str, ActiveSchema] = {}
    for saved in sorted(state.of_kind("schema"), key=lambda saved: saved.number):
        name, revision_id = split_revision(saved.name)
        schema = schemas.setdefault(name, ActiveSchema(name))
        body = Wire.Schema.FromString(saved.body)
        if body.type_:
            schema.revisions.append(Revision(saved.number, body))
        else:
            schema.deleted[revision_id] = saved.number
    return schemas


def saved_revision(revision: Revision) -> Write:
    """Return what must be written for a new revision."""
    name = f"{revision.body.name}@{revision.body.revision_id}"
    return Write.resource("schema", name, revision.body.SerializeToString(), number=revision.number)
