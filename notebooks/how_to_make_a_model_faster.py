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
# # My model, faster, in one line
#
# `jaxconv.accelerate` takes a function that calls `jax.lax`, and returns the same function with its
# convolutions and pools run by jaxconv. The model needs no edit. This page makes a training step
# faster, and then checks four things: what is replaced, that the values are equal, what the step
# costs, and what stays as it is.

# %%
import statistics
import time

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import jaxconv

# %%
# Sizes. The last one is the number of timed rounds.
BATCH, SIDE, WIDTH, ROUNDS = 16, 32, 32, 7

# %% [markdown]
# ## A model that knows nothing of jaxconv
#
# It is made of Flax's own layers: a convolution, a depthwise convolution, batch normalisation, a
# max pool and an average pool.


# %%
class Model(nnx.Module):
    """Two convolutional layers, pools, and a linear layer."""

    def __init__(self, width, rngs):
        self.stem = nnx.Conv(3, width, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        depthwise = {"feature_group_count": width, "use_bias": False}
        self.depthwise = nnx.Conv(width, width, (3, 3), rngs=rngs, **depthwise)
        self.head = nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.norm(self.stem(x))), (3, 3), (2, 2), "SAME")
        x = nnx.avg_pool(self.depthwise(x), (2, 2), (2, 2))
        return self.head(x.mean((1, 2)))


definition, params, others = nnx.split(Model(WIDTH, nnx.Rngs(0)), nnx.Param, ...)
images = jax.random.normal(jax.random.key(1), (BATCH, SIDE, SIDE, 3))
labels = jax.random.randint(jax.random.key(2), (BATCH,), 0, 10)


def loss(params, images, labels):
    logits = nnx.merge(definition, params, others, copy=True)(images)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


def step(params, images, labels):
    value, gradient = jax.value_and_grad(loss)(params, images, labels)
    return value, jax.tree.map(lambda a, b: a - 0.1 * b, params, gradient)


# %% [markdown]
# ## The one line
#
# Accelerate the whole step. It is differentiated by lax's rules first, and jaxconv recognises what
# these rules make: gradients of inputs, gradients of kernels, gradients of max pools.

# %%
faster = jax.jit(jaxconv.accelerate(step))

# %% [markdown]
# The other order accelerates the loss alone, and `jax.grad` then uses jaxconv's derivatives. Both
# run the same algorithms in most models. Take the first if someone else's code calls `jax.grad`,
# and the second if you want jaxconv's rules to be differentiated again.


# %%
@jax.jit
def faster_too(params, images, labels):
    value, gradient = jax.value_and_grad(jaxconv.accelerate(loss))(params, images, labels)
    return value, jax.tree.map(lambda a, b: a - 0.1 * b, params, gradient)


# %% [markdown]
# ## Check 1: what is replaced
#
# `explain` traces the function and runs nothing. It lists each convolution and pool with what runs
# in its place, and each one that stays with the reason. Below that, it shows the choice of an
# algorithm for each convolution.

# %%
explanation = jaxconv.explain(jaxconv.accelerate(step), params, images, labels)
for primitive in explanation.accelerated:
    print(primitive.path[-1], "→", primitive.runs or f"stays: {primitive.reason}")

# %% [markdown]
# ## Check 2: equal values
#
# The results differ by rounding. Compare the norm of the difference with the norm of the whole
# change that the step makes, not each array by itself. The bias before a batch normalisation has no
# influence: its gradient is zero, and what is computed for it is rounding alone. Compare one step,
# because networks amplify rounding from step to step. If the error looks too large, repeat the
# comparison in float64, `with jax.enable_x64(True):`. Rounding then falls to about 1e-14. An error
# that stays is a mistake of this library, and worth a report.


# %%
def relative_error(actual, expected):
    """How much two steps differ, as a fraction of the change that they make."""
    difference = jax.tree.map(jnp.subtract, actual, expected)
    change = jax.tree.map(jnp.subtract, expected, params)
    return float(optax.tree.norm(difference) / optax.tree.norm(change))


plain = jax.jit(step)
_, expected = plain(params, images, labels)
for fast in (faster, faster_too):
    error = relative_error(fast(params, images, labels)[1], expected)
    print(f"relative error {error:.0e}")
    assert error < 1e-4

# %% [markdown]
# ## Check 3: an honest time
#
# - Compile first. The time to compile is paid once for each shape, and is worth a look of its own.
# - Wait for the result with `jax.block_until_ready`. JAX returns before it has computed.
# - Run the programs in turn, and take the median. A machine changes its speed.
# - Time the step that you train with, at its batch size. A step inside `lax.scan` is another
#   program for XLA than one at top level, and lax's convolutions are slower there.


# %%
def seconds(function):
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


programs = {}
for name, function in {"plain": step, "accelerated": jaxconv.accelerate(step)}.items():
    jax.clear_caches()  # of the programs above
    start = time.perf_counter()
    programs[name] = jax.jit(function).lower(params, images, labels).compile()
    print(f"{name}: compiled in {time.perf_counter() - start:.2f} s")

times = {name: [] for name in programs}
for _ in range(ROUNDS + 1):
    for name, program in programs.items():
        times[name].append(seconds(lambda program=program: program(params, images, labels)))
medians = {name: statistics.median(values[1:]) for name, values in times.items()}
for name, median in medians.items():
    print(f"{name}: {1e3 * median:.2f} ms a step")
print(f"{medians['plain'] / medians['accelerated']:.1f} times as fast")

# %% [markdown]
# ## Check 4: what stays
#
# - Products, attention, normalisation and activations are not convolutions and stay as they are. A
#   model that spends its time there becomes no faster.
# - `jax.image.resize` is products and gathers before anyone can see it.
# - Programs that are already compiled or exported stay, and so do Pallas kernels.
# - Booleans, reductions by other operations than max, min and add, and cumulative sums stay.
#
# A cumulative maximum, for example, stays. `explain` says why:


# %%
def cumulative(x):
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (64,), (1,), ((63, 0),))


print(jaxconv.explain(jaxconv.accelerate(cumulative), jnp.zeros(64)))

# %% [markdown]
# ## When it does not help
#
# - On GPUs and TPUs dense convolutions become the calls that XLA makes anyway. Pools and some
#   depthwise gradients gain.
# - On CPUs the gain is in the gradients. Inference gains little where XLA's forward convolution is
#   good: dense layers of many channels.
# - A function that runs only once pays for tracing and compiling, whichever program it is.
# - Outside `jit` every call is traced again. Put `jax.jit` around the accelerated function.
