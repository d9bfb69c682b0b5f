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
# # 3 · Deconvolutions are just convolutions: the autoencoder
#
# Networks that draw need layers that make images larger. The layer most used for this has had a
# run of unlucky names, among them "deconvolution" and "fractionally strided convolution". It is the
# transpose of a convolution: the map that carries errors back in notebook 2, run forward. The title
# and the autoencoder are those of Grzegorz Gwardys, "Convolutional Autoencoder for Dummies" (2016).

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np

from experiments import data
from experiments.command_line import UserError
from experiments.networks import as_layers as open_networks
from experiments.pictures.images import reconstructions
from experiments.pictures.layers import feature_maps, filters
from jaxconv import conv, conv_transpose, derivations
from jaxconv.backprop import backpropagate, initial_parameters

# %%
# Sizes.
IMAGES, EPOCHS, BATCH_SIZE, FEATURES = 4000, 4, 50, 16

# %% [markdown]
# ## Transposed, not inverse
#
# A convolution with stride 2 turns a map of 9×9 pixels into one of 4×4. Its transpose turns a map
# of 4×4 pixels into one of 9×9. It has the shape of an inverse, but it is none: what comes back is
# not what went in.

# %%
rng = np.random.default_rng(0)
x, w = rng.normal(size=(1, 9, 9, 1)), rng.normal(size=(3, 3, 1, 1))
y = conv(x, w, strides=2)
back = conv_transpose(y, w, strides=2)
print(x.shape, "->", y.shape, "->", back.shape)
print("largest difference from what went in:", float(jnp.abs(back - x).max()))

# %% [markdown]
# The transpose is defined as the adjoint: $\langle \mathrm{conv}(x), y \rangle = \langle x,
# \mathrm{conv\_transpose}(y) \rangle$ for all $x$ and $y$.

# %%
u = rng.normal(size=y.shape)
print(
    float(jnp.vdot(conv(x, w, strides=2), u)), float(jnp.vdot(x, conv_transpose(u, w, strides=2)))
)

# %% [markdown]
# ## A convolution after all
#
# Start from the transposed matrix and simplify. The result is a convolution: put zeros between the
# pixels, pad, and slide the rotated kernel over the map.

# %%
derivations.transposed_convolution(strides=2).show(u, w)

# %% [markdown]
# Its own transpose is the convolution. So nothing new is needed to train it. Convolution and its
# two gradients have six transposes among them, and all six follow from one sum:

# %%
derivations.triangle(strides=2).show(x, w, u)

# %% [markdown]
# ## The autoencoder
#
# Two convolutions with max pools and a dense layer squeeze an image into a short code. A dense
# layer, upscaling and two transposed convolutions draw the image again. The decoder has no kernels
# of its own. It uses the encoder's, transposed. So each of these kernels is used twice, and its
# gradient is the sum over both uses.
#
# Training is Nielsen's algorithm in a loop: backpropagate, clip the gradient, step with momentum.

# %%
try:
    dataset = data.load("mnist")
except UserError:  # not prepared on this machine
    dataset = data.load("digits")
images = dataset.train.images[:IMAGES] / np.float32(255)
network = open_networks.autoencoder(features=FEATURES, code_size=64, dropout=0.0)
parameters = initial_parameters(network, jax.random.key(0), images[:1].shape)
# With the mean brightness as its first bias, the last relu starts with a positive input.
parameters["deconv1"]["bias"] += images.mean()


@jax.jit
def step(state, batch):
    parameters, velocity = state
    edges = backpropagate(network, parameters, batch, batch)
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(edges.gradients)))
    rate = 1e-3 * jnp.minimum(1, 30 / norm)
    velocity = jax.tree.map(lambda v, g: 0.9 * v - rate * g, velocity, edges.gradients)
    return (jax.tree.map(jnp.add, parameters, velocity), velocity), edges.cost / 28**2


state = parameters, jax.tree.map(jnp.zeros_like, parameters)
for epoch in range(1, EPOCHS + 1):
    order = np.random.default_rng(epoch).permutation(len(images))
    batches = order[: len(order) // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)
    costs = []
    for rows in batches:
        state, cost = step(state, images[rows])
        costs.append(cost)
    print(f"epoch {epoch}: squared error per pixel {np.mean(costs):.4f}")
parameters, _ = state

# %% [markdown]
# Here are test images, the first of each class, and what a code of 64 values keeps of them:

# %%
test = dataset.test
first = [np.flatnonzero(test.labels == label)[0] for label in range(10)]
shown = test.images[np.array(first)] / np.float32(255)
edges = backpropagate(network, parameters, shown, shown)
reconstructions(shown, {"from the code": np.asarray(edges.a["deconv1"])})

# %% [markdown]
# Below is the zero of the first row, half-way through the decoder. The code was spread out to 4×4
# maps, upscaled, and passed through the transpose of the second convolution. After it come the
# kernels of the first convolution, which both read the image and draw it.

# %%
feature_maps(edges.a["deconv2"][0], "what the second deconvolution draws")

# %%
filters(parameters["conv1"]["kernel"], "the kernels that read and draw")

# %% [markdown]
# Why upscaling and then a transposed convolution with stride 1, and not one with stride 2? With a
# stride, neighbouring pixels receive different numbers of taps, and the picture shows a
# checkerboard. Count the taps with a kernel of ones:

# %%
ones = jnp.ones((1, 6, 6, 1))
strided = conv_transpose(ones, jnp.ones((3, 3, 1, 1)), strides=2)[0]
feature_maps(strided, "taps that a pixel receives, stride 2")

# %% [markdown]
# **What to remember.** A transposed convolution is the product with the transposed matrix of a
# convolution. It is computed as a convolution with the rotated kernel. Its own gradients are the
# convolution itself and the convolution's kernel gradient.
