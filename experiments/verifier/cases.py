"""What a case is: a function, arguments, and what a verifier should say of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

from . import functions

# One shape each, so that JAX compiles each primitive once for all cases.
SHAPES = {
    "x": (2, 6, 6, 3),
    "k": (3, 3, 3, 3),
    "gain": (3,),
    "logits": (4, 5),
    "q": (2, 4, 6),
    "vector": (12,),
}


@dataclass(frozen=True)
class Case:
    """A gradient to check.

    Attributes:
      name: What it is, in a few words.
      family: The kind of operation.
      make: A new function and its arguments, from a random generator; a new one each time, since
        some remember things.
      dtype: Of the arguments; float64 where nothing is said.
      diagnosis: Words of the diagnosis that explains it, if a known slip does.
      modes: The modes of ours in which the error shows.
      order: 2 where the first derivative is right and the second is in question, 1 elsewhere.
      hints: Options of `check_gradients` that say more of the function than its values do.
    """

    name: str
    family: str
    make: Callable[["Draw"], tuple[Callable[..., Any], tuple]]
    dtype: str = "float64"
    diagnosis: str = ""
    modes: tuple[str, ...] = ("reverse",)
    order: int = 1
    hints: dict[str, Any] = field(default_factory=dict)


def with_rule(wrap, modes, order, family, f, names, name, rule, diagnosis="", dtype="float64"):
    """A case of a function with a rule of its own, over normal arguments.

    Args:
      wrap: `functions.with_vjp` or `with_jvp`, which give `f` the rule.
      modes, order, family, name, diagnosis, dtype: Of the case.
      f: The function.
      names: Of its arguments, see `SHAPES`.
      rule: What `wrap` takes.
    """

    def make(draw):
        drawn = draw(*names)
        return wrap(f, rule), drawn if isinstance(drawn, tuple) else (drawn,)

    return Case(name, family, make, dtype, diagnosis, modes, order, functions.hints(f))


def with_vjp(*what: Any, modes: tuple[str, ...] = ("reverse",), order: int = 1) -> Case:
    """A case with a reverse rule of its own: `with_vjp(family, f, names, name, rule, ...)`."""
    return with_rule(functions.with_vjp, modes, order, *what)


def with_jvp(*what: Any, modes: tuple[str, ...] = ("forward",), order: int = 1) -> Case:
    """A case with a forward rule of its own, as `with_vjp`."""
    return with_rule(functions.with_jvp, modes, order, *what)


class Draw:
    """Arrays of standard normal numbers, by the names of `SHAPES` or by shape."""

    def __init__(self, seed: int, dtype: str):
        self.rng, self.dtype = np.random.default_rng(seed), dtype

    def __call__(self, *names: Any, scale: float = 1.0) -> Any:
        arrays: tuple[Any, ...] = tuple(
            jnp.asarray(scale * self.rng.normal(size=SHAPES.get(n, n)), self.dtype) for n in names
        )
        return arrays if len(arrays) > 1 else arrays[0]

    def labels(self, count: int = 4, classes: int = 5) -> Any:
        """True classes."""
        return jnp.asarray(self.rng.integers(0, classes, count))
