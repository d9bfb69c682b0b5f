"""Generated bad calls: every function names itself and the argument that is wrong.

Each case takes a call that works and breaks one argument. The call must raise ValueError or
TypeError with a message that names both. Nothing is compiled, so hundreds of cases cost little.

Covers jaxconv/ops/_checks.py, jaxconv/ops/_options.py, jaxconv/ops/_pool_options.py.
"""

import random
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import lax as jaxconv_lax
from jaxconv.ops._general import check_as_lax

pytestmark = pytest.mark.usefixtures("no_type_checker")

COUNT, SEED = 600, 7

X, KERNEL = np.ones((2, 7, 6, 4), np.float32), np.ones((3, 2, 4, 5), np.float32)
Y = np.ones((2, 5, 5, 5), np.float32)

# Positional arguments by name, for each function; options with their names are drawn below.
CALLS = {
    "conv": {"x": X, "kernel": KERNEL},
    "conv_input_vjp": {"y_bar": Y, "kernel": KERNEL, "input_shape": X.shape},
    "conv_kernel_vjp": {"x": X, "y_bar": Y, "kernel_shape": KERNEL.shape},
    "conv_transpose": {"x": Y, "kernel": KERNEL},
    "conv_block": {"x": X, "kernel": KERNEL, "bias": np.ones(5, np.float32), "window_shape": 2},
    "conv_general_dilated": {
        "lhs": X.transpose(0, 3, 1, 2),
        "rhs": KERNEL.transpose(3, 2, 0, 1),
        "window_strides": (1, 1),
        "padding": "VALID",
    },
    "lax.conv_transpose": {
        "lhs": X,
        "rhs": KERNEL,
        "strides": (1, 1),
        "padding": "VALID",
    },
    "dense": {"x": np.ones((2, 3), np.float32), "kernel": np.ones((3, 4), np.float32)},
    "add_bias": {"x": X, "bias": np.ones(4, np.float32)},
    "rotate_kernel": {"kernel": KERNEL},
}

ARRAYS = ("x", "kernel", "y_bar", "lhs", "rhs", "bias")
SHAPES = ("input_shape", "kernel_shape")
OF_CONV = (
    "strides padding padding_mode input_dilation kernel_dilation feature_group_count flip_kernel "
    "precision preferred_element_type impl"
)
OPTIONS = {
    "conv": f"{OF_CONV} dimension_numbers kernel_dtype",
    "conv_input_vjp": f"{OF_CONV} dimension_numbers kernel_dtype",
    "conv_kernel_vjp": f"{OF_CONV} dimension_numbers",
    "conv_transpose": f"{OF_CONV} dimension_numbers kernel_dtype output_padding output_shape crop "
    "input_padding transpose_kernel",
    "conv_block": f"{OF_CONV} kernel_dtype window_shape pool_strides pool_padding pool_ceil_mode "
    "activation",
    "conv_general_dilated": "window_strides padding lhs_dilation rhs_dilation feature_group_count "
    "batch_group_count precision preferred_element_type dimension_numbers",
    "lax.conv_transpose": "strides padding rhs_dilation precision preferred_element_type "
    "dimension_numbers",
    "dense": "precision preferred_element_type kernel_dtype",
    "add_bias": "",
    "rotate_kernel": "",
}

NO_SIZES = [0, -1, 1.5, "2", None.__class__, (1, 1, 1), (1,), (1, 0), (1, "1"), True, {"a": 1}]
NO_PADDINGS = ["SAMEISH", "", 1.5, ((1, 1),), ((1, 2, 3), (1, 1)), ((0.5, 1), (1, 1)), {"a": 1}]
NO_COUNTS = [0, -2, 3, 1.0, "1", (1, 2), True]
NO_FLAGS = ["yes", "", 1, 0.0, None, (True, False), {"a": 1}]
NO_ARRAYS = [None, 3, [1.0, 2.0], "array", object(), {"a": 1}]

