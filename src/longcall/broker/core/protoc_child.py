"""What runs in the compiler's own process, in a folder of its own; never imported by the broker.

`compile`: `schema.proto` becomes `compiled`, which is then loaded. `load`: only that, with the message
that `root` names. Ends with 0, or with 3 and the reason on standard error; a limit or a crash ends it
otherwise.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

_REFUSED = 3
_MAX_MEMORY_BYTES = 1 << 30
_MAX_CPU_S = 10
_MAX_FILE_BYTES = 64 << 20


def main() -> int:
    """Do the task that the command line names."""
    for limit, wanted in (
        (resource.RLIMIT_AS, _MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, _MAX_CPU_S),
        (resource.RLIMIT_FSIZE, _MAX_FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, most = resource.getrlimit(limit)
        value = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        with suppress(ValueError, OSError):  # not every system can limit everything
            resource.setrlimit(limit, (value, value))
    return _compile() if sys.argv[1] == "compile" else _load(Path("root").read_text(encoding="utf-8"))


def _compile() -> int:
    from grpc_tools import protoc

    status = protoc.main(["protoc", "-I.", "--descriptor_set_out=compiled", "schema.proto"])
    return _REFUSED if status else _load(None)


def _load(root: str | None) -> int:
    """Load the root, or every message, as the broker will."""
    from google.protobuf.descriptor_database import DescriptorDatabase
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import DecodeError
    from google.protobuf.message_factory import GetMessageClass

    try:
        database = DescriptorDatabase()
        names = [root] if root is not None else []
        for file in FileDescriptorSet.FromString(Path("compiled").read_bytes()).file:
            database.Add(file)
            if root is None:
                names += [f"{file.package}.{message.name}".lstrip(".") for message in file.message_type]
        pool = DescriptorPool(database)
        for name in names:
            GetMessageClass(pool.FindMessageTypeByName(name))().ParseFromString(b"")
    except (DecodeError, KeyError, TypeError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
