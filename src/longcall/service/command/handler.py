"""A command as the handler of a service."""

from __future__ import annotations

from longcall.contract import CallRequest, Progress
from longcall.service.call import Call, Result
from longcall.service.command.run import run_command
from longcall.service.command.spec import CommandSpec

__all__ = ["CommandHandler"]


class CommandHandler:
    """Runs a command for each call: `service.handler("/serve")(CommandHandler(spec))`.

    It is asynchronous: `max_running` limits how many run at once.
    """

    def __init__(self, spec: CommandSpec) -> None:
        """Run nothing yet.

        Args:
            spec: what to run.
        """
        self.spec = spec
        self.__name__ = self.__qualname__ = spec.program

    def check_arguments(self, body: bytes, content_type: str) -> None:
        """Return when the body is fit for the command.

        Raises:
            InvalidArguments: it is not.
        """
        self.spec.check(body)

    async def __call__(self, call: Call) -> Result:
        """Run the command; see `run_command`."""

        def on_progress(progress: Progress) -> None:
            call.progress(progress.done, progress.total, unit=progress.unit, message=progress.message)

        def on_log(level: str, text: str) -> bool:
            return call.log(text, level=level)

        request = CallRequest(
            correlation_id=call.id, body=call.body, content_type=call.content_type, deadline=call.deadline
        )
        succeeded = await run_command(
            self.spec,
            request,
            attempt=call.attempt,
            on_progress=on_progress,
            on_log=on_log,
            max_result_bytes=call.max_result_bytes,
        )
        return Result(data=succeeded.data, content_type=succeeded.content_type)
