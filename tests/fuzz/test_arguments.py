"""Wrong arguments: one clear error that names the function and the argument.

Each call takes right arguments and puts something else in the place of one. It is refused with a
ValueError or TypeError, or it is a call that works.

Covers jaxconv/ops/_checks.py, jaxconv/_arguments.py, jaxconv/nn/_convolution.py,
jaxconv/nn/_pooling.py, jaxconv/nn/_dense.py.
"""

import inspect
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import strategies as st

import jaxconv
import jaxconv.lax
from jaxconv import nn

from .running import fuzzed

X, KERNEL, Y = np.ones((2, 6, 5, 4), "f4"), np.ones((3, 2, 4, 5), "f4"), np.ones((2, 4, 4, 5), "f4")
MAP = {"x": X}
WINDOWS = {"x": X, "window_shape": 2}
LAX = {"lhs": X.transpose(0, 3, 1, 2), "rhs": KERNEL.transpose(3, 2, 0, 1)}
MASK, LABELS = np.ones(X.shape, bool), np.ones(2, int)

# Functions, and arguments with which they work.
FUNCTIONS = {
    "conv": {"x": X, "kernel": KERNEL},
    "conv_input_vjp": {"y_bar": Y, "kernel": KERNEL, "input_shape": X.shape},
    "conv_kernel_vjp": {"x": X, "y_bar": Y, "kernel_shape": KERNEL.shape},
    "conv_transpose": {"x": Y, "kernel": KERNEL},
    "conv_block": {"x": X, "kernel": KERNEL, "bias": np.ones(5, "f4"), "window_shape": 2},
    "conv_general_dilated": {**LAX, "window_strides": (1, 1), "padding": "VALID"},
    "lax.conv": {**LAX, "window_strides": (1, 1), "padding": "VALID"},
    "lax.conv_with_general_padding": {
        **LAX,
        **{"window_strides": (1, 1), "padding": "VALID", "lhs_dilation": None},
        "rhs_dilation": None,
    },
    "lax.conv_transpose": {"lhs": X, "rhs": KERNEL, "strides": (1, 1), "padding": "VALID"},
    "dense": {"x": X, "kernel": np.ones((4, 3), "f4")},
    "add_bias": {"x": X, "bias": np.ones(4, "f4")},
    "rotate_kernel": {"kernel": KERNEL},
    "max_pool": WINDOWS,
    "min_pool": WINDOWS,
    "sum_pool": WINDOWS,
    "avg_pool": WINDOWS,
    "lp_pool": {**WINDOWS, "p": 2},
    "max_pool_with_argmax": WINDOWS,
    "max_unpool": {"y": Y, "argmax": np.zeros(Y.shape, int), "window_shape": 2},
    "unfold": WINDOWS,
    "fold": {"patches": np.ones((2, 4, 4, 8), "f4"), "window_shape": 2},
    "global_avg_pool": MAP,
    "global_max_pool": MAP,
    "adaptive_avg_pool": {"x": X, "output_size": 2},
    "adaptive_max_pool": {"x": X, "output_size": 2},
    "upscale": {"x": X, "factor": 2},
    "pixel_shuffle": {"x": X, "factor": 2},
    "pixel_unshuffle": {"x": Y, "factor": 2},
    "relu": MAP,
    "tanh": MAP,
    "dropout": {"x": X, "keep": MASK, "rate": 0.5},
    "softmax": {"z": X},
    "softmax_cross_entropy": {"logits": np.ones((2, 3), "f4"), "labels": LABELS},
    "squared_error": {"y": X, "target": X},
}
# Modules: the arguments of the class, and the operand that it is called with.
CHANNELS = {"in_features": 4, "out_features": 5}
MODULES = {
    "Conv": ({**CHANNELS, "kernel_size": (3, 2)}, X),
    "ConvBlock": ({**CHANNELS, "kernel_size": (3, 2), "window_shape": 2}, X),
    "ConvTranspose": ({"in_features": 5, "out_features": 4, "kernel_size": (3, 2)}, Y),
    "Linear": (CHANNELS, X),
    "MaxPool": ({"window_shape": 2}, X),
    "MinPool": ({"window_shape": 2}, X),
    "SumPool": ({"window_shape": 2}, X),
    "AvgPool": ({"window_shape": 2}, X),
    "LpPool": ({"p": 2, "window_shape": 2}, X),
    "AdaptiveAvgPool": ({"output_size": 2}, X),
    "AdaptiveMaxPool": ({"output_size": 2}, X),
    "GlobalMaxPool": ({}, X),
    "Upscale": ({"factor": 2}, X),
    "PixelShuffle": ({"factor": 2}, X),
    "PixelUnshuffle": ({"factor": 2}, Y),
}

