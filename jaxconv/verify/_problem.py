"""The problem of a check: a function of flat leaves, with names, and protected from bad input.

`problem_of` refuses what can't be checked, before anything else runs. A complex array becomes two
leaves, its real and its imaginary part. So everything after it sees real arrays only.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CALLER = "check_gradients"


@dataclass(frozen=True)
class Leaf:
    """One real array that the function is differentiated with respect to, or that it returns.

    Attributes:
      name: `"x"`, or a path into a pytree, `"params['w']"`; `"z.real"` or `"z.imag"` for the parts
        of a complex array.
      argument: The position of the argument that holds it; -1 for results.
      shape: The shape of the array.
      dtype: The dtype of the array.
      start: The position of its first element in the flat vector of all leaves.
      part: `"real"` or `"imag"` if it is that part of a complex array, else empty. The real part is
        followed by the imaginary one.
    """

    name: str
    argument: int
    shape: tuple[int, ...]
    dtype: Any
    start: int
    part: str = ""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def elements(self) -> slice:
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Problem:
    """A function from leaves to leaves, and the point at which its gradient is checked.

    Attributes:
      name: The name of the function.
      function: The function of the differentiated leaves; returns the leaves of the result.
      leaves: The differentiated leaves in order.
      outputs: The leaves of the result that hold floating-point or complex values.
      point: The values of the leaves, in their dtypes.
      values: The results at the point, flat.
    """

    name: str
    function: Callable[..., tuple]
    leaves: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    point: tuple[Any, ...]
    values: np.ndarray

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in self.leaves)

    @property
    def output_size(self) -> int:
        return sum(leaf.size for leaf in self.outputs)


def split(leaves: Sequence[Leaf], flat: Any) -> list:
    """The arrays of the leaves from one flat vector. NumPy stays NumPy and JAX stays JAX."""
    return [flat[leaf.elements].reshape(leaf.shape) for leaf in leaves]


def typed(leaves: Sequence[Leaf], flat: np.ndarray) -> tuple:
    """The arrays of the leaves from one flat vector, as JAX arrays in their own dtypes."""
    return tuple(
        jnp.asarray(array, leaf.dtype)
        for leaf, array in zip(leaves, split(leaves, flat), strict=True)
    )


def join(arrays: Sequence[Any]) -> np.ndarray:
    """One flat float64 vector from arrays of any floating-point dtype."""
    return np.concatenate(
        [np.zeros(0)] + [np.asarray(a).astype(np.float64).ravel() for a in arrays]
    )


def problem_of(f: Any, args: Any, argnums: Any, caller: str = CALLER) -> Problem:
    """Check the function and the arguments of a user, and flatten them.

    Raises:
      TypeError: `f` is not a function, `args` is not a tuple, an argument has no derivative, or the
        result holds no floating-point or complex values.
      ValueError: `f` can't be called with `args`, raises, can't be traced, or is not deterministic.
    """
    if not callable(f):
        raise TypeError(f"{caller}: f must be a function, got {f!r} of type {type(f).__name__}.")
    if not isinstance(args, tuple | list):
        raise TypeError(
            f"{caller}: args must be the tuple of the arguments of f, got {type(args).__name__}; "
            "write (x,) for a single argument."
        )
    args, name = tuple(args), name_of(f)
    names = _argument_names(f, args, name, caller)
    chosen = _chosen(args, argnums, names, caller)
    paths, leaves, point, rest = _leaves(args, names, chosen, caller)
    treedef = jax.tree.structure(args)

    def all_args(values):
        flat, parts = list(rest), iter(values)
        for position, part_count in paths:
            own = [next(parts) for _ in range(part_count)]
            flat[position] = jax.lax.complex(*own) if part_count == 2 else own[0]
        return jax.tree.unflatten(treedef, flat)

    # Arrays of NumPy in float64 are float32 unless JAX is told otherwise.
    result = _call(f, all_args(point), name, caller)
    outputs, places = _outputs(result, name, caller)

    def parts_of(result):
        flat = jax.tree.leaves(result)
        return tuple(part for place in places for part in _parts(flat[place]))

    def function(*values):
        return parts_of(f(*all_args(values)))

    first, again = parts_of(result), function(*point)
    if not all(_same(a, b) for a, b in zip(first, again, strict=True)):
        raise ValueError(
            f"{caller}: {name} is not deterministic: two calls with the same arguments returned "
            "different values; pass its random key as an argument."
        )
    return Problem(name, function, tuple(leaves), tuple(outputs), tuple(point), join(first))


def name_of(f: Any) -> str:
    """The name of a function in the report."""
    while hasattr(f, "func"):  # functools.partial
        f = f.func
    return getattr(f, "__name__", type(f).__name__)


def _argument_names(f, args, name, caller):
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # some builtins have no signature
        return [f"args[{i}]" for i in range(len(args))]
    try:
        bound = signature.bind(*args)
    except TypeError as error:
        raise ValueError(
            f"{caller}: {name}{signature} can't be called with {len(args)} "
            f"argument{'s' * (len(args) != 1)}: {error}."
        ) from error
    names = []
    for parameter, value in bound.arguments.items():
        if signature.parameters[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{parameter}[{i}]" for i in range(len(value))]
        else:
            names.append(parameter)
    return names


def _chosen(args, argnums, names, caller):
    """Positions of the arguments to differentiate: `argnums`, else all that have a derivative."""
    if argnums is not None:
        is_sequence = isinstance(argnums, Sequence) and not isinstance(argnums, str)
        asked: tuple[Any, ...] = tuple(argnums) if is_sequence else (argnums,)
        known = (isinstance(i, int) and -len(args) <= i < len(args) for i in asked)
        if not asked or not all(known):
            raise ValueError(
                f"{caller}: argnums must hold positions of the {len(args)} arguments, "
                f"got {argnums!r}."
            )
        chosen = sorted({i % len(args) for i in asked})
        for i in chosen:
            if not any(_differentiable(leaf) for leaf in jax.tree.leaves(args[i])):
                raise TypeError(
                    f"{caller}: argument {i} ({names[i]}) holds no floating-point or "
                    f"complex values to differentiate, got {_kind(args[i])}."
                )
        return chosen
    chosen = [
        i for i, a in enumerate(args) if any(_differentiable(leaf) for leaf in jax.tree.leaves(a))
    ]
    if not chosen:
        raise TypeError(
            f"{caller}: none of the arguments holds floating-point or complex values to "
            f"differentiate, got {', '.join(_kind(a) for a in args) or 'no arguments'}."
        )
    return chosen


def _differentiable(value):
    if isinstance(value, str | type | np.dtype):  # JAX takes it for a dtype, or the name of one
        return False
    try:
        dtype = jax.dtypes.result_type(value)
    except (TypeError, ValueError):
        return False
    return jnp.issubdtype(dtype, jnp.inexact)


def _parts(value):
    """A real array, or the two parts of a complex one."""
    if jnp.issubdtype(jax.dtypes.result_type(value), jnp.complexfloating):
        return [jnp.real(value), jnp.imag(value)]
    return [value]


def _leaves_of(value, name, argument, start):
    """The leaves that an array makes."""
    real, *imag = _parts(value)
    shape, dtype = tuple(np.shape(real)), jax.dtypes.result_type(real)
    if not imag:
        return [Leaf(name, argument, shape, dtype, start)]
    first = Leaf(f"{name}.real", argument, shape, dtype, start, "real")
    return [first, Leaf(f"{name}.imag", argument, shape, dtype, first.elements.stop, "imag")]


def _kind(value):
    if hasattr(value, "dtype") and not isinstance(value, type):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__


def _leaves(args, names, chosen, caller):
    """Where the differentiated leaves are, their descriptions and values; and all leaves.

    For each array with a derivative, its position among all leaves and the number of its parts.
    """
    paths, leaves, point, rest = [], [], [], []
    for position, (path, value) in enumerate(jax.tree_util.tree_flatten_with_path(args)[0]):
        argument = path[0].idx
        rest.append(value)
        if argument not in chosen or not _differentiable(value):
            continue
        rest[-1] = jnp.asarray(value)
        name = names[argument] + jax.tree_util.keystr(path[1:])
        if not np.isfinite(rest[-1]).all():
            raise ValueError(f"{caller}: {name} must be finite, but holds NaN or inf.")
        parts = _parts(rest[-1])
        start = leaves[-1].elements.stop if leaves else 0
        leaves += _leaves_of(rest[-1], name, argument, start)
        point += parts
        paths.append((position, len(parts)))
    return paths, leaves, point, rest


def _call(f, args, name, caller):
    try:
        return f(*args)
    except Exception as error:
        raise ValueError(
            f"{caller}: {name} raises when it is called with these arguments: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _outputs(result, name, caller):
    if result is None:
        raise TypeError(f"{caller}: {name} returns None; there is no result to differentiate.")
    outputs, places = [], []
    for place, (path, value) in enumerate(jax.tree_util.tree_flatten_with_path(result)[0]):
        if _differentiable(value):
            start = outputs[-1].elements.stop if outputs else 0
            outputs += _leaves_of(value, "y" + jax.tree_util.keystr(path), -1, start)
            places.append(place)
    if not outputs:
        raise TypeError(
            f"{caller}: {name} must return floating-point or complex values to be differentiable, "
            f"got {', '.join(_kind(v) for v in jax.tree.leaves(result)) or type(result).__name__}."
        )
    return outputs, places


def _same(a, b):
    return np.array_equal(np.asarray(a).astype(float), np.asarray(b).astype(float), equal_nan=True)


def first_line(error: BaseException) -> str:
    """The first sentence of an error message, shortened to a line of the report."""
    text = " ".join(str(error).split("\n\n")[0].split())
    return text if len(text) <= 300 else text[:297] + "..."
