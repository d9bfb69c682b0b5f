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
# # How to port weights and geometry
#
# This page moves the layers of a network between jaxconv and torch, Keras or Lasagne, in either
# direction. It covers convolutions, transposed convolutions, pools, and the dense layer after a
# flattening. Batch norm has no spatial geometry; use Flax's, as shown at the end.
#
# jaxconv's feature maps are `(n, *spatial, c)`, and its kernels are `(*window, c / groups, o)`. The
# kernel of a transposed convolution is that of the convolution whose transpose it is. So a
# transposed convolution from `o` to `c` channels has the kernel `(*window, c / groups, o)`, too.

# %%
import math

import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxconv

# %% [markdown]
# ## torch
#
# torch has channels first, in feature maps and in weights: `(o, c / groups, *window)` for a
# convolution and `(o, c / groups, *window)`, with `o` the *input* channels, for a transposed one.
# The same function converts both. Nothing is reversed: torch's convolution does not flip its kernel
# either.


# %%
def kernel_from_torch(weight):
    """Turn a torch weight `(o, c / groups, *window)` into a kernel `(*window, c / groups, o)`."""
    return np.moveaxis(np.asarray(weight), (0, 1), (-1, -2))


def kernel_to_torch(kernel):
    """Turn a kernel `(*window, c / groups, o)` into a torch weight `(o, c / groups, *window)`."""
    return np.moveaxis(np.asarray(kernel), (-1, -2), (0, 1))


def channels_last(x):
    """Turn a feature map `(n, c, *spatial)` into `(n, *spatial, c)`."""
    return np.moveaxis(np.asarray(x), 1, -1)


def channels_first(x):
    """Turn a feature map `(n, *spatial, c)` into `(n, c, *spatial)`."""
    return np.moveaxis(np.asarray(x), -1, 1)


# %% [markdown]
# A dense layer after a flattening needs more care. torch flattens `(c, *spatial)` with the last
# spatial axis fastest, and jaxconv flattens `(*spatial, c)` with channels fastest. Such a dense
# layer is a convolution whose window is the whole map, so the functions above convert it, too.


# %%
def dense_from_torch(weight, map_shape=None):
    """Turn a torch weight `(units, features)` into a kernel `(features, units)`.

    `map_shape` is the shape `(c, *spatial)` of the map that was flattened into the features; None
    means that there was none.
    """
    weight = np.asarray(weight)
    if map_shape is None:
        return weight.T
    kernel = kernel_from_torch(weight.reshape(len(weight), *map_shape))
    return kernel.reshape(-1, len(weight))


def dense_to_torch(kernel, map_shape=None):
    """Turn a kernel `(features, units)` into a torch weight `(units, features)`."""
    kernel = np.asarray(kernel)
    if map_shape is None:
        return kernel.T
    c, *spatial = map_shape
    weight = kernel_to_torch(kernel.reshape(*spatial, c, kernel.shape[-1]))
    return weight.reshape(len(weight), -1)


# %% [markdown]
# The geometry is the same in other words. All of these take one integer, or one for each axis.
#
# | torch | jaxconv |
# |---|---|
# | `Conv2d(stride=s, padding=p, dilation=d, groups=g)` | `conv(x, k, s, p, kernel_dilation=d, feature_group_count=g)` |
# | `padding="same"`, `padding="valid"` | `"SAME"`, `"VALID"` |
# | `padding_mode="zeros"`, `"reflect"`, `"replicate"`, `"circular"` | the same |
# | `ConvTranspose2d(stride=s, padding=p, output_padding=a, dilation=d, groups=g)` | `conv_transpose(x, k, s, p, output_padding=a, kernel_dilation=d, feature_group_count=g)` |
# | `MaxPool2d(w, s, p, dilation=d, ceil_mode=m)` | `max_pool(x, w, s, p, window_dilation=d, ceil_mode=m)` |
# | `AvgPool2d(w, s, p, ceil_mode=m, count_include_pad=i)` | `avg_pool(x, w, s, p, ceil_mode=m, count_include_pad=i)` |
# | `Flatten()`, `Linear` | `reshape`, `dense` with `dense_from_torch(weight, (c, h, w))` |
#
# Here is a network with all of these, in two forms. The first has the names of a torch
# `state_dict`. The second is the model in `jaxconv.nn`.

