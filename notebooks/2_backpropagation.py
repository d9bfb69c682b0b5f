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
# # 2 · Backpropagation, and why the kernel is rotated
#
# "When computing the gradients of a CNN, the weights need to be rotated: why?" Three answers
# follow: one to say aloud, one to look at, one to check. Then we open a whole network and watch
# the errors travel. Grzegorz Gwardys answers the question in "Convolutional Neural Networks
# backpropagation: from intuition to derivation" (2016). The algorithm is that of Michael Nielsen's
# book "Neural Networks and Deep Learning" (2015).

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np

from experiments import data
from experiments.networks import as_layers as open_networks
from experiments.pictures.layers import errors, feature_maps, gradient_flow, kernel_walk
from jaxconv import conv, conv_input_vjp, derivations, rotate_kernel
from jaxconv.backprop import (
    Conv,
    Dense,
    Network,
    Reshape,
    SoftmaxCrossEntropy,
    backpropagate,
    initial_parameters,
)

# %%
# Sizes.
IMAGES, STEPS, DEPTH = 100, 60, 10

# %% [markdown]
# ## One to say aloud
#
# Take one dimension and three taps. The unit $k$ of the next layer computes
#
# $$ z_k = w_0 a_k + w_1 a_{k+1} + w_2 a_{k+2}. $$
#
# Now stand on one pixel, say $a_5$, and ask who listens to you. Unit 5 does: you are the *first*
# in its window, so it hears you through $w_0$. Unit 4 does: for it you are second, $w_1$. Unit 3
# does: you are its third and last, $w_2$. Your error is your share of the blame in each of them,
#
# $$ w_2 \delta_3 + w_1 \delta_4 + w_0 \delta_5. $$
#
# The units come in order, 3, 4, 5; the taps come in reverse, 2, 1, 0. Looking forward, a unit
# finds you further *right* the larger the tap; looking back, you find the unit further *left*.
# That is all. In two dimensions both axes are reversed, which is a rotation by 180°.

# %% [markdown]
# ## One to look at
#
# A layer has 3×3 units, each with a window of 3×3 pixels. So there are 5×5 pixels. Their errors are
# collected by a window that slides over the units' errors. A corner pixel is heard by a single
# unit. The other units do not exist, and zeros stand in for them: this is the padding (grey). In
# the window, the taps are listed in reverse, $w_{22}$ first.

# %%
rng = np.random.default_rng(0)
delta, w = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
kernel_walk(delta, w, places=[(0, 0), (1, 2), (4, 4)])

# %% [markdown]
# In the first panel only $w_{00}$ meets a unit: the corner pixel is the first in the only window
# that contains it. If the kernel were *not* rotated, the corner would be multiplied by $w_{22}$, a
# weight that has never seen this pixel.
#
# ## One to check
#
# Here is the same as a derivation from the definition $\delta_j = \partial C / \partial z_j$. Every
# line is evaluated on random arrays and compared with the line before. The first line is the
# derivative itself and not a formula for it.

# %%
z, kernel, error = (rng.normal(size=s) for s in [(1, 5, 5, 2), (3, 3, 2, 2), (1, 3, 3, 2)])
derivations.convolution_error().show(z, kernel, error)

# %% [markdown]
# In code, the full convolution with the rotated kernel *is* the gradient of the input:

# %%
full = conv(error, rotate_kernel(kernel), padding="FULL")
print(np.abs(full - conv_input_vjp(error, kernel, z.shape)).max())

# %% [markdown]
# Does a "true" convolution, which flips the kernel in the forward pass, avoid the rotation? It only
# moves it: the taps come in reverse on the way forward, and in order on the way back. One of the
# two directions is always the other's mirror image.
#
# With strides nothing new happens. A layer with stride 2 is one with stride 1 that keeps every
# second unit. On the way back the missing units have no error, so zeros stand in their places.

# %%
print(derivations.convolution_error(strides=2))

# %% [markdown]
# The gradient of the kernel needs no rotation. Here the error slides over the input as the kernel
# did, and both are read in order.

# %%
a, error = rng.normal(size=(2, 5, 5, 2)), rng.normal(size=(2, 3, 3, 2))
derivations.kernel_gradient().show(a, kernel, error)

