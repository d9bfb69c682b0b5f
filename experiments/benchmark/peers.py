"""The contractions of a case with jaxconv and with lax's autodiff, at top level and in a loop."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv
from jaxconv import algorithms

from . import single
from .cases import BLOCKS, Case, Conv, Pool
from .timing import Program

ITERATIONS = 3  # of the loop
MODES = ("entry", "scan")

# The slots of the trilinear form that are computed, by the name that --contractions takes: y is the
# output, x the gradient of the input, k that of the kernel. Several are computed in one program, as
# in a training step.
CONTRACTIONS = {"F": "y", "DX": "x", "DW": "k", "DX+DW": "xk", "F+DX": "yx", "F+DX+DW": "yxk"}


def contractions_of(case: Case) -> tuple[str, ...]:
    """The contractions of a case, by name. A pool has no kernel."""
    return ("F", "DX", "F+DX") if isinstance(case, Pool) else ("F", "DX", "DW", "DX+DW", "F+DX+DW")


class Operands(NamedTuple):
    """The arrays of a case, channels last. A pool has no kernel."""

    x: np.ndarray
    k: np.ndarray | None
    y: np.ndarray


def operands(case: Case, seed: int = 0) -> Operands:
    """Independent standard normal values in float32."""
    rng = np.random.default_rng(seed)

    def draw(shape):
        return rng.standard_normal(shape, np.float32)

    kernel = draw(case.kernel_shape) if isinstance(case, Conv) else None
    return Operands(draw(case.x_shape), kernel, draw(case.y_shape))


# A function of (x, k, y) that computes some of the slots.
Filler = Callable[..., tuple[jax.Array, ...]]


def ours(case: Conv, slots: str, impl: str | None = None) -> Filler:
    """The contractions with jaxconv. `impl` is an algorithm, or None for the selected one."""
    if impl in algorithms.ALGORITHMS:
        return single.filler(impl, case, slots)
    options = conv_options(case) | {"impl": impl}
    fill = {
        "x": lambda x, k, y: jaxconv.conv_input_vjp(y, k, case.x_shape, **options),
        "k": lambda x, k, y: jaxconv.conv_kernel_vjp(x, y, case.kernel_shape, **options),
        "y": lambda x, k, y: jaxconv.conv(x, k, **options),
    }
    return lambda x, k, y: tuple(fill[slot](x, k, y) for slot in slots)


def autodiff(case: Conv, slots: str) -> Filler:
    """lax's convolution, differentiated by JAX. XLA removes what the slots do not need."""
    convolve = partial(lax_conv, case)

    def fill(x, k, y_bar):
        y, pull_back = jax.vjp(convolve, x, k)
        filled = dict(zip("xky", (*pull_back(y_bar), y), strict=True))
        return tuple(filled[slot] for slot in slots)

    return fill


def conv_options(case: Conv) -> dict[str, Any]:
    """The options of `jaxconv.conv` for a case."""
    return {
        "strides": case.strides,
        "padding": case.padding,
        "input_dilation": case.input_dilation,
        "kernel_dilation": case.kernel_dilation,
        "feature_group_count": case.groups,
    }


