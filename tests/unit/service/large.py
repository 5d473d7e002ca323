"""Handlers with large results, where a child process can import them."""

from __future__ import annotations

import sys

from longcall.contract import DataReference
from longcall.service import Call, Result, Service
from longcall.service.call import HandlerResult
from longcall.service.command import CommandHandler, CommandSpec

service = Service("large")
ELSEWHERE = DataReference.of(b"PNG", url="gs://elsewhere/plot.png")
WRITES = "import os; open(os.environ['LONGCALL_RESULT'], 'wb').write(b'x' * 12_000_000)"

service.handler("/command")(CommandHandler(CommandSpec(argv=(sys.executable, "-c", WRITES))))


@service.handler("/async")
async def answer(call: Call) -> HandlerResult:
    return Result(data=b"x" * int(call.body), content_type="text/plain")


@service.handler("/process")
def answer_from_a_process(call: Call) -> HandlerResult:
    return Result(data=b"x" * int(call.body), content_type="text/plain")


@service.handler("/elsewhere")
async def put_elsewhere(call: Call) -> HandlerResult:
    return Result(reference=ELSEWHERE, content_type="image/png")


@service.handler("/elsewhere-process")
def put_elsewhere_from_a_process(call: Call) -> HandlerResult:
    return Result(reference=ELSEWHERE, content_type="image/png")


@service.handler("/nowhere")
async def put_nowhere(call: Call) -> HandlerResult:
    return Result(reference=DataReference(url="plot.png"))


@service.handler("/both")
async def put_in_two_places(call: Call) -> HandlerResult:
    return Result(data=b"PNG", reference=ELSEWHERE)
