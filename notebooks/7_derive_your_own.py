# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7 · Derive your own
#
# The six notebooks before this one are about derivatives that the library has. This one takes a
# function that it has not, from a definition on paper to an operation that every transformation of
# JAX takes: checked step by step, verified, and compiled from a kernel of its own in the end.

# %%
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import pallas as pl

from jaxconv import forms, verify
from jaxconv.derivations import Derivation, Step, WrongStep

# %%
# Sizes: how long the signal is, and how many signals are in a batch.
LENGTH, BATCH = 40, 8

# %% [markdown]
# ## On paper
#
# A leaky integrator forgets what it has heard: with a leak $a$ between 0 and 1,
#
# $$ y_p = x_p + a\,y_{p-1} = \sum_{i \le p} a^{p-i} x_i . $$
#
# It is linear in $x$. So its derivative in the direction $\dot x$ is the same filter applied to
# $\dot x$, and all there is to derive is the transpose. Element $x_i$ is heard by every later
# output $p \ge i$, each time fainter, and its error is the sum of its shares:
#
# $$ \bar x_i = \sum_{p \ge i} a^{p-i} \bar y_p = \bar y_i + a\,\bar x_{i+1} . $$
#
# That is a leaky integrator, too, which runs from the end to the beginning.
#
# ## A derivation that is evaluated
#
# A derivation on paper can be wrong. This one is evaluated: each step must equal the one before, up
# to rounding, and the first is the definition of a gradient.

# %%
LEAK = 0.8


def weights(n, leak=LEAK):
    p, i = np.indices((n, n))
    return np.where(p >= i, leak ** np.abs(p - i), 0.0)


def gradient(x, y_bar):
    """∂C/∂x of C = <y_bar, y(x)> by complex steps, which are exact to rounding."""
    steps = x + 1e-200j * np.eye(len(x))
    return np.array([np.imag(y_bar @ (weights(len(x)) @ step)) / 1e-200 for step in steps])


def backward_in_steps(x, y_bar):
    x_bar = np.zeros(len(y_bar) + 1)
    for i in reversed(range(len(y_bar))):
        x_bar[i] = y_bar[i] + LEAK * x_bar[i + 1]
    return x_bar[:-1]


derivation = Derivation(
    title="the error before a leaky integrator",
    left=r"\bar x_i",
    given={"x": "`(n,)`, the input", r"\bar y": "`(n,)`, the error of the output"},
    steps=(
        Step(r"\frac{\partial C}{\partial x_i}", "Definition.", gradient),
        Step(
            r"\sum_p \bar y_p \frac{\partial y_p}{\partial x_i}",
            "The chain rule.",
            lambda x, y_bar: np.einsum("p,pi->i", y_bar, weights(len(x))),
        ),
        Step(
            r"\sum_{p \ge i} a^{p-i} \bar y_p",
            "Only later outputs hear $x_i$.",
            lambda x, y_bar: np.array(
                [LEAK ** np.arange(len(x) - i) @ y_bar[i:] for i in range(len(x))]
            ),
        ),
        Step(
            r"\bar y_i + a\,\bar x_{i+1}",
            "The sum without its first term is that of $i + 1$, times $a$.",
            backward_in_steps,
        ),
    ),
    scale=lambda x, y_bar: (weights(len(x)).T @ np.abs(y_bar), 4 * len(x)),
)
rng = np.random.default_rng(0)
x, y_bar = rng.normal(size=LENGTH), rng.normal(size=LENGTH)
derivation.show(x, y_bar)

# %% [markdown]
# It can fail. Let the filter run forward in the last step, and it does:

# %%
forward_again = Step(r"\bar y_i + a\,\bar x_{i-1}", "A mistake.", lambda x, y: weights(len(x)) @ y)
try:
    Derivation(
        derivation.title,
        derivation.left,
        derivation.given,
        (*derivation.steps[:-1], forward_again),
        derivation.scale,
    ).check(x, y_bar)
except WrongStep as complaint:
    print(complaint)

# %% [markdown]
# ## Two maps are an operation
#
# Write the two lines of the paper as functions. The leak is static: it is passed by keyword.


# %%
def integrate(x, *, leak):
    """y[p] = x[p] + leak · y[p-1]."""
    return lax.scan(lambda y, x: (x + leak * y,) * 2, jnp.zeros_like(x[0]), x)[1]


def integrate_transpose(y, *, leak):
    """x_bar[i] = y[i] + leak · x_bar[i+1]."""
    return integrate(y[::-1], leak=leak)[::-1]


leaky, leaky_transpose = forms.linear_pair(integrate, integrate_transpose)

