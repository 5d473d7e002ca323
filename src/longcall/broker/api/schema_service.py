"""`google.pubsub.v1.SchemaService`: schemas, their revisions, and checks against them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from longcall.broker.api.methods import Context, Methods, name_of
from longcall.broker.core.broker_core import BrokerCore
from longcall.broker.errors import InvalidArgument
from longcall.broker.protos import (
    ListSchemasRequest,
    ProtoMessage,
    Schema,
    SchemaRequest,
    ValidateMessageRequest,
)
from longcall.broker.rules.names import check_project
from longcall.broker.rules.paging import page_of
from longcall.broker.rules.schemas import basic_view
from longcall.broker.wire import Empty, Wire

__all__ = ["SchemaApi"]

log = logging.getLogger(__name__)

_BASIC: Final = 1
_FULL: Final = 2


class SchemaApi:
    """`google.pubsub.v1.SchemaService`."""

    def __init__(self, core: BrokerCore) -> None:
        self._schemas = core.schemas
        self._checks = core.schema_checks

    def methods(self) -> Methods:
        """Return the methods by name, with the class of their request."""
        return {
            "CreateSchema": (self._create, Wire.CreateSchemaRequest),
            "GetSchema": (self._get, Wire.GetSchemaRequest),
            "ListSchemas": (self._list, Wire.ListSchemasRequest),
            "ListSchemaRevisions": (self._list_revisions, Wire.ListSchemaRevisionsRequest),
            "CommitSchema": (self._commit, Wire.CommitSchemaRequest),
            "RollbackSchema": (self._rollback, Wire.RollbackSchemaRequest),
            "DeleteSchemaRevision": (self._delete_revision, Wire.DeleteSchemaRevisionRequest),
            "DeleteSchema": (self._delete, Wire.DeleteSchemaRequest),
            "ValidateSchema": (self._validate, Wire.ValidateSchemaRequest),
            "ValidateMessage": (self._validate_message, Wire.ValidateMessageRequest),
        }

    async def _create(self, request: SchemaRequest, _: Context) -> ProtoMessage:
        created = await self._schemas.create(request.parent, request.schema_id, request.schema)
        log.info("Created schema %s, revision %s", created.name, created.revision_id)
        return created

    async def _get(self, request: SchemaRequest, _: Context) -> ProtoMessage:
        # Without a view everything is shown here, and the least in lists: so the comments of the fields.
        schema = self._schemas.get(request.name)
        return basic_view(schema) if request.view == _BASIC else schema

    async def _list(self, request: ListSchemasRequest, _: Context) -> ProtoMessage:
        page, token = page_of(self._schemas.list(check_project(request.parent)), request, name=name_of)
        return Wire.ListSchemasResponse(schemas=_viewed(page, request.view), next_page_token=token)

    async def _list_revisions(self, request: ListSchemasRequest, _: Context) -> ProtoMessage:
        # Pages are told apart by a name: here, the place in the order, which deletions do not change.
        page, token = page_of(
            self._schemas.revisions(request.name), request, name=lambda revision: f"{revision.number:020}"
        )
        revisions = _viewed([revision.body for revision in page], request.view)
        return Wire.ListSchemaRevisionsResponse(schemas=revisions, next_page_token=token)

    async def _commit(self, request: SchemaRequest, _: Context) -> ProtoMessage:
        committed = await self._schemas.commit(request.name, request.schema)
        log.info("Committed revision %s of schema %s", committed.revision_id, committed.name)
        return committed

    async def _rollback(self, request: SchemaRequest, _: Context) -> ProtoMessage:
        return await self._schemas.rollback(request.name, request.revision_id)

    async def _delete_revision(self, request: SchemaRequest, _: Context) -> ProtoMessage:
        return await self._schemas.delete_revision(request.name)

    async def _delete(self, request: SchemaRequest, _: Context) -> ProtoMessage:
        await self._schemas.delete(request.name)
        log.info("Deleted schema %s", request.name)
        return Empty()

    async def _validate(self, request: SchemaRequest, _: Context) -> ProtoMessage:
        check_project(request.parent)
        await self._schemas.validate(request.schema)
        return Wire.ValidateSchemaResponse()

    async def _validate_message(self, request: ValidateMessageRequest, _: Context) -> ProtoMessage:
        check_project(request.parent)
        spec = request.WhichOneof("schema_spec")
        if spec is None:
            raise InvalidArgument("Neither the name of a schema nor a schema is set in the request.")
        await self._checks.check_message(getattr(request, spec), request.message, request.encoding)
        return Wire.ValidateMessageResponse()


def _viewed(schemas: Iterable[Schema], view: int) -> list[Schema]:
    return [schema if view == _FULL else basic_view(schema) for schema in schemas]
