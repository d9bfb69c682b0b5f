"""Functions that act on each element alone, with a derivative that their author states."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from ._arguments import check_function, check_lowerings, default_name, remember
from ._contraction import is_nonzero, zero_tangent
from ._multilinear import verified
from ._operation import Map, Operation
from ._rules import in_every_member


def elementwise(
    f: Map,
    derivative: Map | Sequence[Map | None],
    *,
    uses_result: bool = False,
    name: str | None = None,
    lowerings: Mapping[str, Map] | None = None,
    verify: Sequence[Any] | None = None,
) -> "Elementwise":
    """Make an element-wise function with a stated derivative into an operation.

        y = f(x_1, ..., x_n),      y_dot = Σ_i f_i(x_1, ..., x_n) x_i_dot                      (1)

    (1) multiplies tangents by numbers, so its transpose multiplies cotangents by the same numbers.
    Higher derivatives are those of the functions f_i, which may be such operations themselves or
    plain functions, which JAX differentiates.

    Args:
      f: `f(*xs, **params)`, of arrays of one shape. Keyword parameters are static.
      derivative: f_1 for a function of one operand; else a sequence with f_i for each operand, or
        None for an operand that has no derivative.
      uses_result: Call `derivative(y, *xs, **params)`, as suits tanh, whose slope is 1 - y².
      name: Name of the operation; None takes that of `f`.
      lowerings: `{platform: map}`: the map to compile on that platform ("cpu", "cuda", "rocm",
        "tpu") in place of `f`.
      verify: Operands for which `check` is called at once.

    Returns:
      The operation. Its operands are broadcast to one shape.

    Raises:
      ValueError: The check fails, or a platform is unknown.
      TypeError: `f` or a derivative is not a function; when it is called, an operand is a pytree;
        when it is differentiated, with respect to an operand that has no derivative.

    Source: (1) is the chain rule.

    >>> import jax, jax.numpy as jnp
    >>> sine = elementwise(jnp.sin, jnp.cos)
    >>> float(jax.grad(jax.grad(sine))(0.5)) == float(-jnp.sin(0.5))
    True
    >>> tanh = elementwise(jnp.tanh, lambda y, x: (1 - y) * (1 + y), uses_result=True)
    >>> jax.vmap(jax.grad(tanh))(jnp.zeros(2))
    Array([1., 1.], dtype=float32)
    """
    check_function("elementwise: f", f)
    check_lowerings("elementwise", lowerings or {})
    slopes = (derivative,) if callable(derivative) else derivative
    if not isinstance(slopes, tuple | list):
        raise TypeError(
            "elementwise: derivative must be a function, or a sequence of one for each operand, "
            f"got {type(derivative).__name__}."
        )
    for i, slope in enumerate(slopes):
        if slope is not None:
            check_function(f"elementwise: derivative {i}", slope)
    made = Elementwise(name or default_name(f), f, tuple(slopes), uses_result, lowerings or {})
    options = {"uses_result": uses_result or None, "name": name, "lowerings": lowerings}
    remember(elementwise, (f, derivative), options, (made,))
    verified(made, verify)
    return made


class Elementwise(Operation):
    """An operation that acts on each element alone; made by `elementwise`."""

    def __init__(
        self,
        name: str,
        f: Map,
        slopes: tuple[Map | None, ...],
        uses_result: bool,
        lowerings: Mapping[str, Map],
    ):
        super().__init__(name, f, lowerings, linear=len(slopes))
        self.slopes, self.uses_result = slopes, uses_result
        self.define(jvp=self._jvp, batch=self._batch)

    @property
    def differentiable(self) -> Sequence[int]:
        """The positions of the operands that have a derivative."""
        return [i for i, slope in enumerate(self.slopes) if slope is not None]

    def __call__(self, /, *operands: Any, **params: Any) -> Any:
        if len(operands) != len(self.slopes):
            raise TypeError(
                f"{self.name}: it takes {len(self.slopes)} operands, one for each derivative, got "
                f"{len(operands)}."
            )
        if len(jax.tree.leaves(operands)) != len(operands):
            raise TypeError(f"{self.name}: an operand must be one array, not a pytree.")
        if len({jnp.shape(x) for x in operands}) > 1:
            shape = jnp.broadcast_shapes(*map(jnp.shape, operands))
            operands = tuple(jnp.broadcast_to(x, shape) for x in operands)
        return super().__call__(*operands, **params)

    def _jvp(self, primals, tangents, call, params):
        """(1)."""
        (y,), _ = self.bind(primals, call, params)
        y_dot = None
        for i, (slope, x_dot) in enumerate(zip(self.slopes, tangents, strict=True)):
            if not is_nonzero(x_dot):
                continue
            if slope is None:
                raise TypeError(
                    f"{self.name}: operand {i} has no derivative; see jax.lax.stop_gradient."
                )
            factor = slope(*([y] if self.uses_result else []), *primals, **params)
            term = (factor * x_dot).astype(y.dtype)
            if term.shape != y.shape:
                raise TypeError(
                    f"{self.name}: derivative {i} must return an array of shape {y.shape}, got "
                    f"{jnp.shape(factor)}."
                )
            y_dot = term if y_dot is None else ad.add_jaxvals(y_dot, term)
        return [y], [zero_tangent(y) if y_dot is None else y_dot]

    def _batch(self, operands, batched, call, params):
        return self.bind(in_every_member(operands, batched), call, params)[0]