def lax_conv(case: Conv, x: jax.Array, k: jax.Array) -> jax.Array:
    """The convolution of a case with lax."""
    axes = "".join(map(str, range(len(case.spatial))))
    return lax.conv_general_dilated(
        x,
        k,
        case.strides,
        case.padding,
        case.input_dilation,
        case.kernel_dilation,
        (f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        case.groups,
    )


# ---- pools -----------------------------------------------------------------------------------


def our_pool(case: Pool) -> Callable[[jax.Array], jax.Array]:
    """The pool of a case with jaxconv."""
    if case.kind == "up":
        return partial(jaxconv.upscale, factor=case.window)
    pool = jaxconv.max_pool if case.kind == "max" else jaxconv.avg_pool
    return partial(pool, window_shape=case.window, strides=case.strides, padding=case.padding)


def plain_pool(case: Pool) -> Callable[[jax.Array], jax.Array]:
    """The pool of a case with lax, as Flax defines it."""

    def upscale(x):
        for axis, factor in enumerate(case.window, start=1):
            x = jnp.repeat(x, factor, axis=axis)
        return x

    def pool(x):
        start, combine = (-np.inf, lax.max) if case.kind == "max" else (0.0, lax.add)
        window, strides = (1, *case.window, 1), (1, *case.strides, 1)
        pads = ((0, 0), *case.pads, (0, 0))
        y = lax.reduce_window(x, np.array(start, x.dtype), combine, window, strides, pads)
        return y if case.kind == "max" else y / np.prod(case.window)

    return upscale if case.kind == "up" else pool


def forward(peer: str, case: Case, impl: str | None = None) -> Callable[..., jax.Array]:
    """The forward pass of a case, a function of x, or of x and k."""
    if not isinstance(case, Conv):
        return our_pool(case) if peer == "jaxconv" else plain_pool(case)
    if peer == "autodiff":
        return partial(lax_conv, case)
    return partial(jaxconv.conv, **conv_options(case), impl=impl)


def block(peer: str, case: Conv, impl: str | None = None) -> Callable[..., jax.Array]:
    """A function of x, k and bias: the convolution of one of `BLOCKS`, bias, relu and max pool."""
    window = (BLOCKS[case.name],) * len(case.spatial)
    if peer == "jaxconv":
        return lambda x, k, b: jaxconv.conv_block(
            x, k, b, window_shape=window, strides=case.strides, padding=case.pads, impl=impl
        )
    pool = plain_pool(Pool("", "", case.n, case.output, case.o, window, window, "VALID", "max"))
    return lambda x, k, b: pool(jax.nn.relu(lax_conv(case, x, k) + b))


def shapes(case: Case, dtype: str) -> list[jax.ShapeDtypeStruct]:
    """The shapes and dtypes of the arguments of `forward` and of its result."""
    kernel = [case.kernel_shape] if isinstance(case, Conv) else []
    found = [case.x_shape, *kernel, case.y_shape]
    return [jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for shape in found]


# ---- programs --------------------------------------------------------------------------------


def jax_programs(peer: str, case: Case, given: Operands, dtype: str, impl: str | None = None):
    """A function from a contraction and a mode to the `Program` of "jaxconv" or "autodiff"."""
    x, k, y = (None if array is None else jnp.asarray(array, dtype) for array in given)
    if isinstance(case, Conv):
        fill = partial(ours, impl=impl) if peer == "jaxconv" else autodiff
        return lambda contraction, mode: compiled(
            fill(case, CONTRACTIONS[contraction]), (x, k, y), mode
        )
    pool = our_pool(case) if peer == "jaxconv" else plain_pool(case)

    def program(contraction: str, mode: str) -> Program:
        if contraction == "F":
            return compiled(lambda x: (pool(x),), (x,), mode)
        if contraction == "DX":  # from the residuals of the forward pass, as in a training step
            _, pull_back = jax.jit(partial(jax.vjp, pool))(x)
            return compiled(lambda pull_back, y: pull_back(y), (pull_back, y), mode)
        return compiled(partial(_value_and_vjp, pool), (x, y), mode)

    return program


def _value_and_vjp(f, x, y_bar):
    y, pull_back = jax.vjp(f, x)
    return (y, *pull_back(y_bar))


def compiled(fill: Filler, arguments: tuple[Any, ...], mode: str) -> Program:
    """Compile a function for its arguments, at top level ("entry") or in a loop ("scan")."""
    function = fill if mode == "entry" else in_loop(fill)
    executable = jax.jit(function).lower(*arguments).compile()
    return Program(
        run=lambda: jax.block_until_ready(executable(*arguments)),
        arrays=lambda result: [np.asarray(array, np.float64) for array in result],
        iterations=1 if mode == "entry" else ITERATIONS,
    )


def in_loop(fill: Filler) -> Filler:
    """Repeat a computation a few times in a `lax.scan`, and return the last result.

    An optimisation barrier makes the operands depend on the loop counter, so that the compiler
    cannot move the computation out of the loop.
    """

    def looped(*arguments):
        def step(carry, _):
            tied, index = lax.optimization_barrier((arguments, carry[0]))
            return (index + 1, fill(*tied)), None

        shapes = jax.eval_shape(fill, *arguments)
        start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        (_, result), _ = lax.scan(step, (jnp.int32(0), start), length=ITERATIONS)
        return result

    return looped
