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
# # 6 · The standard and the modified network
#
# Here is an idea for a classifier. Beside the usual trunk of small windows, give the last layer a
# branch that looks at the image through large windows, 10×10, and has a single convolution.
# Grzegorz Gwardys tried it in Lasagne in May 2016. He found that the branch helps in the first
# epoch and then learns more slowly. This notebook trains both networks in miniature, and looks at
# *why* that may be.

# %%
# %matplotlib inline
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments import classifier, data
from experiments.command_line import UserError
from experiments.data import Dataset, Split
from experiments.networks import as_layers as open_networks
from experiments.networks import classifiers
from experiments.pictures.curves import learning_curves
from experiments.pictures.layers import errors, gradient_flow
from jaxconv.backprop import backpropagate

# %%
# Sizes.
IMAGES, TEST_IMAGES, EPOCHS, BATCH_SIZE, SEEDS = 3000, 1000, 6, 50, 2

# %%
try:
    dataset = data.load("mnist")
except UserError:  # not prepared on this machine
    dataset = data.load("digits")


def first(split, count):
    return Split(split.images[:count], split.labels[:count])


dataset = Dataset(
    first(dataset.train, IMAGES),
    first(dataset.validation, TEST_IMAGES),
    first(dataset.test, TEST_IMAGES),
)

# %% [markdown]
# ## Training
#
# Both train as in `experiments.classifier`, with dropout, softmax and cross entropy, and Nesterov's
# momentum. The band is the range over seeds. With few seeds and few images, a difference within the
# bands means nothing.

# %%
config = classifier.Config(epochs=EPOCHS, batch_size=BATCH_SIZE, seeds=SEEDS)
histories = {name: classifier.train(name, config, dataset) for name in ("standard", "modified")}
print(classifier.table(histories))
curves = {
    name: [[1 - entry["test_accuracy"] for entry in run] for run in runs]
    for name, runs in histories.items()
}
learning_curves(curves, "test error")

# %% [markdown]
# ## Where do the errors go?
#
# In the first epoch it matters how much of the error reaches which weights. So we open both
# networks before the first step, send a batch through, and compare the errors layer by layer.

# %%
batch, labels = dataset.train.images[:100] / np.float32(255), dataset.train.labels[:100]
edges = {}
for name in ("standard", "modified"):
    parameters = open_networks.parameters_of(classifiers.NETWORKS[name](nnx.Rngs(0)))
    edges[name] = backpropagate(open_networks.classifier(name), parameters, batch, labels)

trunk = ["conv1", "pool1", "conv2", "pool2", "hidden", "out"]
gradient_flow(
    {
        name: {layer: float(jnp.linalg.norm(run.delta[layer])) for layer in trunk}
        for name, run in edges.items()
    },
    "size of the error δ",
)

# %% [markdown]
# In the modified network, less of the error reaches the trunk. The last layer has more inputs, 544
# instead of 256, so Glorot's initialisation draws smaller weights, and every error that passes
# through them shrinks. The branch has a short path: between its convolution and the last layer
# there is only a pool. How large is the gradient of each kernel, for each of its weights?

# %%
for layer, gradient in edges["modified"].gradients.items():
    kernel = gradient["kernel"]
    print(
        f"{layer:8} {kernel.size:7,} weights, root mean square {jnp.sqrt(jnp.mean(kernel**2)):.1e}"
    )

# %% [markdown]
# The kernel of the branch (`wide`) has the largest gradient, and the kernels of the trunk have
# smaller ones than without the branch. This fits a network that is quick at first and later relies
# on features that one convolution can find. It is an explanation to test, not a proof.
#
# Here are the errors of one image, in the trunk and in the branch. The pool of the branch is wide,
# so its errors are few. Each of them affects a window of 100 pixels.

# %%
errors({name: edges["modified"].delta[name] for name in ["conv1", "wide", "pool2", "wide_pool"]})

# %% [markdown]
# ## And if the branch were silent?
#
# With zeros in place of the branch's activations, the modified network is a standard one. The
# change of the gradients shows what the branch contributed.

# %%
network = open_networks.classifier("modified")
parameters = open_networks.parameters_of(classifiers.modified(nnx.Rngs(0)))
silence = {"a": {"wide_pool": jnp.zeros_like(edges["modified"].a["wide_pool"])}}
silent = backpropagate(network, parameters, batch, labels, replace=silence)
print(f"cost {edges['modified'].cost:.3f}, with a silent branch {silent.cost:.3f}")
for layer in ("conv1", "conv2", "hidden"):
    with_branch = edges["modified"].gradients[layer]["kernel"]
    change = jnp.linalg.norm(silent.gradients[layer]["kernel"] - with_branch)
    print(f"{layer:7} gradient changes by {change / jnp.linalg.norm(with_branch):.0%}")

# %% [markdown]
# **What to remember.** A change of architecture changes the paths that errors take. The training
# curves say whether it helped, and the errors say where. On all 60,000 images and with three seeds,
# the branch is ahead after the first epoch and behind in the end: `python -m experiments.classifier
# --dataset mnist --seeds 3`.
