"""What a row of the table is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Row:
    """One option: what it is, what each library has for it, and the input that it is tried on."""

    name: str
    definition: Function  # in plain jax.numpy; choices such as an argmax fixed, as they are at x
    x: np.ndarray
    libraries: Mapping[str, Function | None] = field(default_factory=dict)
