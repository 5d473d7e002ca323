"""The tables of calls, for SQLite and PostgreSQL alike.

A call's outcome and the duty to publish it are in one row, so that both are one
commit. Instants are seconds since 1970 on the wall clock.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    literal_column,
)

__all__ = [
    "IS_DUE",
    "IS_OPEN",
    "IS_PUBLISHED",
    "IS_RUNNING",
    "IS_WAITING",
    "LAYOUT",
    "calls",
    "layout",
    "log_lines",
    "metadata",
    "result_files",
]

LAYOUT: Final = 4
"""Rises when a table changes; an older program refuses a newer layout."""

metadata: Final = MetaData()

layout: Final = Table(
    "longcall_layout",
    metadata,
    Column("version", Integer, nullable=False),
    Column("service", Text, nullable=False),
)

lease: Final = Table(
    "longcall_lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
)
"""Who leads among replicas, by PostgreSQL's clock."""

calls: Final = Table(
    "longcall_calls",
    metadata,
    # The order in which calls were accepted, whatever the clock did meanwhile.
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("correlid", String(200), nullable=False, unique=True),
    Column("handler", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    # What it takes to run it, again too. The body goes when the call has ended.
    Column("body", LargeBinary),
    Column("content_type", Text, nullable=False),
    Column("deadline_s", Double),
    Column("reply_topic", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("caller", Text, nullable=False),
    # Goes when the completion is published: nothing more will be signed.
    Column("signing_keys", Text, nullable=False),
    # How it stands.
    Column("state", String(20), nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("interruptions", Integer, nullable=False, server_default="0"),
    Column("owner", Text),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    Column("progress", Text),
    Column("accepted_s", Double, nullable=False),
    Column("started_s", Double),
    Column("heartbeat_s", Double),
    Column("ended_s", Double),
    # How it ended, and whether that is published.
    Column("result", LargeBinary),
    Column("result_type", Text),
    Column("outcome", Text),
    # Of its result and its log.
    Column("kept_bytes", BigInteger, nullable=False, server_default="0"),
    Column("sequence", Integer),
    Column("published_s", Double),
    sqlite_autoincrement=True,
)

log_lines: Final = Table(
    "longcall_log_lines",
    metadata,
    Column("call_number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    # Of its first line; a row holds the lines that were noted together.
    Column("first", Integer, primary_key=True),
    Column("lines_count", Integer, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lines", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""What the runs of a call had to say: its last lines."""

result_files: Final = Table(
    "longcall_result_files",
    metadata,
    Column("url", Text, primary_key=True),
    Column("expires_s", Double, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Where large results lie, and until when. In here before they are written, so that none is forgotten."""

# Written out, not bound: SQLite uses a partial index only where it sees the index's own condition.
IS_WAITING: Final = calls.c.state == literal_column("'accepted'")
IS_OPEN: Final = calls.c.ended_s.is_(None)
IS_RUNNING: Final = calls.c.state == literal_column("'running'")
IS_DUE: Final = calls.c.ended_s.is_not(None) & calls.c.published_s.is_(None)
IS_PUBLISHED: Final = calls.c.published_s.is_not(None)

for _name, _columns, _where in (
    ("longcall_waiting", (calls.c.handler, calls.c.number), IS_WAITING),
    ("longcall_open", (calls.c.number,), IS_OPEN),
    ("longcall_running", (calls.c.number,), IS_RUNNING),
    ("longcall_due", (calls.c.number,), IS_DUE),
    ("longcall_published", (calls.c.ended_s, calls.c.number, calls.c.kept_bytes), IS_PUBLISHED),
):
    Index(_name, *_columns, sqlite_where=_where, postgresql_where=_where)
