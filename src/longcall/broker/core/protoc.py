"""The compiler of Protocol Buffers, kept at arm's length.

A definition of 300 KB can make protoc take 8 GB and minutes. So it runs as a process of its own, in an
empty folder, where it finds nothing to import, with a limit on memory and time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from longcall.broker.errors import InvalidArgument
from longcall.broker.rules.protobuf import only_message

__all__ = ["check_descriptor_set", "compile_definition"]

_CHILD: Final = Path(__file__).with_name("protoc_child.py")
_REFUSED: Final = 3
_NO_IMPORTS: Final = (
    " Imports are not supported: define the types within the message, or send compiled_proto_schema."
)
_TIME_LIMIT_S: Final = 20.0
_MAX_COMPLAINT_BYTES: Final = 1000


def compile_definition(definition: str) -> tuple[bytes, str]:
    """Compile a definition; blocks for as long as that takes, which is bounded.

    Returns:
        A serialized `FileDescriptorSet` of one file, and the complete name of its message.

    Raises:
        InvalidArgument: it does not compile, imports others, or has not exactly one top-level message.
    """
    with tempfile.TemporaryDirectory(prefix="longcall-schema-") as name:
        folder = Path(name)
        (folder / "schema.proto").write_text(definition, encoding="utf-8")
        complaint = _run(folder, "compile")
        if complaint is not None:
            hint = _NO_IMPORTS if 'Import "' in complaint else ""
            raise InvalidArgument(f"Could not parse schema definition: {complaint}{hint}")
        compiled = (folder / "compiled").read_bytes()
    return compiled, only_message(compiled)


def check_descriptor_set(descriptor_set: bytes, root_message: str) -> None:
    """Return if a set that a client has compiled can be loaded, having tried that in another process.

    Raises:
        InvalidArgument: it cannot.
    """
    with tempfile.TemporaryDirectory(prefix="longcall-schema-") as name:
        folder = Path(name)
        (folder / "compiled").write_bytes(descriptor_set)
        (folder / "root").write_text(root_message, encoding="utf-8")
        complaint = _run(folder, "load")
    if complaint is not None:
        raise InvalidArgument(f"Could not parse schema definition: {complaint}")


def _run(folder: Path, task: str) -> str | None:
    """Return what the compiler complains of; None: nothing."""
    with (folder / "complaint").open("wb") as complaint:
        try:
            done = subprocess.run(  # noqa: S603 - our own argument list, no shell
                [sys.executable, "-I", str(_CHILD), task],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaint,
                timeout=_TIME_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "the compiler took too long"
    if done.returncode == 0:
        return None
    with (folder / "complaint").open("rb") as complaint:
        text = complaint.read(_MAX_COMPLAINT_BYTES).decode(errors="replace").strip()
    if done.returncode == _REFUSED:
        said = [line for line in text.splitlines() if line.startswith("schema.proto")]
        return "; ".join(said) or text
    return "the compiler needed too much memory or time"