# %% [markdown]
# That was all. JAX now treats `leaky` as an operation of its own. Its derivative is `leaky`, the
# transpose of that is `leaky_transpose`, and no order of derivatives leaves the two:

# %%
signal, error = jnp.asarray(x, jnp.float32), jnp.asarray(y_bar, jnp.float32)
hear = partial(leaky, leak=LEAK)
print(jax.make_jaxpr(lambda x: jax.vjp(hear, x)[1](error))(signal))

# %%
loss = lambda x: jnp.sum(jnp.tanh(hear(x)) ** 2)  # noqa: E731
forward_over_reverse = jax.jvp(jax.grad(loss), (signal,), (error,))[1]
reverse_over_forward = jax.grad(lambda x: jax.jvp(loss, (x,), (error,))[1])(signal)
print("both second orders agree:", bool(jnp.allclose(forward_over_reverse, reverse_over_forward)))

signals = jnp.stack([signal * (k + 1) for k in range(BATCH)])
print("vmap of grad:", jax.vmap(jax.grad(loss))(signals).shape)
print("in a compiled loop:", lax.scan(lambda c, x: (c + loss(x), None), 0.0, signals)[0].shape)

# %% [markdown]
# ## Is it right?
#
# `check` compares the operation with what JAX derives from `integrate`: element by element, in
# every mode, in forward and reverse. It returns nothing if all is well.

# %%
forms.check(leaky, signal, leak=LEAK)

# %% [markdown]
# And if the transpose forgets to run backwards? It still has the right shape, and a training with
# it would still get somewhere. The report says what was forgotten:

# %%
try:
    wrong, _ = forms.linear_pair(integrate, integrate, name="forgetful")
    forms.check(wrong, signal, leak=LEAK)
except ValueError as report:
    print(report)

# %% [markdown]
# ## A leak to learn
#
# What if the leak is to be trained? $y$ is not linear in $a$, but the tangent of the equation is
# linear again:
#
# $$ \dot y_p = \dot x_p + \dot a\,y_{p-1} + a\,\dot y_{p-1} . $$
#
# The output solves a linear system that depends on $a$. `linear_solve` takes the system, a way to
# solve it, and a way to solve its transpose, and differentiates in both.


# %%
def before(y):
    return jnp.pad(y[:-1], (1, 0))


def solve(x, a):
    return lax.scan(lambda y, x: (x + a * y,) * 2, jnp.zeros_like(x[0]), x)[1]


trained = forms.linear_solve(
    lambda y, a: y - a * before(y), solve, lambda y, a: solve(y[::-1], a)[::-1]
)
verify.assert_gradients(lambda x, a: trained(x, a), (signal[:8], jnp.float32(LEAK)))
by_the_leak = jax.grad(lambda a: jnp.sum(trained(signal, a) ** 2))(LEAK)
print(f"the gradient of the leak: {by_the_leak:.3f}")

# %% [markdown]
# ## A kernel of your own
#
# A scan takes one step at a time. A kernel can keep the running value in a register. Here is one in
# Pallas, JAX's language for kernels. It runs in Pallas's interpreter, so that this page needs no
# accelerator. On a GPU or TPU leave `interpret=True` out and name that platform.


# %%
def kernel(x_ref, y_ref, *, leak):
    def step(p, y):
        y = x_ref[p] + leak * y
        y_ref[p] = y
        return y

    lax.fori_loop(0, x_ref.shape[0], step, jnp.zeros((), x_ref.dtype))


def integrate_in_kernel(x, *, leak):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return pl.pallas_call(partial(kernel, leak=leak), out_shape=shape, interpret=True)(x)


def transpose_in_kernel(y, *, leak):
    return integrate_in_kernel(y[::-1], leak=leak)[::-1]


kernels = integrate_in_kernel, transpose_in_kernel
leaky, _ = forms.linear_pair(integrate, integrate_transpose, lowerings={"cpu": kernels})

# %% [markdown]
# JAX can't differentiate most kernels in reverse. It need not: the kernel is only what the map
# compiles to on one platform, and the derivative is stated above it. On other platforms the scan
# stays. `check` now compares the kernels with the definition, too.

# %%
forms.check(leaky, signal, leak=LEAK)
second = jax.jit(jax.vmap(jax.hessian(lambda x: jnp.sum(leaky(x, leak=LEAK) ** 3))))
print("second order of a batch, through the kernel:", second(signals[:, :6]).shape)

# %% [markdown]
# **What to remember.** A derivative is a linear map. Say what the map is and what its transpose is,
# each as a plain function, and JAX composes the rest: both modes, all orders, batches, loops,
# devices and platforms. What you said can be checked, and should be.
#
# Ten more examples are in [how to write an operation](how_to_write_an_operation.ipynb).
