"""What the program that is being compiled allows: calls into which XLA can't look.

Such a call runs a library that the compiler brings along, or a kernel that was written by hand. It
must not be in a program that is exported, because what it calls may be missing where the program
runs. Nor in one whose arrays XLA distributes over several devices, because XLA gathers a call's
operands first.

A lowering rule enters `of_program` while it traces an operation's map. The map may then ask
`allows_opaque_calls`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_opaque_calls = ContextVar("opaque_calls", default=True)


def allows_opaque_calls() -> bool:
    """Whether such calls may be in the program that is being compiled."""
    return _opaque_calls.get()


@contextmanager
def of_program(module_context: Any) -> Iterator[None]:
    """The context in which an operation of a program is traced.

    Args:
      module_context: The `module_context` of a lowering rule's context.
    """
    token = _opaque_calls.set(may_hold_opaque_calls(module_context))
    try:
        yield
    finally:
        _opaque_calls.reset(token)


def may_hold_opaque_calls(module_context: Any) -> bool:
    """Whether such calls may be in a program, or the part of it inside a `shard_map`."""
    if module_context.lowering_parameters.for_export:
        return False
    axes = module_context.axis_context
    mesh = getattr(axes, "mesh", None)
    if mesh is None:
        return axes.num_devices == 1
    return mesh.size == 1 or set(axes.manual_axes) == set(mesh.axis_names)
