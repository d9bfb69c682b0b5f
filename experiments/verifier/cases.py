"""What a case is: a function, arguments, and what a verifier should say of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

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
      options: For `check_gradients`.
    """

    name: str
    family: str
    make: Callable[["Draw"], tuple[Callable[..., Any], tuple]]
    dtype: str = "float64"
    diagnosis: str = ""
    options: dict[str, Any] = field(default_factory=dict)


class Draw:
    """Arrays of standard normal numbers, by the names of `SHAPES` or by shape."""

    def __init__(self, seed: int, dtype: str):
        self.rng, self.dtype = np.random.default_rng(seed), dtype

    def __call__(self, *names: Any, scale: float = 1.0) -> Any:
        arrays = tuple(
            jnp.asarray(scale * self.rng.normal(size=SHAPES.get(n, n)), self.dtype) for n in names
        )
        return arrays if len(arrays) > 1 else arrays[0]

    def labels(self, count: int = 4, classes: int = 5) -> Any:
        """True classes."""
        return jnp.asarray(self.rng.integers(0, classes, count))