WRONG = {
    "strides": NO_SIZES,
    "window_strides": [*NO_SIZES[1:6], (1, 1, 1), (1, 0)],
    "input_dilation": NO_SIZES,
    "kernel_dilation": NO_SIZES,
    "lhs_dilation": [(0, 1), (1,), (1, 1.5), "11", (1, 1, 2)],
    "rhs_dilation": [(0, 1), (1,), (1, 1.5), "11", (1, 1, 2)],
    "pool_strides": NO_SIZES,
    "window_shape": NO_SIZES,
    "output_padding": [-1, 1, 2, 1.5, "2", (0, 0, 0), (0, -1), {"a": 1}],
    "output_shape": [0, (7, 6, 1), (3, 3), (70, 60), 1.5, "7", (7, -6)],
    "padding": [*NO_PADDINGS, ((-9, 0), (0, 0))],
    "pool_padding": [*NO_PADDINGS, -1],
    "pool_ceil_mode": [0, 1, None, "yes"],
    "crop": [*NO_PADDINGS, 50],
    "input_padding": ["SAME", 1.5, ((1, 1),), ((0.5, 1), (1, 1)), {"a": 1}, ((-50, 0), (0, 0))],
    "padding_mode": ["mirror", "ZEROS", None, 1],
    "feature_group_count": NO_COUNTS,
    "batch_group_count": [0, -1, 3, 1.5, "2"],
    "dimension_numbers": ["NHWC", ("NHWC", "HWIO"), ("NHWC", "HWIO", "NHW"), ("NHHC",) * 3, 7],
    "preferred_element_type": ["float16", "int8", "complex64", "number", object()],
    "kernel_dtype": ["int32", "int8", "complex64", "number", object()],
    "activation": ["gelu", "", 3, "RELU", ["relu"]],
    "precision": ["hi", "HIGHEST", 3, ("high",), ("high", None), {"a": 1}, object()],
    "flip_kernel": NO_FLAGS,
    "transpose_kernel": NO_FLAGS,
    "impl": ["fastest", "", "Direct", 3, "cudnn2"],
}


