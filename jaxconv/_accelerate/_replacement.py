"""What runs in place of a primitive of JAX, and the rules that say so.

A rule belongs to one primitive. It is asked once for each of its equations, with the abstract
values of the operands and the parameters, and answers with a `Replacement` or with the reason why
the primitive stays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from jax.extend.core import Primitive


@dataclass(frozen=True)
class Replacement:
    """What runs in place of a primitive.

    Attributes:
      run: From the primitive's operands to its results, of the same shapes and dtypes.
      description: What runs, such as `"jaxconv.conv_kernel_vjp"`.
    """

    run: Callable[..., Sequence[Any]]
    description: str


@dataclass(frozen=True)
class Kept:
    """The reason why a primitive stays as it is."""

    reason: str


Rule: TypeAlias = Callable[[Sequence[Any], Mapping[str, Any]], Replacement | Kept]

RULES: dict["Primitive", Rule] = {}


def rule(primitive: "Primitive") -> Callable[[Rule], Rule]:
    """Register a function as the rule of a primitive."""

    def register(function: Rule) -> Rule:
        RULES[primitive] = function
        return function

    return register


def replacement_of(
    primitive: "Primitive", avals: Sequence[Any], params: Mapping[str, Any]
) -> Replacement | Kept:
    """What the rule of a primitive says about one equation of it."""
    return RULES[primitive](avals, params)
