"""A row of the table."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Row:
    """An option: its definition, a call for each library, and the input."""

    name: str
    definition: Function  # in jax.numpy; choices such as an argmax are fixed to those at x
    x: np.ndarray
    libraries: Mapping[str, Function | None] = field(default_factory=dict)