def bad_arrays(array, rng):
    """Something in an array's place: no array, or one of a wrong rank, size or dtype."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(NO_ARRAYS)
    if kind == 1:
        return array[0]
    if kind == 2:
        return array[None]
    if kind == 3:
        return array > 0
    if kind == 4:
        return array.astype(rng.choice(["int32", "complex64", "float16"]))
    axis = rng.choice([axis for axis in range(array.ndim) if array.shape[axis] > 1])
    return np.concatenate([array] * 9, axis) if axis < array.ndim - 2 else array.take([0], axis)


def bad_call(rng):
    function = rng.choice(list(CALLS))
    arguments = dict(CALLS[function])
    names = [name for name in arguments if name in ARRAYS + SHAPES]
    argument = rng.choice([*names, *OPTIONS[function].split() * 3])
    if argument in ARRAYS:
        arguments[argument] = bad_arrays(arguments[argument], rng)
    elif argument in SHAPES:
        shape = list(arguments[argument])
        shape[rng.randrange(4)] += rng.choice([-9, 7])
        arguments[argument] = rng.choice([None, 3, "shape", shape[:2], shape[:3], tuple(shape)])
    else:
        arguments[argument] = rng.choice(WRONG[argument])
    return function, argument, arguments


def run(function, arguments):
    module = jaxconv_lax if function.startswith("lax.") else jaxconv
    return getattr(module, function.removeprefix("lax."))(**arguments)


def works(function, arguments):
    """Whether a broken call is after all a call: a size that happens to fit."""
    if function in ("rotate_kernel", "dense", "add_bias"):
        return True
    if function == "conv_block" and arguments["bias"] is None:
        return True
    if function in ("conv", "conv_block") and arguments["x"].size > X.size:
        return True
    # What stands in the place of a convolution's output may be wider than the other operand.
    narrow = {"conv_input_vjp": "kernel", "conv_transpose": "kernel", "conv_kernel_vjp": "x"}
    if getattr(arguments.get(narrow.get(function)), "dtype", None) == "float16":
        return True
    # Any window fits into the dilated and padded input of a transposed convolution, and lax's
    # convolutions have empty results where none fits.
    return function in ("lax.conv_transpose", "conv_transpose", "conv_general_dilated") and any(
        name in arguments and getattr(arguments[name], "shape", None) != array.shape
        for name, array in CALLS[function].items()
        if name in ARRAYS
    )


@pytest.mark.parametrize("function", CALLS)
def test_the_calls_work_before_they_are_broken(function):
    assert isinstance(run(function, CALLS[function]), jnp.ndarray)


# lax has an error of its own for the name of a padding.
REFUSED = dict.fromkeys(
    ("conv_general_dilated", "lax.conv_transpose"), (ValueError, TypeError, RuntimeError)
)


@pytest.mark.parametrize("function", CALLS)
def test_no_option_passes_unnoticed(function):
    for option in {"precision", "flip_kernel", "transpose_kernel"} & {*OPTIONS[function].split()}:
        for value in WRONG[option]:
            with pytest.raises((ValueError, TypeError), match=f"(?i){option}") as caught:
                run(function, CALLS[function] | {option: value})
            assert function.removeprefix("lax.") in str(caught.value)


# A message may speak of an argument by what it is, not by its name.
OTHER_NAMES = {
    "x": ("input", "operands"),
    "y_bar": ("output", "operands"),
    "kernel": ("window", "operands", "c_in"),
    "lhs": ("x has", "arguments", "window", "input", "c_in", "batch_group_count"),
    "preferred_element_type": ("dtype", "data type"),
    "rhs": ("kernel", "arguments", "window", "strides", "c_in", "lhs"),
    "window_strides": ("strides",),
    "lhs_dilation": ("input_dilation", "dilations", "transposed convolution"),
    "rhs_dilation": ("kernel_dilation", "window", "dilations"),
    "input_shape": ("input", "x has", "output"),
    "kernel_shape": ("kernel", "window", "output", "groups", "channels"),
    "kernel_dilation": ("window", "dilation"),
    "padding": ("window", "pads"),
    "precision": ("Precision",),
    "pool_padding": ("padding",),
    "pool_ceil_mode": ("ceil_mode",),
    "pool_strides": ("strides",),
    "crop": ("padding", "output"),
    "input_padding": ("padding", "output"),
    "feature_group_count": ("groups",),
    "kernel_dtype": ("kernel",),
    "strides": ("output",),
    "input_dilation": ("output",),
    "dimension_numbers": ("layout",),
}


# Mistakes that break no single argument of `CALLS`.
WHOLE = np.ones((2, 3), np.int32)
MISTAKES = {
    "conv: x needs two axes besides the spatial ones": ("conv", (X[0, 0, 0], KERNEL), {}),
    "conv: the window is empty along spatial axis 0": ("conv", (X, KERNEL[:0]), {}),
    "conv_general_dilated: lhs needs two axes": (
        "conv_general_dilated",
        (X[0, 0, 0], X[0, 0, 0], (), "VALID"),
        {},
    ),
    "rotate_kernel: kernel must be": ("rotate_kernel", (X[0, 0, 0],), {}),
    "dropout: keep must be an array of booleans": ("dropout", (X, X, 0.5), {}),
    "dropout: x must be floating point": ("dropout", (WHOLE, WHOLE > 0, 0.5), {}),
    "softmax: z must be floating point": ("softmax", (WHOLE,), {}),
    "softmax_cross_entropy: logits must be": ("softmax_cross_entropy", (WHOLE, WHOLE[0]), {}),
    "softmax_cross_entropy: labels must be": ("softmax_cross_entropy", (X[0, 0], X[0, 0, 0]), {}),
    "conv_transpose: input_padding must be explicit": (
        "conv_transpose",
        (Y, KERNEL),
        {"input_padding": "SAME"},
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_of_another_kind(message):
    function, operands, options = MISTAKES[message]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(jaxconv, function)(*operands, **options)


@pytest.mark.parametrize("precision", ["TF32_TF32_F32", "high", ["high", "default"]], ids=str)
def test_precisions_of_lax_are_taken(precision):
    call = partial(jaxconv.conv, precision=precision)
    (convolution,) = jax.make_jaxpr(call)(X, KERNEL).eqns
    kept = convolution.params["spec"].precision
    assert kept == (tuple(precision) if isinstance(precision, list) else precision)


def test_generated_bad_calls_are_refused():
    rng, refused, wrong = random.Random(SEED), 0, []
    while refused < COUNT:
        function, argument, arguments = bad_call(rng)
        shown = {
            name: f"{a.dtype}{a.shape}" if isinstance(a, np.ndarray) else a
            for name, a in arguments.items()
        }
        try:
            run(function, arguments)
        except REFUSED.get(function, (ValueError, TypeError)) as error:
            message = str(error)
            named = any(name in message for name in (argument, *OTHER_NAMES.get(argument, ())))
            if function.removeprefix("lax.") not in message and "conv_general" not in message:
                wrong.append(("function not named", function, argument, shown, message))
            elif not named:
                wrong.append(("argument not named", function, argument, shown, message))
            refused += 1
        except Exception as error:
            wrong.append((f"raised {type(error).__name__}", function, argument, shown, str(error)))
            refused += 1
        else:
            if not works(function, arguments):
                wrong.append(("accepted", function, argument, shown, ""))
                refused += 1
    print(f"\nseed {SEED}: {refused} bad calls refused")
    assert not wrong, "\n".join(map(str, wrong[:20])) + f"\n{len(wrong)} in all"


NOT_NUMBERS = {
    "text": np.full(X.shape, "x"),
    "times": np.ones(X.shape, "m8[s]"),
    "objects": np.ones(X.shape, object),
    "long double": np.ones(X.shape, np.clongdouble),
    "keys": jax.random.split(jax.random.key(0), X.shape),
    **{  # JAX stores these, and has no arithmetic for them
        name: X.astype(name) for name in ("float6_e3m2fn", "int1", "uint1") if hasattr(jnp, name)
    },
}


@pytest.mark.parametrize("what", NOT_NUMBERS)
@pytest.mark.parametrize("function", ["conv", "max_pool", "unfold", "relu"])
def test_arrays_that_hold_no_numbers(what, function):
    rest = {"conv": (KERNEL,), "max_pool": (2,), "unfold": (2,), "relu": ()}[function]
    with pytest.raises(TypeError, match=f"{function}: x must hold numbers"):
        getattr(jaxconv, function)(NOT_NUMBERS[what], *rest)


def test_an_option_that_is_traced():
    """JAX's own error about a traced value does not say which option it is."""
    for option in ("strides", "padding", "kernel_dilation", "feature_group_count"):
        with pytest.raises(TypeError, match=f"conv: {option} must"):
            jax.jit(lambda value, option=option: jaxconv.conv(X, KERNEL, **{option: value}))(1)
    with pytest.raises(TypeError, match="dropout: rate must be a number"):
        jax.jit(lambda rate: jaxconv.dropout(X, X > 0, rate))(0.5)


