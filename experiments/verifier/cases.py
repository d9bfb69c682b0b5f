"""A case: a function, its arguments, and what a verifier should say about its gradient."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import functions

# One shape per name, so that JAX compiles each primitive once for all cases.
SHAPES = {
    "x": (2, 6, 6, 3),
    "k": (3, 3, 3, 3),
    "gain": (3,),
    "logits": (4, 5),
    "q": (2, 4, 6),
    "vector": (12,),
}

# From the true gradients, the arguments and the cotangent (or tangents) to what a rule returns.
Rule = Callable[[Any, tuple, Any], Any]


@dataclass(frozen=True)
class Case:
    """A gradient to check.

    Attributes:
      name: A few words that describe it.
      family: The kind of operation.
      make: The function from a `Draw` to a new function and its arguments. The function is a new
        one each time, since some functions keep values from their first call.
      dtype: The dtype of the arguments.
      diagnosis: Words that the diagnosis must contain, if a slip explains the gradient.
      modes: The modes of `jaxconv.verify` in which the mistake shows.
      order: 2 if the second derivative is in question, else 1.
      hints: Options of `check_gradients` that describe the function.
    """

    name: str
    family: str
    make: Callable[["Draw"], tuple[Callable[..., Any], tuple]]
    dtype: str = "float64"
    diagnosis: str = ""
    modes: tuple[str, ...] = ("reverse",)
    order: int = 1
    hints: dict[str, Any] = field(default_factory=dict)


def wrong_vjps(
    family: str,
    f: Callable[..., Any],
    names: tuple,
    rules: Mapping[str, Any],
    wrap: Callable[..., Any] = functions.with_vjp,
    modes: tuple[str, ...] = ("reverse",),
    order: int = 1,
) -> list[Case]:
    """A case for each reverse rule of a function of normal arguments.

    Args:
      family: The family of the cases.
      f: The function.
      names: Names from `SHAPES`, or shapes, of its arguments.
      rules: The rules by the names of the cases: a `Rule`, or a tuple of a rule, the words of its
        diagnosis and the dtype of the arguments, of which the last may be left out.
      wrap: Gives `f` a rule: `functions.with_vjp` or `functions.with_jvp`.
      modes: The modes in which the mistake shows.
      order: 2 if the second derivative is in question.
    """

    def case(name, rule, diagnosis="", dtype="float64"):
        def make(draw):
            return wrap(f, rule), draw.tuple(*names)

        return Case(name, family, make, dtype, diagnosis, modes, order, functions.hints(f))

    return [
        case(name, *(found if isinstance(found, tuple) else (found,)))
        for name, found in rules.items()
    ]


def wrong_jvps(family: str, f: Callable[..., Any], names: tuple, rules: Mapping, **options):
    """A case for each forward rule, see `wrong_vjps`."""
    options = {"modes": ("forward",)} | options
    return wrong_vjps(family, f, names, rules, functions.with_jvp, **options)


def first(change: Callable[[Any], Any]) -> Rule:
    """A rule whose first gradient is changed."""
    return lambda true, args, w: (change(true[0]), *true[1:])


def second(change: Callable[[Any], Any]) -> Rule:
    """A rule whose second gradient is changed."""
    return lambda true, args, w: (true[0], change(true[1]), *true[2:])


class Draw:
    """Arrays of standard normal values, by a name from `SHAPES` or by shape."""

    def __init__(self, seed: int, dtype: str):
        self.rng, self.dtype = np.random.default_rng(seed), dtype

    def __call__(self, *names: Any, scale: float = 1.0) -> Any:
        arrays = self.tuple(*names, scale=scale)
        return arrays if len(arrays) > 1 else arrays[0]

    def tuple(self, *names: Any, scale: float = 1.0) -> tuple[Any, ...]:
        """The same, a tuple also for one array."""
        sizes = [SHAPES.get(name, name) for name in names]
        return tuple(jnp.asarray(scale * self.rng.normal(size=s), self.dtype) for s in sizes)

    def labels(self, count: int = 4, classes: int = 5) -> Any:
        """Random classes."""
        return jnp.asarray(self.rng.integers(0, classes, count))
