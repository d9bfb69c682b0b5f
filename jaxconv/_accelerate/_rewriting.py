"""Programs with replacements in them, and the trace under which a function meets replacements.

A function runs under an `AcceleratingTrace`. JAX hands every primitive of the function to it, and
the values stay those of the trace around it, the parent: nothing is wrapped. The trace answers with
a replacement under the parent, or hands the primitive on to the parent as it is.

Loops, conditions and calls hold programs that JAX has traced before the trace sees them. Such a
program is rewritten: an equation that has a replacement gives way to the equations of the
replacement, and all others stay the objects that they are. Inputs, results, constants, effects and
their order are those of the old program, so that whatever counts or names these stays true.

A custom derivative rule is a function that JAX calls later. It is called under a trace of its own,
or the program that it makes is rewritten.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any
from weakref import WeakKeyDictionary

import jax

from ..ops._explain import ExplainedPrimitive, note
from ..ops._form import SLOT_OF
from . import _jax
from ._choice import Choice, choose
from ._pools import with_dilation
from ._replacement import RULES

# Names of the operations around a primitive.
Path = tuple[str, ...]


class AcceleratingTrace(_jax.Trace):
    """A trace that replaces primitives and otherwise is its parent."""

    parent_trace: Any  # a trace; JAX adds methods to the class where it is imported

    def __init__(self, parent: _jax.Trace, path: Path):
        super().__init__()
        self.parent_trace = parent
        self.path = path
        # The last primitive, if it dilated an array: its result, operand and parameters.
        self.dilated: tuple[Any, Any, Any] | None = None
        self.computes_at_once = _jax.computes_at_once(parent)
        self.requires_low = parent.requires_low
        # Libraries compare traces to see whether a variable was made in another transformation.
        # This one is none.
        self._weakref = parent._weakref

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parent_trace, name)

    def stage_value(self, val: Any) -> Any:
        return self.parent_trace.stage_value(val)

    def process_primitive(self, primitive: Any, args: Any, params: Any, /) -> Any:
        dilated, self.dilated = self.dilated, None
        if primitive in RULES:
            choice = None
            if dilated is not None and args[0] is dilated[0]:
                _, operand, pad = dilated
                choice = _choice_with_dilation(primitive, jax.typeof(operand), pad, params)
                args = args if choice is None else (operand,)
            if choice is None:
                choice = choose(primitive, [jax.typeof(arg) for arg in args], params)
            note([choice.met], self.path)
            if choice.run is not None:
                with _jax.set_current_trace(self.parent_trace), self._paused():
                    results = choice.run(*args)
                return results if primitive.multiple_results else results[0]
        elif _jax.stages_program(primitive):
            params, met = rewritten_params(primitive, params)
            note(met, self.path)
        with self._paused():
            result = self.parent_trace.process_primitive(primitive, args, params)
        if _dilates(primitive, args, params):
            self.dilated = result, args[0], params
        return result

    def process_custom_jvp_call(self, primitive, fun, jvp, tracers, /, **params):
        functions = self._accelerated(primitive, fun, jvp)
        with self._paused():
            return self.parent_trace.process_custom_jvp_call(
                primitive, *functions, tracers, **params
            )

    def process_custom_vjp_call(self, primitive, fun, fwd, bwd, tracers, /, **params):
        functions = self._accelerated(primitive, fun, fwd, bwd)
        with self._paused():
            return self.parent_trace.process_custom_vjp_call(
                primitive, *functions, tracers, **params
            )

    def process_shard_map(self, primitive, fun, args, /, *rest, **params):
        functions = self._accelerated(primitive, fun)
        with self._paused():
            return self.parent_trace.process_shard_map(primitive, *functions, args, *rest, **params)

    def process_call(self, primitive, fun, tracers, params, /):  # JAX 0.10
        functions = self._accelerated(primitive, fun)
        with self._paused():
            return self.parent_trace.process_call(primitive, *functions, tracers, params)

    def _paused(self) -> Any:
        """The context in which the parent computes."""
        return _jax.computing_at_once(False) if self.computes_at_once else nullcontext()

    def _accelerated(self, primitive: Any, *functions: _jax.Function) -> list[_jax.Function]:
        return [under_trace(function, (*self.path, primitive.name)) for function in functions]


def _dilates(primitive: Any, operands: Any, params: Any) -> bool:
    """Whether a primitive puts zeros between the elements of its first operand."""
    return (
        primitive is jax.lax.pad_p
        and any(inner for *_, inner in params["padding_config"])
        and _jax.is_zero(operands[1])
    )


def _choice_with_dilation(primitive: Any, aval: Any, pad: Any, params: Any) -> Choice | None:
    """What runs for a primitive and the `pad` that dilates its operand, or None."""
    if primitive is not jax.lax.reduce_window_sum_p:
        return None
    together = with_dilation(pad, params)
    choice = None if together is None else choose(primitive, [aval], together)
    return choice if choice is not None and choice.run is not None else None


@contextmanager
def accelerating(path: Path = ()) -> Iterator[None]:
    """Run what is inside under an `AcceleratingTrace`."""
    with _jax.take_current_trace() as parent:
        if isinstance(parent, AcceleratingTrace):
            trace = parent
        else:
            trace = AcceleratingTrace(parent, path)
        with _jax.set_current_trace(trace), _jax.computing_at_once(trace.computes_at_once):
            yield


def under_trace(function: _jax.Function, path: Path) -> _jax.Function:
    """A function that runs under an `AcceleratingTrace`."""
    return _jax.around(function, _call_under_trace, path)


def _call_under_trace(function, path, *args, **kwargs):
    with accelerating(path):
        return function(*args, **kwargs)


@dataclass(frozen=True)
class Rewritten:
    """A program after replacements.

    Attributes:
      program: The new program, or None if nothing was replaced.
      met: Each primitive with a rule, also in the programs inside.
    """

    program: _jax.Program
    met: tuple[ExplainedPrimitive, ...]


# By identity, as long as the old program lives: a second call returns the same object, which `jit`
# then finds in its caches.
_rewritten: WeakKeyDictionary[_jax.Program, Rewritten] = WeakKeyDictionary()


def rewritten(program: _jax.Program) -> Rewritten:
    """A program with replacements for its primitives."""
    result = _rewritten.get(program)
    if result is None:
        result = _rewritten.setdefault(program, _rewrite(program))
    return result


def _rewrite(program: _jax.Program) -> Rewritten:
    old = _jax.body(program)
    equations, names, met = [], {}, []
    dilated: dict[Any, Any] = {}
    changed = False
    for equation in old.eqns:
        operands = _jax.renamed(equation.invars, names)
        if operands != equation.invars:
            equation = equation.replace(invars=operands)
        if _dilates(equation.primitive, operands, equation.params):
            dilated[equation.outvars[0]] = equation
        if equation.primitive in RULES:
            pad = None if isinstance(operands[0], _jax.Literal) else dilated.get(operands[0])
            with _jax.in_context_of(equation):
                choice = None
                if pad is not None:
                    operand = pad.invars[0]
                    choice = _choice_with_dilation(
                        equation.primitive, operand.aval, pad.params, equation.params
                    )
                    operands = operands if choice is None else [operand]
                if choice is None:
                    avals = [operand.aval for operand in operands]
                    choice = choose(equation.primitive, avals, equation.params)
            met.append(choice.met)
            if choice.program is not None:
                inner, results = _jax.inlined(choice.program, equation, operands)
                equations += inner
                names.update(zip(equation.outvars, results, strict=True))
                changed = True
                continue
        elif _jax.stages_program(equation.primitive):
            params, inner_met = rewritten_params(equation.primitive, equation.params)
            met += inner_met
            if params is not equation.params:
                equation = equation.replace(params=params)
                changed = True
        equations.append(equation)
    if not changed:
        return Rewritten(None, tuple(met))
    outputs = _jax.renamed(old.outvars, names)
    return Rewritten(_jax.with_body(program, equations, outputs), tuple(met))


def rewritten_params(
    primitive: Any, params: dict[str, Any]
) -> tuple[dict[str, Any], list[ExplainedPrimitive]]:
    """The parameters of a primitive with its programs and functions rewritten.

    Returns:
      The parameters, the same object if nothing changes, and the primitives inside that were met.
    """
    met: list[ExplainedPrimitive] = []
    path = (primitive.name,)

    def new(value):
        if not _jax.is_program(value):
            return value
        result = rewritten(value)
        met.extend(row.inside(path) for row in result.met)
        return value if result.program is None else result.program

    changed: dict[str, Any] = {}
    for name, value in params.items():
        if _jax.is_program(value):
            other = new(value)
            if other is not value:
                changed[name] = other
        elif isinstance(value, tuple | list) and any(map(_jax.is_program, value)):
            # A named tuple stays one.
            leaves, tree = jax.tree.flatten(value, is_leaf=_jax.is_program)
            others = [new(leaf) for leaf in leaves]
            if any(a is not b for a, b in zip(leaves, others, strict=True)):
                changed[name] = jax.tree.unflatten(tree, others)
        elif name in _jax.THUNKS:
            changed[name] = _jax.around(value, _rewritten_later, path)
        elif primitive.name in _jax.FUNCTIONS.get(name, ()):
            changed[name] = under_trace(value, path)
        elif name == _jax.OBJECT:
            changed[name] = _object_under_trace(value)
    if changed and callable(params.get("policy")):  # of `jax.checkpoint`
        changed["policy"] = _Policy(params["policy"])
    return ({**params, **changed} if changed else params), met


def _object_under_trace(operation: Any) -> Any:
    """An operation that is an object, with methods that run under an `AcceleratingTrace`."""
    if isinstance(operation, _UnderTrace):
        return operation
    result = copy(operation)
    result.__class__ = _class_under_trace(type(operation))
    return result


class _UnderTrace:
    """Marks the classes that `_class_under_trace` makes."""


@lru_cache(maxsize=256)
def _class_under_trace(operation: type) -> type:
    def method(name):
        original = getattr(operation, name)
        return lambda self, *args: _call_under_trace(partial(original, self), path, *args)

    path = (operation.__name__,)
    methods = {name: method(name) for name in _jax.own_methods(operation)}
    # The base that says what a method does by default stays the last one.
    return type(operation.__name__, (_UnderTrace, operation), methods)


def _rewritten_later(thunk, path, *args):
    """Call a thunk and rewrite the program that it makes."""
    program, *rest = thunk(*args)
    result = rewritten(program)
    note(result.met, path)
    return (program if result.program is None else result.program, *rest)


@dataclass(frozen=True)
class _Policy:
    """What `jax.checkpoint` saves: a contraction wherever the user's policy saves a convolution."""

    policy: Callable[..., Any]

    def __call__(self, primitive: Any, *avals: Any, **params: Any) -> Any:
        if primitive in SLOT_OF:
            primitive = jax.lax.conv_general_dilated_p
        return self.policy(primitive, *avals, **params)