# %%
rng = np.random.default_rng(0)
STATE = {
    "0.weight": rng.normal(size=(8, 3, 3, 3)),  # Conv2d(3, 8, 3, stride=2, padding=1)
    "0.bias": rng.normal(size=8),
    "2.weight": rng.normal(size=(8, 4, 4, 4)),  # ConvTranspose2d(8, 4, 4, 3, 1, output_padding=2)
    "2.bias": rng.normal(size=4),
    "5.weight": rng.normal(size=(10, 4 * 7 * 7)),  # Linear(4 * 7 * 7, 10), after Flatten()
    "5.bias": rng.normal(size=10),
}  # with MaxPool2d(2, ceil_mode=True) as layer 1 and AvgPool2d(3, 2, 1) as layer 3

rngs = nnx.Rngs(0)
model = nnx.Sequential(
    jaxconv.nn.Conv(3, 8, (3, 3), 2, 1, rngs=rngs),
    jaxconv.nn.MaxPool(2, ceil_mode=True),
    jaxconv.nn.ConvTranspose(8, 4, (4, 4), 3, 1, output_padding=2, rngs=rngs),
    jaxconv.nn.AvgPool(3, 2, 1),
    jaxconv.nn.Flatten(),
    jaxconv.nn.Linear(4 * 7 * 7, 10, rngs=rngs),
)


def load_torch(model, state):
    """Copy the arrays of a torch `state_dict` into the model."""
    for number in (0, 2):
        model.layers[number].kernel[...] = kernel_from_torch(state[f"{number}.weight"])
    model.layers[5].kernel[...] = dense_from_torch(state["5.weight"], map_shape=(4, 7, 7))
    for number in (0, 2, 5):
        model.layers[number].bias[...] = np.asarray(state[f"{number}.bias"])


def to_torch(model):
    """The arrays of the model, in the form of a torch `state_dict`."""
    state = {}
    for number in (0, 2):
        state[f"{number}.weight"] = kernel_to_torch(model.layers[number].kernel[...])
    state["5.weight"] = dense_to_torch(model.layers[5].kernel[...], map_shape=(4, 7, 7))
    return state | {f"{n}.bias": np.asarray(model.layers[n].bias[...]) for n in (0, 2, 5)}


load_torch(model, STATE)
assert all(np.allclose(to_torch(model)[name], value) for name, value in STATE.items())

# %% [markdown]
# If torch is installed, its network gives the same scores for the same images.

# %%
images = rng.normal(size=(2, 3, 14, 14)).astype(np.float32)  # channels first
scores = model(jnp.asarray(channels_last(images)))
try:
    import torch
except ImportError:
    print("torch is not installed, so there is nothing to compare with")
else:
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1),
        torch.nn.MaxPool2d(2, ceil_mode=True),
        torch.nn.ConvTranspose2d(8, 4, 4, 3, 1, output_padding=2),
        torch.nn.AvgPool2d(3, 2, 1),
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 7 * 7, 10),
    )
    theirs.load_state_dict({name: torch.tensor(value) for name, value in STATE.items()})
    with torch.no_grad():
        expected = theirs(torch.tensor(images)).numpy()
    print("largest difference:", np.abs(scores - expected).max())
    assert np.allclose(scores, expected, rtol=1e-4, atol=1e-3)

