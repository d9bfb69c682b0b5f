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

# %% [markdown]
# # 5 · Does deriving by hand pay?
#
# "There doesn't seem to be any gain in analytically deriving a function with respect to using
# automatic derivation." This is a fair objection: automatic differentiation is exact, and it costs
# nobody an afternoon. Let us measure, on the machine that runs this notebook.

# %%
# %matplotlib inline
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.benchmark import ops, step
from experiments.benchmark.cases import matching
from experiments.benchmark.figures import overview
from experiments.benchmark.timing import Machine, Program, interleaved
from experiments.networks import as_layers as open_networks
from experiments.networks import classifiers as classifier
from jaxconv import conv, explain
from jaxconv.backprop import backpropagate

# %%
# Sizes: the benchmark's layers, the factors by which batches shrink, and how often things run.
ALONE, SHRINK_ALONE = ["A", "B", "D", "E", "G", "T", "resnet-14"], 4
IN_A_LOOP, SHRINK_IN_A_LOOP = ["A", "B", "G"], 64
BATCH_SIZE, REPEATS = 50, 7

# %% [markdown]
# ## What is there to gain?
#
# Automatic differentiation returns the right function. It does not choose the *program*: it
# transposes the operations of the forward pass, one by one. A rule written by hand knows what the
# gradient means, a full convolution or a correlation, and each can be computed by an algorithm that
# suits its shape.
#
# So the question is about programs. We take both gradients of a convolution, of the input and of
# the kernel, for layers of well-known networks, and compare jaxconv's with those that JAX derives
# from `lax.conv_general_dilated`. The benchmark first checks that the results are equal. A bar to
# the right of 1 says how many times faster ours is.

# %%
machine = Machine(size=1024)


def measured(names, shrink, mode):
    cases = [
        replace(case, name=case.origin, n=max(1, case.n // shrink)) for case in matching(names)
    ]
    options = {"peers": ("autodiff",), "dtype": "float32", "impl": None}
    rows = ops.rows(
        cases, modes=(mode,), corners=("DX+DW",), repeats=REPEATS, machine=machine, **options
    )
    return list(rows)


alone = measured(ALONE, SHRINK_ALONE, "entry")
overview({"ops": alone, "machine": {}})

# %% [markdown]
# Each gradient ran alone here. In training they run inside a loop. There XLA's CPU compiler does
# not use its fast convolution routine, so autodiff's convolutions become slow. Ours are mostly
# matrix products, which stay fast.

# %%
in_a_loop = measured(IN_A_LOOP, SHRINK_IN_A_LOOP, "scan")
overview({"ops": in_a_loop, "machine": {}})

# %%
for name, rows in (("alone", alone), ("in a loop", in_a_loop)):
    ratios = [r["seconds"]["autodiff"]["median"] / r["seconds"]["jaxconv"]["median"] for r in rows]
    mean = np.exp(np.mean(np.log(ratios)))
    print(f"{name}: {min(ratios):.2f} to {max(ratios):.2f}, geometric mean {mean:.2f} times faster")

# %% [markdown]
# Which algorithms were these? This is the answer for the kernel gradient of case B, the
# classifier's second layer:

# %%
x, kernel = jnp.ones((500 // SHRINK_ALONE, 12, 12, 32)), jnp.ones((5, 5, 32, 32))
print(explain(jax.grad(lambda kernel: conv(x, kernel).sum()), kernel))

# %% [markdown]
# ## A whole training step
#
# This is a step of the standard classifier (forward, backward and update) in the experiments'
# compiled loop. It compares our layers with plain Flax, differentiated by `jax.grad`.

# %%
(row,) = step.rows(
    ["standard"],
    peers=("autodiff",),
    repeats=3,
    machine=machine,
    batch_size=BATCH_SIZE,
    steps=2,
)
seconds = {peer: timing["median"] for peer, timing in row["seconds"].items()}
print({peer: f"{1e3 * value:.0f} ms a step" for peer, value in seconds.items()})
print(f"{seconds['autodiff'] / seconds['jaxconv']:.1f} times faster")

# %% [markdown]
# ## And backpropagation by hand?
#
# `backpropagate` of notebook 2 writes the five steps out. `jax.grad` of the same network with our
# operations arrives at the same program, so neither should be faster. Returning every z, a and δ
# does cost time, because more values are written to memory.

# %%
model = classifier.standard(nnx.Rngs(0))
model.eval()
definition, state, others = nnx.split(model, nnx.Param, ...)
images, labels = step.noise(BATCH_SIZE)
images = jnp.asarray(images, jnp.float32) / 255


@jax.jit
@jax.value_and_grad
def by_grad(state):
    return classifier.score(nnx.merge(definition, state, others), images, labels)["loss"].mean()


network, parameters = open_networks.classifier("standard"), open_networks.parameters_of(model)


@jax.jit
def by_hand(parameters):
    edges = backpropagate(network, parameters, images, labels)
    return edges.cost, edges.gradients


def program(function, *arguments):
    jax.block_until_ready(function(*arguments))  # compiles
    return Program(lambda: jax.block_until_ready(function(*arguments)), list)


timings = interleaved(
    {
        "jax.grad": program(by_grad, state),
        "five steps, gradients only": program(by_hand, parameters),
        "five steps, every edge": program(backpropagate, network, parameters, images, labels),
    },
    repeats=3 * REPEATS,
)
for name, timing in timings.items():
    ratio = timing.median / timings["jax.grad"].median
    print(f"{name:27} {1e3 * timing.median:6.1f} ms   {ratio:.2f}")

# %% [markdown]
# **What to remember.** The derivative is the same either way. Deriving it by hand tells us *what*
# it is, and with that we can choose an algorithm. Whether this pays depends on your machine and
# your shapes. `python -m experiments.benchmark` measures all of them.