ODD = [
    *(None, True, False, 0, 1, 2, 3, -1, 10**6, 2**31, 2**63, 10**30, 1.0, 0.5, -0.0, math.nan),
    *(math.inf, 1j, "", "SAME", "VALID", "same", "x", b"1", object(), int, len, ..., slice(1)),
    *((), (1,), (1, 2), (1, 1), (2, 2), (1, 2, 3), (0, 0), (-1, 1), (1, None), (1.0, 1.0)),
    *((True, True), [1, 1], [[1, 1], [1, 1]], ((1, 1), (1, 1)), ((1, 2, 3),), ((1,), (1,)), "11"),
    *(((0, 0), (0, 10**9)), ((-9, 0), (0, 0)), {"a": 1}, {1, 2}, range(2), np.int64(2)),
    *(np.float32(2), np.bool_(True), np.str_("SAME"), np.array(2), np.array([1, 1])),
    *(np.array([[1, 1], [1, 1]]), np.array([1.0, 1.0]), np.array("x"), np.array([None])),
    *(jnp.int32(2), jnp.ones(3), jnp.zeros((0,)), np.ones((2, 6, 5, 4), bool)),
    *(np.ones((2, 6, 5, 4), int), np.ones((2, 6, 5, 4), complex), np.ones((2, 6, 5, 4), "f2")),
    *(np.ones((0, 6, 5, 4), "f4"), np.ones((2, 0, 5, 4), "f4"), np.ones((2, 6, 5, 0), "f4")),
    *(np.ones((4,), "f4"), np.ones((6, 4), "f4"), np.ones((2, 6, 4), "f4"), np.float32(1)),
    *(np.ones((2, 6, 5, 4, 1), "f4"), np.ones((3, 2, 5, 4), "f4"), np.ones((3, 2, 0, 5), "f4")),
    *(np.ones((0, 2, 4, 5), "f4"), np.ones((3, 2, 4, 0), "f4"), np.ones((9, 9, 4, 5), "f4")),
    *(jax.ShapeDtypeStruct((2, 6, 5, 4), "f4"), np.ones((2, 6, 5, 4), "M8[s]"), np.array(["a"])),
    *(np.ones((2, 6, 5, 4), "m8[s]"), np.ones((2, 6, 5, 4), "O"), np.ones((2, 6, 5, 4), "g")),
    *(jax.random.split(jax.random.key(0), (2, 6, 5, 4)), jax.random.key(0)),
    *(X.astype(name) for name in dir(jnp) if name.startswith(("float6", "uint1", "int1"))),
    *(np.float32, "float16", "bfloat16", "float64", "int8", "complex64", jnp.bfloat16),
    *("highest", "HIGH", ("high", "high"), jax.lax.Precision.HIGHEST, ("NHWC", "HWIO", "NHWC")),
    *("NHWC", ("NCHW", "OIHW", "NCHW"), ("N", "O", "N"), ("NHWC",) * 3, "direct", "lax"),
    *("textbook", "fourier", "circular", "reflect", "replicate", "zeros", "first", "split", "all"),
    *("sum", "mean", "nearest", "bilinear", "relu", "tanh", "FULL", "CAUSAL", "valid"),
]  # fmt: skip


def of_name(name):
    module = jaxconv.lax if name.startswith("lax.") else jaxconv
    return getattr(module, name.removeprefix("lax."))


class Call(NamedTuple):
    """A function or module, right arguments, and those that may be wrong."""

    name: str
    right: Any
    wrong: dict[str, Any]

    def __repr__(self):
        wrong = {
            k: f"{v.dtype}{v.shape}" if hasattr(v, "shape") else v for k, v in self.wrong.items()
        }
        return f"{self.name}({wrong})"


@st.composite
def broken(draw, names, function_of, arguments_of):
    """Calls with one or two arguments that may be wrong."""
    name = draw(st.sampled_from([*names]))
    function = function_of(name)
    called = function.__init__ if inspect.isclass(function) else function
    parameters = inspect.signature(called).parameters.values()
    kinds = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    known = [p.name for p in parameters if p.kind not in kinds and p.name not in ("rngs", "self")]
    known = known or ["nothing"]
    places = draw(st.lists(st.sampled_from(known), min_size=1, max_size=2, unique=True))
    wrong = {place: draw(st.sampled_from(ODD)) for place in places}
    return Call(name, arguments_of(name), wrong)