# %% [markdown]
# ## Keras
#
# Keras has jaxconv's layouts. Feature maps are channels last. Kernels are `(*window, c / groups,
# o)` for `Conv2D`, and `(*window, c, o)` for `Conv2DTranspose`, where `o` are the input channels.
# Dense kernels are `(features, units)`. So every kernel is used as it is, in both directions, also
# after a `Flatten`. Only `DepthwiseConv2D` differs: its kernel `(*window, c, m)` is reshaped to
# `(*window, 1, c * m)`, and `feature_group_count` is `c`.
#
# | Keras | jaxconv |
# |---|---|
# | `padding="same"`, `"valid"`, `"causal"` | `"SAME"`, `"VALID"`, `"CAUSAL"` |
# | `Conv2D(strides=s, dilation_rate=d, groups=g)` | `conv(x, k, s, padding, kernel_dilation=d, feature_group_count=g)` |
# | `Conv2DTranspose(strides=s, output_padding=a)` | `conv_transpose(x, k, s, padding, output_shape=…)` |
# | `MaxPooling2D(w, s, padding)` | `max_pool(x, w, s, padding)` |
# | `AveragePooling2D(w, s, padding)` | `avg_pool(x, w, s, padding, count_include_pad=False)` |
#
# Several sizes are possible for a transposed convolution. Keras chooses one by this formula:


# %%
def keras_transposed_size(size, window, stride, padding, output_padding=None, dilation=1):
    """The size that Keras gives the result of `Conv2DTranspose` along one axis."""
    reach = dilation * (window - 1) + 1
    if output_padding is None:
        return size * stride + (0 if padding == "same" else max(reach - stride, 0))
    pad = reach // 2 if padding == "same" else 0
    return (size - 1) * stride + reach - 2 * pad + output_padding


def keras_conv_transpose(x, kernel, strides, padding, output_padding=None):
    """Compute what `Conv2DTranspose` computes, without its bias."""
    pads = (None,) * len(strides) if output_padding is None else output_padding
    options = zip(x.shape[1:-1], kernel.shape[:-2], strides, pads, strict=True)
    size = tuple(keras_transposed_size(n, w, s, padding, a) for n, w, s, a in options)
    return jaxconv.conv_transpose(x, kernel, strides, padding.upper(), output_shape=size)


# %% [markdown]
# ## Lasagne
#
# Lasagne has torch's layouts, `(n, c, *spatial)` and `(o, c, *window)`, so the functions for torch
# convert its feature maps and weights. Dense weights are `(features, units)`; convert the
# transposed array.
#
# Lasagne's convolutions flip the kernel by default (`flip_filters=True`). Its transposed
# convolutions flip it the other way round. Pass the flag to jaxconv, and leave the weights as they
# are:
#
# | Lasagne | jaxconv |
# |---|---|
# | `Conv2DLayer(stride=s, pad=p, flip_filters=f)` | `conv(x, k, s, p, flip_kernel=f)` |
# | `pad="valid"`, `"full"`, `"same"` | `"VALID"`, `"FULL"`, `window // 2` (the window must be odd) |
# | `TransposedConv2DLayer(stride=s, crop=c, output_size=z, flip_filters=f)` | `conv_transpose(x, k, s, crop=c, output_shape=z, flip_kernel=not f)` |
# | `MaxPool2DLayer(w, s, pad=p, ignore_border=b)` | `max_pool(x, w, s, p, ceil_mode=not b)` |
# | `Pool2DLayer(mode="average_inc_pad")` | `avg_pool(x, w, s, p)` |
# | `Pool2DLayer(mode="average_exc_pad")` | `avg_pool(x, w, s, p, count_include_pad=False)` |
# | `DenseLayer` after a map `(c, h, w)` | `dense` with `dense_from_torch(W.T, (c, h, w))` |

# %% [markdown]
# ## Batch norm
#
# Use Flax's `nnx.BatchNorm`. Copy torch's `weight`, `bias`, `running_mean` and `running_var` to
# `scale`, `bias`, `mean` and `var`. Set `epsilon=1e-5`. Flax's `momentum` is 1 minus torch's.

# %%
norm = nnx.BatchNorm(8, epsilon=1e-5, momentum=0.9, rngs=rngs)
for name, value in {"scale": 2.0, "bias": 1.0, "mean": 3.0, "var": 4.0}.items():
    getattr(norm, name)[...] = jnp.full(8, value)
norm.eval()
print(norm(jnp.full((1, 8), 5.0))[0, 0], "=", 2 * (5 - 3) / math.sqrt(4 + 1e-5) + 1)
