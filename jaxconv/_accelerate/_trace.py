"""The public function."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TypeVar, cast
from weakref import WeakSet

import jax

from ._rewriting import accelerating

F = TypeVar("F", bound=Callable)

_accelerated: WeakSet[Callable] = WeakSet()


def accelerate(fun: F) -> F:
    """The same function, with the convolutions and pools of `jax.lax` in it run by this library.

        step = jax.jit(jaxconv.accelerate(train_step))

    `fun` may be any function that JAX can trace: a loss, a training step, `model.apply`. Modules of
    Flax, Haiku, Equinox and Keras call `jax.lax`, so a model needs no edit.

    While `fun` runs, each `conv_general_dilated`, each `reduce_window` that is a pool, and what
    `jax.grad` made of these, is replaced. So are those inside `jit`, `scan`, `while_loop`, `cond`,
    `checkpoint`, `shard_map`, and the rules of `custom_jvp` and `custom_vjp`. What can't be
    replaced stays as it is. `jaxconv.explain` lists each with its shapes, and says what runs in its
    place, or why it stays:

        print(jaxconv.explain(jaxconv.accelerate(train_step), params, batch))

    Results differ from those of `fun` by rounding. The gradient of a max pool differs besides where
    a window holds a NaN or nothing but -inf. Everything else is the same: structure, shapes, dtypes
    and weak types, side effects and their order, names, shardings, donation, and what Python does.
    A program without convolutions is traced to the same program as before.

    Differentiate before or after. `jax.grad(accelerate(loss))` uses the derivatives of this
    library, and `accelerate(jax.grad(loss))` replaces the convolutions that lax's derivatives
    consist of. Other transformations may be inside or outside, too. An accelerated function that is
    accelerated again is the same function.

    Limits:

    - Everything happens while JAX traces. `jax.jit` around the function makes it happen once for
      each shape of the arguments, and then costs nothing.
    - Programs that are compiled or exported stay as they are, and so do kernels of Pallas. Shapes
      with symbols of `jax.export` are left to lax. On TPUs so are max pools, and convolutions that
      no kernel of this library runs.
    - A policy of `jax.checkpoint` that saves convolutions also saves what replaces them. It is
      asked with the parameters of the replacement.
    - Generators and coroutines are refused, because they compute after they have returned.

    Args:
      fun: A function that JAX can trace: a loss, a training step, `model.apply`, a module.

    Returns:
      A function with the arguments, results and name of `fun`.

    Raises:
      TypeError: `fun` is not callable, or is a generator or a coroutine.

    >>> import jax.numpy as jnp
    >>> from jax import lax
    >>> def loss(kernel, x):
    ...     y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME",
    ...                                  dimension_numbers=("NHWC", "HWIO", "NHWC"))
    ...     return jnp.sum(y**2)
    >>> kernel, x = jnp.ones((3, 3, 1, 4)), jnp.ones((2, 8, 8, 1))
    >>> step = jax.jit(jax.grad(accelerate(loss)))
    >>> bool(jnp.allclose(step(kernel, x), jax.grad(loss)(kernel, x)))
    True
    """
    jax.jit(fun)  # It refuses what is not a function, in JAX's words.
    if inspect.iscoroutinefunction(fun) or inspect.isasyncgenfunction(fun):
        raise TypeError(f"Expected a function, got a coroutine: {fun}")
    # Only functions are there, and not every callable object can be looked up.
    is_accelerated = inspect.isfunction(fun) and fun in _accelerated
    if is_accelerated:
        return cast(F, fun)

    def accelerated(*args, **kwargs):
        with accelerating():
            return fun(*args, **kwargs)

    # A module's attributes are the module's.
    updated = ("__dict__",) if inspect.isroutine(fun) else ()
    result = wraps(fun, updated=updated)(accelerated)
    _accelerated.add(result)
    return cast(F, result)
