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
# # 1 · From perceptron to convolution
#
# A convolutional layer is often introduced as a new kind of layer. It is an old one with two
# promises: most weights are zero, and the others repeat. This notebook makes the promises one after
# the other, and a dense layer turns into a convolution. What happens to its transpose on the way is
# the seed of notebook 2. The route is that of Grzegorz Gwardys, "Convolutional Neural Networks
# backpropagation: from intuition to derivation" (2016).

# %%
# %matplotlib inline
from dataclasses import replace

import numpy as np

from experiments import data
from experiments.pictures.layers import feature_maps, toeplitz_matrix
from jaxconv import conv, derivations
from jaxconv.derivations import WrongStep

# %%
# Sizes: the image is cropped to this many pixels a side.
SIDE = 28

# %% [markdown]
# ## A dense layer sees everything, everywhere
#
# Here is a digit, and an edge detector: three by three weights that say "dark here, light there".

# %%
image = data.load("digits").train.images[7, :SIDE, :SIDE, 0] / 255.0
edge = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
feature_maps(image[..., None], "a digit")

# %% [markdown]
# A dense layer has one unit for each place where the detector fits, and each unit has a weight for
# every pixel. Count them:

# %%
places = (SIDE - 2) ** 2
print(f"{SIDE}² pixels × {SIDE - 2}² units = {SIDE**2 * places:,} weights")

# %% [markdown]
# **Cut.** What is far away in an image says little about what is here. Let each unit keep the nine
# weights of the window in front of it, and set the others to zero.
#
# **Share.** What is worth finding here is worth finding there. Let all units have the same nine.

# %%
print(f"cut:    {9 * places:,} weights")
print("shared: 9 weights")

# %% [markdown]
# ## The same as a matrix
#
# In one dimension, with five units, seven pixels and three taps $w_0, w_1, w_2$, the matrix of the
# layer looks like the left picture. *Cut* has made it banded, *share* has made it constant along
# its diagonals: a banded **Toeplitz** matrix. Multiplying by it is $z_p = w_0 x_p + w_1 x_{p+1} +
# w_2 x_{p+2}$, a convolution.
#
# On the right is its transpose. Read a row of each matrix. On the left the taps come in order, and
# on the right they come in **reverse**. Keep that picture in mind.

# %%
taps = np.array([1.0, 2.0, 3.0])
matrix = derivations.toeplitz(taps.reshape(3, 1, 1), (7,))[:, 0, :, 0]
toeplitz_matrix(matrix, taps)

# %% [markdown]
# ## The same as a derivation
#
# Each line below is evaluated, here on our digit with the edge detector, and compared with the line
# before. The bound is that of rounding: $\varepsilon$ times the number of terms times their size.
# "Equal to 0.01 of the rounding bound" means: as equal as floating-point numbers get.

# %%
x, w = image[None, ..., None], edge[..., None, None]
derivations.perceptron_to_convolution().show(x, w)

# %% [markdown]
# This is what the nine shared weights make of the digit. They subtract what is on the right from
# what is on the left: blue where a stroke begins, red where it ends.

# %%
feature_maps(np.asarray(conv(x, w))[0], "the digit's vertical edges")

# %% [markdown]
# ## The transpose
#
# A dense layer carries its error back by the transposed matrix. Ours is still a dense layer, so it
# does the same, and the right picture above says what that means: taps in reverse. Written as a
# convolution, the transpose is one over every overlap (a *full* convolution), with the kernel
# rotated by 180°.

# %%
error = np.random.default_rng(0).normal(size=(1, 5, 5, 1))
derivations.toeplitz_transpose().show(w, error)

# %% [markdown]
# A derivation that cannot fail would prove nothing. Leave out the rotation, and it fails:

# %%
derivation = derivations.toeplitz_transpose()
unrotated = replace(
    derivation.steps[2], value=lambda w, delta: derivation.steps[2].value(w[::-1, ::-1], delta)
)
mistaken = replace(derivation, steps=(*derivation.steps[:2], unrotated))
try:
    mistaken.check(w, error)
except WrongStep as complaint:
    print(complaint)

# %% [markdown]
# **What to remember.** A convolution is a dense layer with cut and shared weights. Its matrix has
# the taps in order along the rows, so the transposed matrix has them in reverse. Backpropagation
# uses the transpose, and therefore it meets a rotated kernel.
