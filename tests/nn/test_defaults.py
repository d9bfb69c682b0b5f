"""The options of a module have the names and the defaults of its function.

Covers jaxconv/nn/.
"""

import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxconv
from jaxconv import nn
from jaxconv.nn import _convolution, _parameters

# By module, the parameters of its function that are no options: operands, and what calls give.
STATELESS = {
    "MaxPool": "max_pool",
    "MinPool": "min_pool",
    "SumPool": "sum_pool",
    "AvgPool": "avg_pool",
    "LpPool": "lp_pool",
    "MaxUnpool": "max_unpool",
    "GlobalAvgPool": "global_avg_pool",
    "GlobalMaxPool": "global_max_pool",
    "AdaptiveAvgPool": "adaptive_avg_pool",
    "AdaptiveMaxPool": "adaptive_max_pool",
    "Upscale": "upscale",
    "PixelShuffle": "pixel_shuffle",
    "PixelUnshuffle": "pixel_unshuffle",
}
WEIGHTED = {
    "Conv": "conv",
    "ConvBlock": "conv_block",
    "ConvTranspose": "conv_transpose",
    "Linear": "dense",
}
OWN = {"use_bias": True, "dtype": None, "param_dtype": jnp.float32, "bias_init": _parameters.zeros}


def parameters(function):
    """The parameters and their defaults; `inspect.Parameter.empty` where there is none."""
    function = function.__init__ if isinstance(function, type) else function
    found = {name: p.default for name, p in inspect.signature(function).parameters.items()}
    return {name: default for name, default in found.items() if name != "self"}


@pytest.mark.parametrize("module", STATELESS)
def test_modules_without_parameters(module):
    of_module = parameters(getattr(nn, module))
    of_function = parameters(getattr(jaxconv, STATELESS[module]))
    operands = ("y", "argmax") if module == "MaxUnpool" else ("x",)
    assert tuple(of_function)[: len(operands)] == operands
    assert list(of_module.items()) == list(of_function.items())[len(operands) :]


@pytest.mark.parametrize("module", WEIGHTED)
def test_modules_with_parameters(module):
    of_module = parameters(getattr(nn, module))
    of_function = parameters(getattr(jaxconv, WEIGHTED[module]))
    shared = set(of_module) & set(of_function)
    assert {"Linear": 1, "ConvBlock": 7}.get(module, 10) <= len(shared)
    assert {name: of_module[name] for name in shared} == {n: of_function[n] for n in shared}
    if module != "ConvBlock":  # which passes these on to `Conv`
        assert OWN.items() <= of_module.items()


def test_defaults_of_a_tied_convolution():
    tied = parameters(nn.ConvTranspose.tied)
    of_layer = parameters(nn.ConvTranspose)
    for name in ("output_padding", "use_bias", "bias_init"):
        assert tied[name] == of_layer[name]
    convolution, draw = nn.Conv(2, 3, 1, rngs=nnx.Rngs(5)), jax.nn.initializers.normal()
    biases = [
        np.asarray(nn.ConvTranspose.tied(convolution, bias_init=draw, **given).bias[...])
        for given in ({}, {"rngs": nnx.Rngs(0)}, {"rngs": nnx.Rngs(1)})
    ]
    np.testing.assert_array_equal(biases[0], biases[1])
    assert (biases[0] != biases[2]).any()


class Recorded:
    """An initialiser that notes what it is asked for."""

    def __init__(self):
        self.keys, self.shapes = [], []

    def __call__(self, key, shape, dtype):
        self.keys.append(jax.random.key_data(key).tolist())
        self.shapes.append((shape, jnp.dtype(dtype).name))
        return jnp.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("make", "kernel", "bias"),
    [
        (lambda **o: nn.Conv(6, 4, (3, 2), feature_group_count=2, **o), (3, 2, 3, 4), 4),
        (lambda **o: nn.Conv(6, 4, 5, **o), (5, 6, 4), 4),
        (lambda **o: nn.ConvBlock(6, 4, (3,), window_shape=2, **o), (3, 6, 4), 4),
        (lambda **o: nn.ConvTranspose(6, 4, (3,), feature_group_count=2, **o), (3, 2, 6), 4),
        (lambda **o: nn.Linear(6, 4, **o), (6, 4), 4),
    ],
)
def test_what_is_drawn(make, kernel, bias):
    """Kernel and bias have keys of their own, and the dtype of the parameters."""
    first, second = Recorded(), Recorded()
    options = {"kernel_init": first, "bias_init": second, "param_dtype": jnp.bfloat16}
    layer = make(rngs=nnx.Rngs(0), **options)
    assert first.shapes == [(kernel, "bfloat16")]
    assert second.shapes == [((bias,), "bfloat16")]
    assert first.keys != second.keys
    assert (layer.kernel.shape, layer.bias.shape) == (kernel, (bias,))
    without = make(rngs=nnx.Rngs(0), use_bias=False, **options)
    assert without.bias is None
    assert len(second.shapes) == 1


def test_flax_is_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"jaxconv.nn needs Flax: pip install") as caught:
        importlib.reload(nn)
    assert caught.value.name == "flax"
    assert nn.Conv is _convolution.Conv  # nothing was read anew


@pytest.mark.parametrize("channels", [(3, 4), (4, 3)])
def test_groups_divide_both_numbers_of_channels(channels):
    with pytest.raises(ValueError, match="Conv: feature_group_count must divide both numbers"):
        nn.Conv(*channels, 3, feature_group_count=2, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    ("x", "param", "dtype", "result", "expected"),
    [
        # dtypes of x, kernel and bias that are used, and what products round the kernel to
        ("float32", "float32", None, None, ("float32", "float32", "float32", None)),
        ("bfloat16", "float32", None, None, ("float32", "float32", "float32", None)),
        ("float32", "bfloat16", None, None, ("float32", "float32", "float32", None)),
        ("float32", "float32", "bfloat16", None, ("bfloat16", "float32", "float32", "bfloat16")),
        ("bfloat16", "bfloat16", None, "float32", ("bfloat16", "bfloat16", "float32", None)),
        ("float32", "bfloat16", "bfloat16", None, ("bfloat16", "bfloat16", "bfloat16", None)),
        ("float32", "float32", "complex64", None, ("complex64", "complex64", "complex64", None)),
    ],
)
def test_dtypes_of_what_a_layer_computes_with(x, param, dtype, result, expected):
    layer = nn.Linear(2, 3, dtype=dtype, param_dtype=param, rngs=nnx.Rngs(0))
    a = jax.device_put(np.ones((1, 2), jnp.dtype(x)))
    found = layer.operands(a, result)
    names = [None if a is None else jnp.dtype(getattr(a, "dtype", a)).name for a in found]
    assert tuple(names) == expected
    layer.bias = None
    assert layer.operands(a, result).bias is None
