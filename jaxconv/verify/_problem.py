"""What is checked: a function of flat floating-point leaves, named, and shielded from bad input."""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DOOR = "check_gradients"


@dataclass(frozen=True)
class Leaf:
    """One array that the function is differentiated by, or that it returns.

    Attributes:
      name: `"x"`, or a path into a pytree, `"params['w']"`.
      argument: Position of the argument that holds it; -1 for results.
      shape, dtype: Of the array.
      start: Where its elements start among those of all leaves.
    """

    name: str
    argument: int
    shape: tuple[int, ...]
    dtype: Any
    start: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def elements(self) -> slice:
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Problem:
    """A function from flat leaves to flat leaves, and the point where its gradient is checked.

    Attributes:
      name: The function's name.
      function: Takes the differentiated leaves, returns the floating leaves of the result.
      leaves: The differentiated leaves, in order.
      outputs: The floating leaves of the result.
      point: Values of the leaves, in their dtypes.
    """

    name: str
    function: Callable[..., tuple]
    leaves: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    point: tuple[Any, ...]

    @property
    def size(self) -> int:
        return sum(leaf.size for leaf in self.leaves)

    @property
    def output_size(self) -> int:
        return sum(leaf.size for leaf in self.outputs)


def split(leaves: Sequence[Leaf], flat: Any) -> list:
    """The leaves' arrays from one long vector; NumPy stays NumPy, JAX stays JAX."""
    return [flat[leaf.elements].reshape(leaf.shape) for leaf in leaves]


def typed(leaves: Sequence[Leaf], flat: np.ndarray) -> tuple:
    """The leaves' arrays in their own dtypes, on the device."""
    return tuple(
        jnp.asarray(array, leaf.dtype)
        for leaf, array in zip(leaves, split(leaves, flat), strict=True)
    )


def join(arrays: Sequence[Any]) -> np.ndarray:
    """One long float64 vector from arrays of any floating dtype."""
    return np.concatenate(
        [np.zeros(0)] + [np.asarray(a).astype(np.float64).ravel() for a in arrays]
    )


def problem_of(f: Any, args: Any, argnums: Any, door: str = DOOR) -> Problem:
    """Check what a user passed, and flatten it.

    Raises:
      TypeError: `f` is not a function, `args` no tuple, an argument is not floating point, or the
        result holds no floating-point numbers.
      ValueError: `f` cannot be called with `args`, raises, cannot be traced, or returns other
        numbers when it is called again.
    """
    if not callable(f):
        raise TypeError(f"{door}: f must be a function, got {f!r} of type {type(f).__name__}.")
    if not isinstance(args, tuple | list):
        raise TypeError(
            f"{door}: args must be the tuple of f's arguments, got {type(args).__name__}; "
            "a single argument is (x,)."
        )
    args, name = tuple(args), name_of(f)
    names = _argument_names(f, args, name, door)
    chosen = _chosen(args, argnums, names, door)
    paths, leaves, point, rest = _leaves(args, names, chosen, door)
    treedef = jax.tree.structure(args)

    def all_args(values):
        flat = list(rest)
        for position, value in zip(paths, values, strict=True):
            flat[position] = value
        return jax.tree.unflatten(treedef, flat)

    result = _call(f, args, name, door)
    outputs, places = _outputs(result, name, door)

    def function(*values):
        flat = jax.tree.leaves(f(*all_args(values)))
        return tuple(flat[place] for place in places)

    again = function(*point)
    first = [jax.tree.leaves(result)[place] for place in places]
    if not all(_same(a, b) for a, b in zip(first, again, strict=True)):
        raise ValueError(
            f"{door}: {name} is not deterministic: two calls with the same arguments returned "
            "different numbers; pass its random key as an argument."
        )
    return Problem(name, function, tuple(leaves), tuple(outputs), tuple(point))


def name_of(f: Any) -> str:
    """What to call a function in a report."""
    while hasattr(f, "func"):  # functools.partial
        f = f.func
    return getattr(f, "__name__", type(f).__name__)


def _argument_names(f, args, name, door):
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # builtins have none
        return [f"args[{i}]" for i in range(len(args))]
    try:
        bound = signature.bind(*args)
    except TypeError as error:
        raise ValueError(
            f"{door}: {name}{signature} can't be called with {len(args)} "
            f"argument{'s' * (len(args) != 1)}: {error}."
        ) from error
    names = []
    for parameter, value in bound.arguments.items():
        if signature.parameters[parameter].kind is inspect.Parameter.VAR_POSITIONAL:
            names += [f"{parameter}[{i}]" for i in range(len(value))]
        else:
            names.append(parameter)
    return names


