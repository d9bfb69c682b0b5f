"""The trilinear form, and its three contractions as operations of JAX.

    T(x, k, y) = Σ x[n,i,c] k[r,c,o] y[n,p,o]     over n, c, o and all i, r, p with
                                                   e·i + lo = s·p + d·r                        (T)

    contract(Slot.OUTPUT, x, k) = ∂T/∂y       the convolution
    contract(Slot.INPUT,  k, y) = ∂T/∂x       the gradient of its input
    contract(Slot.KERNEL, x, y) = ∂T/∂k       the gradient of its kernel

The transposes of each contraction are the other two, so this file states no derivative: it names
the three maps, and `multilinear_form` makes them operations that JAX differentiates to any order.
`_convolution.py` derives what the contractions are. `_compile.py` says what each compiles to.
"""

import jax

from .. import algorithms
from .._spec import ConvSpec, Slot, shape_of
from .._typing import Array
from ..forms import multilinear_form
from ._batching import fold_batch
from ._compile import compiled_for, plain_lax
from ._sharding import shard


def _result(slot: Slot, first, second, *, spec: ConvSpec) -> jax.ShapeDtypeStruct:
    """Shape and dtype of the contraction that leaves `slot` empty."""
    shape = shape_of(slot, first.shape, second.shape, spec.geometry)
    return jax.ShapeDtypeStruct(shape, spec.dtypes.of(slot))


_OPERATIONS = dict(
    zip(
        Slot,
        multilinear_form(
            {slot: compiled_for(slot, "any") for slot in Slot},
            name="jaxconv",
            result=_result,
            batch=fold_batch,
            shard=shard,
            lowerings={
                slot: {
                    name: compiled_for(slot, name)
                    for name in ("cpu", "tpu", *algorithms.GPU_PLATFORMS)
                }
                for slot in Slot
            },
        ),
        strict=True,
    )
)

# The slot that a primitive leaves empty.
SLOT_OF = {operation.primitive: slot for slot, operation in _OPERATIONS.items()}


def contract(function: str, slot: Slot, spec: ConvSpec, first: Array, second: Array) -> Array:
    """Contract T with two operands, channels last; `slot` is left empty.

    Args:
      function: Name of the public function, for the error.
      slot: The empty slot.
      spec: The static description of the convolution.
      first: The array of the first of the other two slots, in the order x, k, y.
      second: The array of the second one.

    Returns:
      The array of the empty slot, in its dtype.

    Raises:
      ValueError: `spec.impl` names an algorithm that does not apply.
    """
    if spec.impl == "lax":
        return plain_lax(slot, spec, first, second)
    if spec.impl in algorithms.ALGORITHMS:
        problem = algorithms.problem_of(slot, (first.shape, second.shape), spec)
        why_not = algorithms.why_not(spec.impl, problem)
        if why_not:
            raise ValueError(
                f"{function}: impl={spec.impl!r} does not apply to this call: {why_not}."
            )
    return _OPERATIONS[slot](first, second, spec=spec)
