"""Somebody who starts very many calls, from a process of its own.

python client.py PORT PATH COUNT WRITERS PREFIX
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
import urllib.request

__all__ = ["get", "load", "post"]


async def post(port: int, path: str, names: list[str], writers: int) -> list[float]:
    """Start calls from `writers` connections; return how long each answer took, in seconds."""
    waiting = iter(names)
    took: list[float] = []

    async def write() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for name in waiting:
            request = f"POST {path}?correlid={name} HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n"
            began_s = time.perf_counter()
            writer.write(f"{request}Content-Type: application/json\r\n\r\n{{}}".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert " 20" in head.partition("\r\n")[0], head
            length = int(head.split("content-length: ")[1].split("\r\n")[0])
            await reader.readexactly(length)
            took.append(time.perf_counter() - began_s)
            if "connection: close" in head:  # Flask's own server
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    await asyncio.gather(*(write() for _ in range(writers)))
    return took


def load(port: int, path: str, count: int, *, writers: int, prefix: str) -> dict[str, float]:
    """Start calls from a process of its own; return rate and times."""
    arguments = [str(port), path, str(count), str(writers), prefix]
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def client(port: str, path: str, count: str, writers: str, prefix: str) -> None:
    """Be the process that asks."""
    names = [f"{prefix}-{n}" for n in range(int(count))]
    began_s = time.perf_counter()
    took = sorted(asyncio.run(post(int(port), path, names, int(writers))))
    print(
        json.dumps(
            {
                "rate": len(took) / (time.perf_counter() - began_s),
                "p50": statistics.median(took) * 1000,
                "p99": took[int(len(took) * 0.99)] * 1000,
            }
        )
    )


def get(port: int, path: str) -> dict[str, object]:
    """Ask for JSON."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        found: dict[str, object] = json.loads(answer.read())
    return found


if __name__ == "__main__":
    client(*sys.argv[1:])
