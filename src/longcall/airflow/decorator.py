"""`@task.long_call`: a function that returns the arguments becomes the task that makes the call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from longcall.airflow.arguments import StartRequest
from longcall.airflow.operator import LongCallOperator
from longcall.airflow.version_compat import (
    Context,
    DecoratedOperator,
    TaskDecorator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)
from longcall.contract import ContractError

__all__ = ["long_call_task"]


class DecoratedLongCallOperator(DecoratedOperator, LongCallOperator):
    """A `LongCallOperator` whose `data` a function returns, in the worker and right before the request.

    The function's own arguments are templated and mapped; what it returns is sent as it is. The arguments of
    the operator, `data` aside, are given to the decorator.
    """

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *LongCallOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **LongCallOperator.template_fields_renderers,
    }
    shallow_copy_attrs: Sequence[str] = ("python_callable",)
    custom_operator_name = "@task.long_call"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "data" in kwargs:
            raise ContractError("data", "the decorated function returns it: leave it out")
        if inspect.iscoroutinefunction(python_callable):
            raise ContractError("python_callable", "an ordinary function: the service does what takes long")
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def _start_request(
        self, context: Context, *, timeout: timedelta | None, longcall_conn_id: str | None = None
    ) -> StartRequest:
        """Call the function; a try that starts a second call calls it again."""
        context_merge(context, self.op_kwargs)
        named = determine_kwargs(self.python_callable, self.op_args, context)
        self.data = self.python_callable(*self.op_args, **named)
        return super()._start_request(context, timeout=timeout, longcall_conn_id=longcall_conn_id)


def long_call_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool = False, **kwargs: Any
) -> TaskDecorator:
    """Return what `@task.long_call` does.

    Args:
        python_callable: returns the arguments of the call: JSON, text or bytes; None: the call has none.
        multiple_outputs: push each member of the result as an XCom of its own. The function's annotation says
            nothing of it: it speaks of the arguments.
        kwargs: of `LongCallOperator`, without `data`.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=DecoratedLongCallOperator,
        **kwargs,
    )
