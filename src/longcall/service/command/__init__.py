"""Any command line as a handler: arguments go into its argv, lines come out, its exit is the outcome."""

from longcall.service.command.handler import CommandHandler
from longcall.service.command.run import run_command
from longcall.service.command.spec import EX_TEMPFAIL, CommandSpec, ResultFrom

__all__ = ["EX_TEMPFAIL", "CommandHandler", "CommandSpec", "ResultFrom", "run_command"]
