"""A service of synchronous handlers, each of which is hard on its process in a way of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from longcall.contract import JsonValue
from longcall.service import Call, CallFailed, Result, Service
from longcall.service.call import HandlerResult

service = Service("workers")


def wait_for_file(call: Call) -> None:
    """Wait for the file that the arguments name."""
    while not Path(str(call.arguments)).exists():
        time.sleep(0.02)


@service.handler("/echo")
def echo(call: Call) -> JsonValue:
    logging.getLogger("workers").info("working on %s", call.id)
    return {"arguments": call.arguments, "pid": os.getpid()}


@service.handler("/serve")
def serve(call: Call) -> HandlerResult:
    return Result(data=call.body.upper(), content_type="text/plain")


@service.handler("/spin")
def spin(call: Call) -> JsonValue:
    """Keep a core busy for ever; the progress message is the process id."""
    call.progress(0, message=str(os.getpid()))
    while True:
        pass


@service.handler("/spin-once", on_interrupt="fail")
def spin_once(call: Call) -> JsonValue:
    """Do what must not be done twice."""
    return spin(call)


@service.handler("/stubborn")
def stubborn(call: Call) -> JsonValue:
    """Take no notice of SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return spin(call)


@service.handler("/steps")
def steps(call: Call) -> JsonValue:
    """Report very often."""
    for step in range(100_000):
        call.progress(step, 100_000)
    call.progress(100_000, 100_000, message="all done")
    return None


@service.handler("/says")
def says(call: Call) -> JsonValue:
    """Say something, and work until the file that the arguments name is there."""
    call.log(f"attempt {call.attempt}\nreads \x1b[31mred\x1b[0m", level="warning")
    call.progress(0, message=str(os.getpid()))
    wait_for_file(call)
    call.log("done")
    return "done"


@service.handler("/talks")
def talks(call: Call) -> JsonValue:
    """Say very much."""
    for number in range(1_000_000):
        call.log(f"{number} of very many")
    return None


@service.handler("/waits")
def waits(call: Call) -> JsonValue:
    """Work until the file that the arguments name is there."""
    call.progress(0, message=str(os.getpid()))
    wait_for_file(call)
    return "done"


@service.handler("/tells")
def tells(call: Call) -> JsonValue:
    """Work for ever, and say in the file that the arguments name why it ends."""
    try:
        call.progress(0, message=str(os.getpid()))
        while True:
            time.sleep(0.05)  # a signal that comes right before a pause would not end it
    finally:  # whoever has heard of it may end it before it pauses
        Path(str(call.arguments)).write_text(f"cancelled: {call.cancelled}")


@service.handler("/awaits", isolation="process")
async def awaits(call: Call) -> JsonValue:
    """Wait for ever where the arguments name a file, and say in it how the waiting ended."""
    if call.arguments is None:
        return await asyncio.to_thread(os.getpid)
    try:
        call.progress(0, message=str(os.getpid()))
        await asyncio.Event().wait()
    finally:  # whoever has heard of it may end it before it waits
        Path(str(call.arguments)).write_text(f"cancelled: {call.cancelled}")  # noqa: ASYNC240 # it ends
    return None


@service.handler("/gives-up", isolation="process")
async def gives_up(call: Call) -> JsonValue:
    raise asyncio.CancelledError


@service.handler("/fails")
def fails(call: Call) -> JsonValue:
    raise RuntimeError("the disk of node 7 is full")


@service.handler("/refuses")
def refuses(call: Call) -> JsonValue:
    raise CallFailed("Unknown model", detail="there is no 'gpt-0'", code="model", retryable=False)


@service.handler("/exits")
def exits(call: Call) -> JsonValue:
    sys.exit(7)


@service.handler("/dies")
def dies(call: Call) -> JsonValue:
    os.kill(os.getpid(), signal.SIGKILL)
    return None


@service.handler("/dies-childful")
def dies_childful(call: Call) -> JsonValue:
    """Be killed while a forked process, which holds every descriptor, lives on."""
    if os.fork() == 0:
        signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)
    return None


@service.handler("/reads-input")
def reads_input(call: Call) -> JsonValue:
    return sys.stdin.read()


@service.handler("/leaves-a-thread")
def leaves_a_thread(call: Call) -> JsonValue:
    """Return while a thread that is no daemon goes on for ever."""
    threading.Thread(target=threading.Event().wait).start()
    return "returned"


@service.handler("/large")
def large(call: Call) -> HandlerResult:
    return Result(data=b"\0" * int(str(call.arguments)))