# How a message may call an argument, other than by its name.
CALLED = {
    "x": ("input", "operand", "lhs", "output"),
    "y_bar": ("output", "operand"),
    "kernel": ("window", "operand", "c_in", "output"),
    "lhs": ("input", "x has", "arguments", "operand", "window", "batch_group_count", "c_in"),
    "rhs": ("kernel", "arguments", "operand", "window", "c_in", "groups", "lhs", "rank"),
    "kernel_shape": ("kernel", "window", "output"),
    "input_shape": ("input", "x has", "output"),
    "padding": ("window", "pads", "output"),
    "strides": ("output", "window"),
    "window_strides": ("strides", "stride"),
    "window_shape": ("window",),
    "window_dilation": ("window",),
    "kernel_dilation": ("window", "dilation", "output"),
    "input_dilation": ("window", "dilation", "output"),
    "lhs_dilation": ("dilation", "transposed convolution"),
    "rhs_dilation": ("dilation", "window"),
    "feature_group_count": ("groups", "group"),
    "dimension_numbers": ("layout", "rank", "convolution dimension", "axes", "feature dimension"),
    "preferred_element_type": ("dtype", "data type", "type"),
    "kernel_dtype": ("kernel", "dtype"),
    "pool_padding": ("padding", "window"),
    "pool_strides": ("strides",),
    "pool_ceil_mode": ("ceil_mode",),
    "crop": ("padding", "output"),
    "input_padding": ("padding", "output"),
    "output_padding": ("output",),
    "output_shape": ("output", "size"),
    "output_size": ("output", "input"),
    "precision": ("Precision", "precision"),
    "y": ("operands", "argmax", "target"),
    "target": ("y",),
    "kernel_size": ("kernel", "window"),
    "out_sharding": ("sharding",),
    "dtype": ("dtype", "type"),
    "param_dtype": ("dtype", "type"),
    "labels": ("logits",),
    "logits": ("labels",),
    "ceil_mode": ("window",),
    "align_corners": ("method",),
}  # fmt: skip


def check_refusal(error, name, wrong):
    """An error names the function and one of the arguments that may be wrong."""
    message, plain = str(error), name.removeprefix("lax.")
    kinds = (ValueError, TypeError)
    if "general" in name or name.startswith("lax."):
        kinds = (*kinds, RuntimeError)  # as lax, whose calls these are
    assert isinstance(error, kinds), f"{type(error).__name__}: {message}"
    own = isinstance(error, (ValueError, TypeError)) and type(error).__module__ == "builtins"
    assert own or name.startswith("lax.") or "general" in name, type(error)
    assert plain in message or "conv" in message, f"the function is not named: {message}"
    names = [word for place in wrong for word in (place, *CALLED.get(place, ()))]
    assert any(word in message for word in names), f"the argument is not named: {message}"


@fuzzed(40, broken(FUNCTIONS, of_name, FUNCTIONS.get))
def test_functions_refuse_or_work(call):
    name, right, wrong = call
    large = [v for v in wrong.values() if isinstance(v, int) and abs(v) > 1000]
    if large or "10000" in repr(wrong):
        return  # see below: such a call may be right, and too large
    try:
        result = of_name(name)(**{**right, **wrong})
    except Exception as error:
        check_refusal(error, name, wrong)
    else:
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(result))


@fuzzed(40, broken(FUNCTIONS, of_name, FUNCTIONS.get))
def test_sizes_that_no_array_has(call):
    """Only shapes are computed: a call may be right, with a result that fits into no memory."""
    name, right, wrong = call
    try:
        jax.eval_shape(lambda: of_name(name)(**{**right, **wrong}))
    except Exception as error:
        check_refusal(error, name, wrong)


def module_of(name):
    return getattr(nn, name)


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@fuzzed(40, broken(MODULES, module_of, MODULES.get))
def test_modules_refuse_or_work(call):
    name, (right, x), wrong = call
    if "10000" in repr(wrong) or any(isinstance(v, int) and abs(v) > 1000 for v in wrong.values()):
        return
    wrong.pop("nothing", None)
    options = {**right, **wrong}
    if name in ("Conv", "ConvBlock", "ConvTranspose", "Linear"):
        options["rngs"] = nnx.Rngs(0)
    if {"kernel_init", "bias_init"} & {*wrong}:
        return  # functions of the user
    try:
        result = module_of(name)(**options)(x)
    except Exception as error:
        result = error
    if not isinstance(result, Exception):
        assert isinstance(result, jax.Array)
        return
    assert isinstance(result, ValueError | TypeError), f"{type(result).__name__}: {result}"
    names = [word for place in wrong for word in (place, *CALLED.get(place, ()))]
    if {"in_features", "kernel_size"} & {*wrong}:
        names += ["channels", "kernel", "bias", "window", "spatial", "features"]
    names.append("nnx.static(")  # NNX takes no keys of `jax.random` as options
    assert any(word in str(result) for word in names), f"the argument is not named: {result}"