def _chosen(args, argnums, names, door):
    """Positions of the arguments to differentiate by; those that were asked for, else floating."""
    if argnums is not None:
        asked = (argnums,) if isinstance(argnums, int) else tuple(argnums)
        for i in asked:
            if not isinstance(i, int) or not -len(args) <= i < len(args):
                raise ValueError(
                    f"{door}: argnums must be positions of the {len(args)} arguments, "
                    f"got {argnums}."
                )
        chosen = sorted({i % len(args) for i in asked})
        for i in chosen:
            if not any(_differentiable(leaf) for leaf in jax.tree.leaves(args[i])):
                raise TypeError(
                    f"{door}: argument {i} ({names[i]}) holds no floating-point numbers to "
                    f"differentiate by, got {_kind(args[i])}."
                )
        return chosen
    chosen = [
        i for i, a in enumerate(args) if any(_differentiable(leaf) for leaf in jax.tree.leaves(a))
    ]
    if not chosen:
        raise TypeError(
            f"{door}: none of the arguments holds floating-point numbers to differentiate by, got "
            f"{', '.join(_kind(a) for a in args) or 'no arguments'}."
        )
    return chosen


def _differentiable(value):
    try:
        dtype = jax.dtypes.result_type(value)
    except (TypeError, ValueError):
        return False
    return jnp.issubdtype(dtype, jnp.floating)


def _kind(value):
    if hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    return type(value).__name__


def _leaves(args, names, chosen, door):
    """Positions, descriptions and values of the differentiated leaves; and all leaves."""
    paths, leaves, point, rest, start = [], [], [], [], 0
    for position, (path, value) in enumerate(jax.tree_util.tree_flatten_with_path(args)[0]):
        argument = path[0].idx
        rest.append(value)
        if argument not in chosen:
            continue
        dtype = getattr(value, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(
                f"{door}: argument {argument} ({names[argument]}) is complex, and gradients are "
                "checked for real numbers; pass real and imaginary part as two arguments."
            )
        if _differentiable(value):
            array = jnp.asarray(value)
            name = names[argument] + jax.tree_util.keystr(path[1:])
            leaf = Leaf(name, argument, array.shape, array.dtype, start)
            if not bool(jnp.isfinite(array).all()):
                raise ValueError(f"{door}: {name} must be finite, got NaN or inf in it.")
            rest[-1] = array
            paths.append(position)
            leaves.append(leaf)
            point.append(array)
            start += leaf.size
    return paths, leaves, point, rest


def _call(f, args, name, door):
    try:
        return f(*args)
    except Exception as error:
        raise ValueError(
            f"{door}: {name} raises when it is called with these arguments: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error


def _outputs(result, name, door):
    if result is None:
        raise TypeError(f"{door}: {name} returns None, there is no result to differentiate.")
    outputs, places, start = [], [], 0
    for place, (path, value) in enumerate(jax.tree_util.tree_flatten_with_path(result)[0]):
        dtype = getattr(value, "dtype", None)
        if dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating):
            raise TypeError(
                f"{door}: {name} returns complex numbers, and gradients are checked for real ones; "
                "return real and imaginary part instead."
            )
        if _differentiable(value):
            shape = tuple(np.shape(value))
            dtype = dtype if dtype is not None else jnp.asarray(value).dtype
            outputs.append(Leaf("y" + jax.tree_util.keystr(path), -1, shape, dtype, start))
            places.append(place)
            start += outputs[-1].size
    if not outputs:
        raise TypeError(
            f"{door}: {name} must return floating-point numbers to be differentiable, got "
            f"{', '.join(_kind(v) for v in jax.tree.leaves(result)) or type(result).__name__}."
        )
    return outputs, places


def _same(a, b):
    return np.array_equal(np.asarray(a).astype(float), np.asarray(b).astype(float), equal_nan=True)


def first_line(error: BaseException) -> str:
    """The first sentence of an error, for a line of a report."""
    text = " ".join(str(error).split("\n\n")[0].split())
    return text if len(text) <= 300 else text[:297] + "..."
