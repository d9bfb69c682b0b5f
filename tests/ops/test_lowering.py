"""Programs that are lowered and not compiled: of any number of examples, and for every platform.

Covers jaxconv/ops/_windows.py, jaxconv/ops/_form.py, jaxconv/ops/_options.py,
jaxconv/ops/_operands.py.
"""

from functools import partial

import jax
import pytest
from jax import export

import jaxconv
from jaxconv.ops import _windows
from jaxconv.ops._pool_options import PoolOptions

pytestmark = pytest.mark.usefixtures("no_type_checker")  # which takes sizes for integers


def pooled(x):
    """The pools, each of the same map, and what unpools and unfolds."""
    y, argmax = jaxconv.max_pool_with_argmax(x, 2)
    return {
        "max": jaxconv.max_pool(x, 2),
        "max, split": jaxconv.max_pool(x, 2, ties="split"),
        "max, all": jaxconv.max_pool(x, 2, 1, "SAME", ties="all"),
        "min": jaxconv.min_pool(x, 2, 1),
        "sum": jaxconv.sum_pool(x, 2, 1),
        "avg": jaxconv.avg_pool(x, 2, padding=1, count_include_pad=False),
        "lp": jaxconv.lp_pool(x, 2, 2),
        "argmax": y,
        "unpool": jaxconv.max_unpool(y, argmax, 2),
        "unpool, mean": jaxconv.max_unpool(y, argmax, 2, overlap="mean"),
        "upscale": jaxconv.upscale(x, 2),
        "bilinear": jaxconv.upscale(x, 2, "bilinear"),
        "adaptive avg": jaxconv.adaptive_avg_pool(x, (4, 3)),
        "adaptive max": jaxconv.adaptive_max_pool(x, (4, 3)),
        "global": jaxconv.global_max_pool(x),
        "fold": jaxconv.fold(jaxconv.unfold(x, 2), 2),
        "shuffle": jaxconv.pixel_shuffle(x, 2),
        "unshuffle": jaxconv.pixel_unshuffle(x, (2, 1)),
    }


def convolved(x, kernel, y):
    """The three contractions, and what is built on them; `y` is a map of outputs."""
    n, *size, c = x.shape
    nchw = {"dimension_numbers": ("NCHW", "HWIO", "NCHW")}
    return {
        "conv": jaxconv.conv(x, kernel),
        "circular": jaxconv.conv(x, kernel, padding=2, padding_mode="circular"),
        "input gradient": jaxconv.conv_input_vjp(y, kernel, (n, *size, c)),
        "input gradient, channels first": jaxconv.conv_input_vjp(
            y.transpose(0, 3, 1, 2), kernel, (n, c, *size), **nchw
        ),
        "kernel gradient": jaxconv.conv_kernel_vjp(x, y, kernel.shape),
        "transposed": jaxconv.conv_transpose(y, kernel),
        "block": jaxconv.conv_block(x, kernel, window_shape=2),
        "lax": jaxconv.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC),
        "dense": jaxconv.dense(x, kernel[0, 0]),
    }


NHWC = ("NHWC", "HWIO", "NHWC")
SHAPES = {pooled: [(5, 6, 6, 4)], convolved: [(5, 6, 6, 4), (3, 2, 4, 7), (5, 4, 5, 7)]}
CASES = pytest.mark.parametrize("f", SHAPES, ids=["pools", "convolutions"])


def arguments(f, n):
    """The arguments of `f` with n examples. A kernel has none."""
    return [
        jax.ShapeDtypeStruct((n if shape[0] == 5 else shape[0], *shape[1:]), "float32")
        for shape in SHAPES[f]
    ]


def value_and_cotangents(f):
    def both(*operands):
        y, pull_back = jax.vjp(f, *operands)
        return y, pull_back(y)

    return both


@CASES
def test_results_have_as_many_examples_as_the_operands(f):
    """The number is a symbol until the program is called."""
    (n,) = export.symbolic_shape("n")
    open_shapes, shapes = (
        jax.eval_shape(value_and_cotangents(f), *arguments(f, examples)) for examples in (n, 5)
    )
    for shape, fixed in zip(*map(jax.tree.leaves, (open_shapes, shapes)), strict=True):
        assert shape.dtype == fixed.dtype
        assert shape.shape == tuple(
            n if axis == 0 and size == 5 else size for axis, size in enumerate(fixed.shape)
        )


@pytest.mark.parametrize(
    "platform", ["cuda", pytest.param("rocm", marks=pytest.mark.exhaustive), "tpu"]
)
@CASES
def test_every_operation_has_a_program_for_every_platform(f, platform):
    traced = jax.jit(value_and_cotangents(f)).trace(*arguments(f, 5))
    lowered = traced.lower(lowering_platforms=(platform,))
    assert jax.tree.map(lambda a: a.shape, lowered.out_info) == jax.tree.map(
        lambda a: a.shape, jax.eval_shape(value_and_cotangents(f), *arguments(f, 5))
    )


def test_what_runs_on_any_other_platform_has_the_types_of_the_operation():
    """The maps of `_windows.py` without a platform: cpu, gpu and tpu have others of their own."""
    geometry = PoolOptions("f", 2, 1).geometry((4, 3))
    x, y = (jax.ShapeDtypeStruct((1, *size, 2), "float32") for size in ((4, 3), (3, 2)))
    m = jax.ShapeDtypeStruct(y.shape, "int8")
    operands = {
        _windows.window_sum: (x,),
        _windows.window_spread: (y,),
        _windows.window_gather: (x, m),
        _windows.window_scatter: (y, m),
        _windows.window_equals: (x, x, y),
        _windows.window_to_equals: (y, x, y),
        _windows.window_share: (y, x, y),
        _windows.window_max: (x,),
        _windows.window_max_and_tap: (x,),
        _windows.window_max_in_loop: (x,),
        _windows.window_max_and_tap_in_loop: (x,),
    }
    for operation, given in operands.items():
        of_both = [
            jax.eval_shape(partial(f, geometry=geometry), *given)
            for f in (operation, operation.definition)
        ]
        assert of_both[0] == of_both[1], operation.name