# Values of a kind that a comparison, an iteration or a conversion does not survive.
ARRAY, THREE = np.ones((2, 2)), ("a", "b", "c")
STRANGE = [
    ("conv", {"padding_mode": ARRAY}),
    ("conv", {"impl": ARRAY}),
    ("conv", {"preferred_element_type": THREE}),
    ("conv_block", {"activation": ARRAY}),
    ("conv_general_dilated", {"out_sharding": (1.0, 1.0)}),
    ("conv_general_dilated", {"window_strides": jax.random.split(jax.random.key(0))}),
    ("conv_general_dilated", {"preferred_element_type": THREE}),
    ("conv_general_dilated", {"feature_group_count": b"1"}),
    ("conv_general_dilated", {"batch_group_count": (1,)}),
    ("conv_general_dilated", {"padding": jax.random.key(0)}),
    ("lax.conv_transpose", {"padding": jax.random.split(jax.random.key(0))}),
    ("conv", {"padding": b"11"}),
    ("conv", {"strides": b"11"}),
    ("conv", {"feature_group_count": (1,)}),
    ("lax.conv_transpose", {"transpose_kernel": ARRAY}),
    ("lax.conv_transpose", {"use_consistent_padding": ARRAY}),
]


@pytest.mark.parametrize(("function", "wrong"), STRANGE)
def test_options_of_a_strange_kind(function, wrong):
    (option,) = wrong
    with pytest.raises((ValueError, TypeError), match=f"{function.removeprefix('lax.')}: {option}"):
        run(function, CALLS[function] | wrong)


def test_what_lax_asserts_is_a_type_error():
    def of_lax(lhs, rhs, **options):
        raise AssertionError

    with pytest.raises(TypeError, match=r"^of_lax: lax cannot take these arguments\.$"):
        check_as_lax(of_lax, X, X, preferred_element_type=None)


@pytest.mark.parametrize("size", [2**24 + 1, 2**31, 10**30])
def test_sizes_that_cannot_be_listed(size):
    """They are refused before anything is made, and others work."""
    for call, name in (
        (lambda: jaxconv.adaptive_avg_pool(X, size), "adaptive_avg_pool: output_size"),
        (lambda: jaxconv.adaptive_max_pool(X, (1, size)), "adaptive_max_pool: output_size"),
        (lambda: jaxconv.upscale(X, size, "bilinear"), "upscale: factor"),
    ):
        with pytest.raises(ValueError, match=f"{name} gives the result an axis of"):
            jax.eval_shape(call)
    large = jax.eval_shape(lambda: jaxconv.upscale(X, (1, 2**20)))
    assert large.shape == (2, 7, 6 * 2**20, 4)


def test_names_that_are_arrays():
    for function, option in (("max_pool", "ties"), ("upscale", "method")):
        with pytest.raises(ValueError, match=f"{function}: {option} must be one of"):
            getattr(jaxconv, function)(X, 2, **{option: ARRAY})
    with pytest.raises(ValueError, match="max_unpool: overlap must be"):
        jaxconv.max_unpool(Y, Y.astype(int), 2, overlap=ARRAY)