# %% [markdown]
# ## A whole network, opened
#
# Nielsen's algorithm has five steps: input, feedforward, output error, backpropagate the error,
# gradients. `backpropagate` runs them and returns every value on the way. Let us train the standard
# classifier with it for a moment (parameters minus 0.1 times the gradient, nothing else), and look.

# %%
digits = data.load("digits").train
images, labels = digits.images[:IMAGES] / np.float32(255), digits.labels[:IMAGES]
network = open_networks.classifier("standard", features=8, hidden=64)
parameters = initial_parameters(network, jax.random.key(0), images.shape)


@jax.jit
def step(parameters):
    edges = backpropagate(network, parameters, images, labels)
    return jax.tree.map(lambda p, g: p - 0.1 * g, parameters, edges.gradients), edges.cost


costs = []
for _ in range(STEPS):
    parameters, cost = step(parameters)
    costs.append(float(cost))
print(f"cost {costs[0]:.2f} before, {costs[-1]:.2f} after {STEPS} steps")

# %%
edges = backpropagate(network, parameters, images, labels)
feature_maps(edges.a["pool1"][0], f"what the first layer sees of a {labels[0]}")

# %% [markdown]
# Now the errors. At the output, $\delta$ is the prediction minus the truth: the true class wants
# more (blue: more of it lowers the cost), and the others want less. Follow it upwards. The max
# pools send the error to the maxima only, which is why the errors of `conv1` and `conv2` are dots.
# The convolution between them, with its rotated kernel, spreads each dot over a window.

# %%
errors({name: edges.delta[name] for name in ["conv1", "pool1", "conv2", "pool2", "hidden", "out"]})

# %% [markdown]
# ## Turning a knob inside
#
# Any of these values can be replaced, and everything after it changes. How high is the cost if the
# first half of the hidden units is silent? And how large would the first layer's gradient be if
# only the largest errors of the output counted?

# %%
half_silent = edges.a["hidden"].at[:, :32].set(0)
silent = backpropagate(network, parameters, images, labels, replace={"a": {"hidden": half_silent}})
print(f"cost {edges.cost:.3f}, half silent {silent.cost:.3f}")

largest = jnp.where(jnp.abs(edges.delta["out"]) > 0.5 / IMAGES, edges.delta["out"], 0)
few = backpropagate(network, parameters, images, labels, replace={"delta": {"out": largest}})
ratio = jnp.linalg.norm(few.gradients["conv1"]["kernel"]) / jnp.linalg.norm(
    edges.gradients["conv1"]["kernel"]
)
print(f"gradient of conv1 from the {jnp.count_nonzero(largest)} largest errors: {ratio:.0%}")

# %% [markdown]
# ## How far do errors reach?
#
# Each layer multiplies the error by its weights and by the slope of its activation. In a deep
# network the product grows or shrinks like a power. Here are ten convolutions with weights of three
# sizes: Glorot's, which aim at a factor of one, and half and twice that.

# %%
layers = [Conv(f"conv{i}", 8, (3, 3), padding="SAME", activation="tanh") for i in range(DEPTH)]
deep = Network((*layers, Reshape("flat", (-1,)), Dense("out", 10)), SoftmaxCrossEntropy())
start = initial_parameters(deep, jax.random.key(0), images.shape)
curves = {}
for scale in (0.5, 1.0, 2.0):
    scaled = jax.tree.map(lambda p, scale=scale: scale * p, start)
    delta = backpropagate(deep, scaled, images, labels).delta
    curves[f"{scale} × Glorot"] = {
        layer.name: float(jnp.linalg.norm(delta[layer.name])) for layer in layers
    }
gradient_flow(curves, "size of the error δ")

# %% [markdown]
# With small weights the error vanishes, and the first layers learn nothing. With large weights it
# explodes, and a step along the gradient throws the first layers far away. In between, the error
# arrives as large as it left. That is what Glorot's initialisation is for.
#
# **What to remember.** Forward, taps and pixels run in the same direction. Seen from a pixel, the
# units that see it come in one order, and their taps come in the opposite order. That is why the
# gradient of the input, and only that gradient, has a rotated kernel.
