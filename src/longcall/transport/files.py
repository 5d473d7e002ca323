"""Files at any URL that fsspec knows: where results lie that are too large for a message.

The one module that imports fsspec (`longcall[results]`); `gs://` needs gcsfs beside it, `s3://` s3fs, and so
on. All of it blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from longcall.transport.errors import (
    FileMissing,
    TransportDenied,
    TransportError,
    TransportRefused,
    TransportUnavailable,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = ["check_usable", "delete_file", "read_file", "write_file"]

_LOCAL: Final = frozenset({"file", "local"})


def check_usable(url: str) -> None:
    """Return if there is a library for this kind of URL.

    Raises:
        TransportRefused: there is none, or the URL is not of one plain kind.
    """
    _open_system(url)


def write_file(url: str, data: bytes) -> None:
    """Write a file, in place of one that is there; it is stored when this returns.

    Raises:
        TransportUnavailable: it is not written, or only in part; writing it again is safe.
        TransportRefused: it cannot be written there.
    """
    system, path = _open_system(url)
    with _translated(url):
        if _is_local(system):
            system.makedirs(system._parent(path), exist_ok=True)
        with system.open(path, "wb") as file:
            file.write(data)
            if _is_local(system):
                file.flush()
                os.fsync(file.fileno())


def read_file(url: str, *, max_bytes: int) -> bytes:
    """Return a file's content, cut after `max_bytes` + 1 bytes.

    Raises:
        FileMissing: there is none.
        TransportUnavailable: it cannot be read now.
        TransportRefused: it cannot be read.
    """
    system, path = _open_system(url)
    with _translated(url), system.open(path, "rb") as file:
        content: bytes = file.read(max_bytes + 1)
        return content


def delete_file(url: str) -> None:
    """Delete a file; one that is not there is deleted already.

    Raises:
        TransportUnavailable, TransportRefused: it may still be there.
    """
    system, path = _open_system(url)
    with suppress(FileMissing), _translated(url):
        system.rm_file(path)


def _open_system(url: str) -> tuple[AbstractFileSystem, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise TransportRefused(f"{error}: pip install 'longcall[results]'", resource=url) from error
    if "::" in url:
        raise TransportRefused(f"{url}: one file system, not a chain of them", resource=url)
    with _translated(url):
        try:
            system, path = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise TransportRefused(f"{url}: {error}", resource=url) from error
    return system, str(path)


def _is_local(system: AbstractFileSystem) -> bool:
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    return not _LOCAL.isdisjoint(protocols)


@contextmanager
def _translated(url: str) -> Iterator[None]:
    """Raise what a file system raises as the transport's errors, about `url`."""
    try:
        yield
    except TransportError:
        raise
    except FileNotFoundError as error:
        raise FileMissing(f"{url} does not exist", resource=url) from error
    except PermissionError as error:
        raise TransportDenied(
            f"not permitted on {url}: {error}; check its credentials", resource=url
        ) from error
    except (IsADirectoryError, NotADirectoryError, NotImplementedError) as error:
        raise TransportRefused(f"{url}: {error}", resource=url) from error
    # The border to file systems that are not ours: each has exceptions of its own.
    except Exception as error:
        raise TransportUnavailable(f"{url}: {str(error) or type(error).__name__}", resource=url) from error
