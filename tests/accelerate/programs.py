"""Programs in which each convolution or pool is in another construct of JAX.

Each is a function of a kernel and images that returns an array of the images' shape.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import linear_call
from jax.sharding import AxisType, PartitionSpec

NUMBERS = ("NHWC", "HWIO", "NHWC")
IMAGES, KERNEL = (2, 4, 4, 2), (3, 3, 2, 2)


def conv(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NUMBERS)


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "SAME")


def bare(kernel, x):
    return conv(x, kernel)


def pool(kernel, x):
    return max_pool(conv(x, kernel))


def jitted(kernel, x):
    return jax.jit(conv)(jax.jit(jnp.sin)(x), kernel)


def scanned(kernel, x):
    return lax.scan(lambda x, _: (jnp.tanh(conv(x, kernel)), None), x, length=2)[0]


def scanned_over_kernels(kernel, x):
    kernels = jnp.stack([kernel, 2 * kernel])
    return lax.scan(lambda x, k: (conv(x, k), jnp.sum(x)), x, kernels)[0]


def mapped(kernel, x):
    return lax.map(lambda x: conv(x[None], kernel)[0], x)


def looped(kernel, x):
    return lax.fori_loop(0, 2, lambda i, x: conv(x, kernel) / (i + 1), x)


def conditional(kernel, x):
    return lax.cond(jnp.sum(x) > 0, lambda x: conv(x, kernel), lambda x: conv(2 * x, kernel), x)


def switched(kernel, x):
    branches = [jnp.sin, lambda x: conv(x, kernel), lambda x: x]
    return lax.switch(jnp.int32(1), branches, x)


def rematerialized(kernel, x):
    policy = jax.checkpoint_policies.dots_saveable
    return jax.checkpoint(lambda x: jnp.sin(conv(jnp.sin(x), kernel)), policy=policy)(x)


@jax.custom_jvp
def with_jvp(x, kernel):
    return conv(x, kernel)


@with_jvp.defjvp
def _with_jvp(primals, tangents):
    (x, kernel), (x_dot, kernel_dot) = primals, tangents
    return with_jvp(x, kernel), conv(x_dot, kernel) + conv(x, kernel_dot)


def custom_jvp(kernel, x):
    return jnp.sin(with_jvp(x, kernel))


def of_symbolic_zeros(kernel, x):
    @jax.custom_jvp
    def f(x, kernel):
        return conv(x, kernel)

    def rule(primals, tangents):
        (x, kernel), (x_dot, kernel_dot) = primals, tangents
        zero = jax.custom_derivatives.SymbolicZero
        first = 0 if isinstance(x_dot, zero) else conv(x_dot, kernel)
        second = 0 if isinstance(kernel_dot, zero) else conv(x, kernel_dot)
        return f(x, kernel), first + second

    f.defjvp(rule, symbolic_zeros=True)
    return f(x, kernel)


def _vjp(residuals, y_bar):
    return jax.vjp(conv, *residuals)[1](y_bar)


@jax.custom_vjp
def with_vjp(x, kernel):
    return conv(x, kernel)


with_vjp.defvjp(lambda x, kernel: (conv(x, kernel), (x, kernel)), _vjp)


def custom_vjp(kernel, x):
    return jnp.sin(with_vjp(x, kernel))


def symbolic_vjp(kernel, x):
    @jax.custom_vjp
    def f(x, kernel):
        return conv(x, kernel)

    def forward(x, kernel):
        return conv(x.value, kernel.value), (x.value, kernel.value)

    f.defvjp(forward, _vjp, symbolic_zeros=True)
    return f(x, kernel)


def optimized_remat(kernel, x):
    @jax.custom_vjp
    def f(x, kernel):
        return conv(x, kernel)

    f.defvjp(lambda x, k: (conv(x, k), (x, k)), _vjp, optimize_remat=True)
    return jax.checkpoint(lambda x: jnp.sin(f(x, kernel)))(x)


def batched(kernel, x):
    return jax.vmap(lambda x: conv(x[None], kernel)[0])(x)


def batched_kernels(kernel, x):
    kernels = jnp.stack([kernel, 2 * kernel])
    return jax.vmap(lambda x, kernel: conv(x[None], kernel)[0])(x, kernels)


def named_axis(kernel, x):
    return jax.vmap(lambda x: x + lax.psum(conv(x[None], kernel)[0], "i"), axis_name="i")(x)


def custom_batching(kernel, x):
    @jax.custom_batching.sequential_vmap
    def f(x):
        return conv(x[None], kernel)[0]

    return jax.vmap(f)(x)


def linear(kernel, x):
    def transpose(kernel, y_bar):
        return jax.vjp(lambda x: conv(x, kernel), jnp.zeros_like(y_bar))[1](y_bar)[0]

    return linear_call(lambda kernel, x: conv(x, kernel), transpose, lax.stop_gradient(kernel), x)


def sharded(kernel, x):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    images = PartitionSpec("d")

    @partial(jax.shard_map, mesh=mesh, in_specs=(PartitionSpec(), images), out_specs=images)
    def f(kernel, x):
        return conv(x, kernel) + lax.psum(jnp.sum(conv(x, kernel)), "d")

    return f(kernel, x)


def solved(kernel, x):
    """A linear system by Richardson's iteration."""

    def solve(matvec, b):
        return lax.scan(lambda v, _: (v + b - matvec(v), None), b, length=3)[0]

    def matvec(v):
        return v + 0.01 * conv(v, kernel)

    return lax.custom_linear_solve(matvec, x, solve, transpose_solve=solve)


def root(kernel, x):
    def f(v):
        return v - x + 0.01 * conv(v, kernel)

    def solve(f, guess):
        return lax.scan(lambda v, _: (v - f(v), None), guess, length=3)[0]

    def tangent_solve(g, y):
        return lax.scan(lambda v, _: (v + y - g(v), None), y, length=3)[0]

    return lax.custom_root(f, x, solve, tangent_solve)


def inner_gradient(kernel, x):
    return jax.grad(lambda x: jnp.sum(jnp.sin(conv(x, kernel))))(x)


def linearized(kernel, x):
    y, f_jvp = jax.linearize(lambda x: jnp.sin(conv(x, kernel)), x)
    return y + f_jvp(x)


PROGRAMS = {
    f.__name__: f
    for f in (
        *(bare, pool, jitted, scanned, scanned_over_kernels, mapped, conditional, switched),
        *(rematerialized, custom_jvp, of_symbolic_zeros, custom_vjp, symbolic_vjp),
        *(optimized_remat, batched, batched_kernels, named_axis, custom_batching, linear),
        *(sharded, solved, root, inner_gradient, linearized, looped),
    )
}
# What JAX can't transform.
FORWARD_ONLY = {"custom_batching"}
REVERSE_ONLY = {"custom_vjp", "symbolic_vjp", "optimized_remat"}
UNBATCHED = {"custom_batching", "linear"}
