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
# # How to read `explain`
#
# A convolution and its two gradients can each be computed by several algorithms. jaxconv chooses
# one for each of them, by platform and by shape. `jaxconv.explain` says which ones, and why. It
# traces the function and runs nothing, so the arguments may be shapes.

# %%
import jax
import jax.numpy as jnp

import jaxconv

x = jax.ShapeDtypeStruct((32, 28, 28, 16), jnp.float32)
kernel = jax.ShapeDtypeStruct((5, 5, 16, 32), jnp.float32)


def loss(x, kernel):
    return jnp.sum(jaxconv.conv(x, kernel, strides=2, padding="SAME") ** 2)


# %% [markdown]
# ## What runs
#
# Pass the whole function that you will compile, with its gradient. There is one entry for each
# different convolution in the program.

# %%
explanation = jaxconv.explain(jax.grad(loss, (0, 1)), x, kernel)
print(explanation)

# %% [markdown]
# - The first line names the platform. Another one can be asked for: `platform="tpu"`.
# - An entry begins with the contraction. `conv` is the forward pass, `conv_input_vjp` is the
#   gradient of the input, and `conv_kernel_vjp` is the gradient of the kernel. Its shapes follow,
#   and `(3 times)` if the program has it more than once. The body of a loop counts once.
# - `runs` names the algorithm, and the reason for it. With `a > b`, algorithm `a` rearranges the
#   arrays so that another, usually cheaper, convolution is left, and `b` computes that.
# - `estimate` lists all algorithms that could run, with their estimated times in units of the
#   first. The estimates are made for CPUs and rank the algorithms. They predict no seconds.
# - `not` lists the algorithms that are out of the question, each with a reason.

# %% [markdown]
# ## Ask for another algorithm
#
# The option `impl` takes the first name of any entry in the list, here and in all derivatives. Two
# more names are always possible. `"lax"` is JAX's own convolution with automatic derivatives, and
# `"textbook"` is the formula of the derivation, evaluated literally. Compare their times before you
# keep one.

# %%
print(jaxconv.explain(lambda x, k: jaxconv.conv(x, k, impl="textbook"), x, kernel))

# %% [markdown]
# `impl="lax"` leaves no convolution of jaxconv in the program:

# %%
print(jaxconv.explain(lambda x, k: jaxconv.conv(x, k, impl="lax"), x, kernel))
