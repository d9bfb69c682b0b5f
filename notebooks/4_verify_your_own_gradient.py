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
# # 4 · Verify your own gradient
#
# You have derived a gradient by hand, for a layer of your own, and given it to JAX with
# `jax.custom_vjp`. Nothing checks it. If it is wrong, nothing crashes, and training even works a
# little, because a gradient that is roughly right still points downhill. This notebook makes the
# mistake that notebook 2 warns of, and finds it.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxconv import conv_kernel_vjp, rotate_kernel, verify

# %%
# Sizes: the image's side, how many steps to train, and up to which derivative to check.
SIDE, STEPS, ORDER = 6, 200, 2

# %% [markdown]
# ## A convolution, and its derivative from memory
#
# The error of the input is a full convolution of the output's error with the kernel. Is it?


# %%
def convolve(x, kernel, padding):
    return lax.conv_general_dilated(
        x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def with_rule(backward):
    """The convolution, with a derivative of our own."""

    @jax.custom_vjp
    def my_conv(x, kernel):
        return convolve(x, kernel, "VALID")

    my_conv.defvjp(lambda x, kernel: (my_conv(x, kernel), (x, kernel)), backward)
    return my_conv


def from_memory(remembered, y_bar):
    x, kernel = remembered
    full = [(size - 1, size - 1) for size in kernel.shape[:2]]
    x_bar = convolve(y_bar, kernel.swapaxes(2, 3), full)  # channels exchanged
    return x_bar, conv_kernel_vjp(x, y_bar, kernel.shape)


my_conv = with_rule(from_memory)

# %% [markdown]
# ## It seems to work
#
# Two such layers are trained to compute what two layers with other random kernels compute. The cost
# falls:


# %%
rng = np.random.default_rng(0)
x = jnp.asarray(rng.normal(size=(8, SIDE, SIDE, 2)), jnp.float32)
teacher, student = (
    [jnp.asarray(rng.normal(size=(3, 3, 2, 2)) / 3, jnp.float32) for _ in range(2)] for _ in "ab"
)


def cost(conv, kernels):
    def network(kernels):
        return conv(jnp.tanh(conv(x, kernels[0])), kernels[1])

    return jnp.mean((network(kernels) - network(teacher)) ** 2)


def train(conv):
    @jax.jit
    def step(kernels):
        value, gradient = jax.value_and_grad(lambda k: cost(conv, k))(kernels)
        return jax.tree.map(lambda k, g: k - 0.1 * g, kernels, gradient), value

    kernels, costs = student, []
    for _ in range(STEPS):
        kernels, value = step(kernels)
        costs.append(float(value))
    return costs


mine = train(my_conv)
print(f"my_conv: cost {mine[0]:.3f} -> {mine[-1]:.3f}")

# %% [markdown]
# ## Ask
#
# The verifier compares the rule with the function's own values, and says where they differ.

# %%
args = (x[:2], teacher[0])
report = verify.check_gradients(my_conv, args, order=ORDER)
print(report)

# %% [markdown]
# The gradient of the kernel is right, and that of the input is wrong. The report even names the
# mistake: the gradient would be right for a kernel rotated by 180°. From notebook 2 we know why it
# has to be rotated. `rotate_kernel` does so, and exchanges the channels.


# %%
def repaired(remembered, y_bar):
    x, kernel = remembered
    full = [(size - 1, size - 1) for size in kernel.shape[:2]]
    x_bar = convolve(y_bar, rotate_kernel(kernel), full)
    return x_bar, conv_kernel_vjp(x, y_bar, kernel.shape)


repaired_conv = with_rule(repaired)
print(verify.check_gradients(repaired_conv, args, order=ORDER))

# %% [markdown]
# ## What the mistake cost
#
# Here is the same training with the repaired derivative:

# %%
right = train(repaired_conv)
print(f"with the mistake: cost {mine[0]:.3f} -> {mine[-1]:.4f}")
print(f"repaired:         cost {right[0]:.3f} -> {right[-1]:.4f}")

# %% [markdown]
# In a test, one line is enough. It raises an error whose message is the report:

# %%
verify.assert_gradients(repaired_conv, args, order=ORDER)

# %% [markdown]
# **What to remember.** A loss that falls proves nothing about a gradient. A comparison with finite
# differences proves nothing either, if its tolerance was raised until it passed. A bound that
# follows from the arithmetic can say that a gradient is wrong, and where.
