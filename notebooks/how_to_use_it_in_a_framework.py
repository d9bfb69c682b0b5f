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
# # How to use it in plain JAX, Flax, Equinox and Haiku
#
# jaxconv's operations are functions of arrays. They work under `jit`, `grad`, `vmap`, `scan` and
# `shard_map`, so any framework can call them. Each section below is complete.

# %%
import jax
import jax.numpy as jnp
from flax import linen, nnx

import jaxconv
from jaxconv import lax  # in place of: from jax import lax

x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))

# %% [markdown]
# ## Plain JAX
#
# Call the functions. Feature maps are `(n, *spatial, c)`, and kernels are `(*window, c, o)`.

# %%
kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 4))


@jax.jit
@jax.grad
def gradient(kernel):
    y = jaxconv.max_pool(jaxconv.relu(jaxconv.conv(x, kernel, padding="SAME")), 2)
    return jnp.mean(y**2)


print(gradient(kernel).shape)

# %% [markdown]
# A program that calls `jax.lax` needs one line changed, the import. `jaxconv.lax` has lax's four
# convolutions, with lax's arguments.

# %%
layouts = ("NHWC", "HWIO", "NHWC")
print(lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layouts).shape)

# %% [markdown]
# ## Flax
#
# Flax's own layers take the convolution as an argument. Parameters, initialisers and checkpoints
# remain Flax's. This works for `flax.nnx.Conv` and for `flax.linen.Conv`.

# %%
ours = {"conv_general_dilated": jaxconv.conv_general_dilated}
layer = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0), **ours)
print(layer(x).shape)

module = linen.Conv(4, (3, 3), **ours)
variables = module.init(jax.random.key(0), x)
print(module.apply(variables, x).shape)

# %% [markdown]
# `jaxconv.nn` has NNX modules for every operation, among them transposed convolutions that share
# the kernel of a convolution.

# %%
encoder = jaxconv.nn.Conv(3, 4, (3, 3), strides=2, padding="SAME", rngs=nnx.Rngs(0))
decoder = jaxconv.nn.ConvTranspose.tied(encoder)
print(decoder(encoder(x)).shape)

# %% [markdown]
# ## Equinox
#
# Equinox's `Conv2d` calls lax. A subclass keeps its parameters, and with them its checkpoints. The
# modules of Equinox see one example `(c, h, w)` at a time; `jax.vmap` adds the batch.

# %%
try:
    import equinox as eqx
except ImportError:
    print("Equinox is not installed: pip install equinox")
else:

    class Conv2d(eqx.nn.Conv2d):
        """Equinox's convolution, computed by jaxconv."""

        def __call__(self, x, *, key=None):
            y = jaxconv.conv_general_dilated(
                x[None],
                self.weight,
                self.stride,
                self.padding,
                rhs_dilation=self.dilation,
                feature_group_count=self.groups,
            )
            return y[0] if self.bias is None else y[0] + self.bias

    convolution = Conv2d(3, 4, 3, stride=2, padding=1, key=jax.random.key(0))
    images = jnp.moveaxis(x, -1, 1)
    print(jax.vmap(convolution)(images).shape)
    theirs = eqx.nn.Conv2d(3, 4, 3, stride=2, padding=1, key=jax.random.key(0))
    assert jnp.allclose(jax.vmap(convolution)(images), jax.vmap(theirs)(images), atol=1e-5)

# %% [markdown]
# ## Haiku
#
# A Haiku module asks for its parameters by name and calls the function.

# %%
try:
    import haiku as hk
except ImportError:
    print("Haiku is not installed: pip install dm-haiku")
else:

    class Convolution(hk.Module):
        """A convolution with a bias, computed by jaxconv."""

        def __init__(self, features, window, name=None):
            super().__init__(name)
            self.features, self.window = features, window

        def __call__(self, x):
            shape = (*self.window, x.shape[-1], self.features)
            kernel = hk.get_parameter("w", shape, x.dtype, hk.initializers.VarianceScaling())
            bias = hk.get_parameter("b", (self.features,), x.dtype, jnp.zeros)
            return jaxconv.add_bias(jaxconv.conv(x, kernel, padding="SAME"), bias)

    network = hk.without_apply_rng(hk.transform(lambda x: Convolution(4, (3, 3))(x)))
    parameters = network.init(jax.random.key(0), x)
    print(network.apply(parameters, x).shape)
