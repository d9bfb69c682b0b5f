"""The algorithms for GPUs compute the right values on any platform, in the forms that XLA knows.

No GPU runs here. What a form becomes on one is predicted by the rules in `patterns.py`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxconv
from jaxconv import algorithms, conv
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem
from jaxconv.algorithms.gpu import algorithm_for
from tests.algorithms.problems import cases, direct, geometry_of, operands_of, spec_of
from tests.oracles import assert_within_rounding, lax_conv, three_corners, with_magnitudes

from .patterns import convolutions, lowered

C, O = 4, 8

# (input, window, strides, padding, input_dilation, kernel_dilation, groups): what is hard for these
# algorithms. test_selection.py tries them on the others.
GEOMETRIES = [
    ((9,), (4,), 1, ((2, 1),), 1, 2, 2),
    ((9,), (3,), 1, ((-2, 3),), 1, 3, 1),
    ((8, 9), (3, 4), 1, ((-1, 2), (-2, 1)), 1, 1, 4),
    ((8, 9), (3, 2), (2, 1), ((1, 0), (0, 1)), 1, (1, 2), 2),
    ((8, 9), (3, 3), 2, "SAME", 1, 1, 1),
    ((8, 9), (3, 3), 2, ((-1, -2), (4, -3)), 1, 1, 2),  # cropped, and padded by more than a window
    ((22, 26), (8, 9), (3, 4), "VALID", 1, 1, 1),  # a map no larger than the kernel
    ((22, 26), (8, 9), (3, 4), ((2, -1), (0, 1)), 1, 1, 2),
    ((4, 5), (3, 2), 1, "FULL", 2, 1, 1),  # transposed
    ((4, 5), (4, 4), 1, ((2, 2), (1, 3)), (2, 1), 1, 2),
    ((4, 5), (3, 2), 1, ((-1, 3), (2, -2)), (3, 2), (1, 2), 1),
    ((4, 5), (3, 2), (3, 2), "FULL", (2, 3), 1, 1),  # neither one nor the other
    ((4, 5), (3, 2), (3, 1), ((-1, 2), (3, -1)), (2, 1), (1, 2), 4),
    ((8, 9), (2, 3), (2, 3), "VALID", 1, 1, 1),  # windows that do not overlap
    ((8, 9), (2, 1), (3, 2), ((-1, 2), (1, -3)), 1, (1, 3), 1),
    ((8, 9), (1, 1), 1, ((1, 0), (0, 2)), 1, 1, 1),
    ((5, 4, 6), (2, 2, 3), (2, 1, 1), "VALID", 1, (1, 2, 1), 2),
    ((3, 4, 2), (2, 2, 3), 1, "FULL", 2, 1, 1),
    ((12,), (3,), 1, ((8, 4),), 1, 4, 1),  # a dilated line whose phases are complete
    ((11,), (3,), 1, ((5, 2),), 1, 4, 2),  # and some whose phases are not
    ((13,), (2,), 1, ((1, 0),), 1, 4, 1),
    ((8, 8), (3, 3), 2, ((0, 1), (0, 1)), 1, 1, 1),  # sides that differ: evened by zero taps, …
    ((8, 9), (2, 2), 3, ((2, 0), (1, 3)), 1, 1, 2),  # by more positions, or on one axis only
    ((9, 8), (4, 2), (2, 1), ((3, 0), (0, 1)), 1, (1, 3), 4),
    ((16, 15), (8, 6), 2, "VALID", 1, 1, 1),  # a kernel larger than the output's map, …
    ((13, 12), (7, 5), (2, 3), ((0, 2), (1, 0)), 1, 1, 1),  # of phases that are filled up
    ((12, 12, 5), (3, 1, 2), 1, ((1, 0), (0, 0), (1, 1)), 1, 1, 1),
    ((3, 4, 5), (1, 3, 2), 1, "SAME", 1, 1, 1),  # a volume that falls into slices, …
    ((7, 3, 4), (3, 1, 1), (2, 1, 1), ((2, 1), (0, 0), (0, 0)), 1, (2, 1, 1), 2),  # … or lines
]


def problem_of(geometry, slot, c=C, o=O):
    return Problem(slot, geometry, 3, c, o)


def assert_equal_direct(names, problem, normal):
    slot, spec = problem.slot, spec_of(problem.geometry)
    operands = operands_of(problem, normal)
    exact = jax.jit(partial(direct, slot, spec))
    expected, magnitude = exact(*operands), exact(*map(np.abs, operands))
    terms = max(operand.size for operand in operands)
    run = partial(algorithms.run_algorithm, platform="cuda")
    results = jax.jit(lambda *a: [run(name, slot, spec, *a) for name in names])
    for name, actual in zip(names, results(*operands), strict=True):
        assert_within_rounding(actual, expected, magnitude, terms, f"{name} {slot}")


# They are the same

CONVOLVE = ("cudnn", "tiles", "depth", "depth_of_output")
FEW = [GEOMETRIES[index] for index in (3, 7, 9, 12, 19)]
EACH = cases(
    [(options, slot) for options in FEW for slot in Slot],
    [(options, slot) for options in GEOMETRIES if options not in FEW for slot in Slot],
)


@pytest.mark.parametrize(("options", "slot"), EACH)
@pytest.mark.usefixtures("float64")
def test_equal_direct(options, slot, normal):
    problem = problem_of(geometry_of(*options), slot)
    names = [name for name in CONVOLVE if not algorithms.why_not(name, problem)]
    assert algorithm_for(problem) in (*names, "depthwise", "shifts")
    if math.prod(problem.geometry.window) <= 6:  # unrolled: more are slow to compile
        names.append("shifts")
    assert_equal_direct(names, problem, normal)


@pytest.mark.parametrize("slot", Slot)
@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("strides", [(2, 1), 1], ids=str)
@pytest.mark.usefixtures("float64")
def test_shifts_depthwise(strides, multiplier, slot, normal):
    geometry = geometry_of((8, 9), (3, 2), strides, ((1, -1), (0, 2)), 1, (1, 2), C)
    problem = problem_of(geometry, slot, o=C * multiplier)
    assert algorithm_for(problem) == ("depthwise" if slot is Slot.KERNEL else "shifts")
    assert_equal_direct(["shifts", "depthwise"], problem, normal)


@pytest.mark.parametrize("slot", Slot)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("size", "window"), [((), ()), ((4, 3, 2, 3), (2, 3, 1, 2))], ids=str)
@pytest.mark.usefixtures("float64")
def test_no_spatial_axis_and_four(size, window, groups, slot, normal):
    problem = problem_of(geometry_of(size, window, groups=groups), slot)
    name = algorithm_for(problem)
    assert name == ("shifts" if size or groups > 1 else "direct")
    assert_equal_direct([name], problem, normal)


# A large volume whose input or output has few channels, and the algorithm for it.
VOLUMES = [(1, 16, "depth"), (3, 16, "depth"), (16, 1, "depth_of_output"), (16, 16, "cudnn")]


@pytest.mark.parametrize("slot", Slot)
def test_volumes_of_few_channels_are_convolved_in_2d(slot):
    for c, o, name in VOLUMES:
        problem = problem_of(geometry_of((32, 32, 32), (3, 3, 3), 1, "SAME"), slot, c, o)
        assert algorithm_for(problem) == name
        # In half precision, not where the taps' sums would be added up in memory.
        collected = {"depth": Slot.OUTPUT, "depth_of_output": Slot.INPUT}.get(name)
        in_half = name if slot == collected else "cudnn"
        half = problem._replace(dtype=np.dtype("float16"))
        assert algorithm_for(half) == in_half


HALF = [(d, n) for n in ("cudnn", "shifts", "tiles") for d in ("bfloat16", "float16")]


@pytest.mark.parametrize(("dtype", "name"), cases(HALF[::2], HALF[1::2]))
@pytest.mark.parametrize("slot", Slot)
def test_half_precision(dtype, slot, name, normal):
    """Each dtype is kept, and the sum is rounded once."""
    geometry = geometry_of((8, 8), (2, 2), 2)
    operands = operands_of(problem_of(geometry, slot), normal, dtype)

    def run(name, dtype, *operands):
        spec = spec_of(geometry, dtype, precision="highest")
        return algorithms.run_algorithm(name, slot, spec, *operands, platform="cuda")

    actual = run(name, jnp.dtype(dtype), *operands)
    assert actual.dtype == dtype
    wide = [np.asarray(operand).astype("float32") for operand in operands]
    exact, scale = with_magnitudes(partial(run, "direct", "float32"), *wide)
    # One rounding to half precision, of the result or of the sum of magnitudes.
    error = np.abs(np.asarray(actual).astype("float32") - exact)
    assert np.all(error <= float(jnp.finfo(dtype).eps) * np.asarray(scale))


def test_taps_of_the_depth_are_added_up_before_they_are_rounded(normal):
    geometry = geometry_of((4, 6, 5), (2, 2, 1))
    operands = operands_of(problem_of(geometry, Slot.INPUT), normal, "bfloat16")

    def run(name, dtype, *operands):
        spec = spec_of(geometry, dtype, precision="highest")
        return algorithms.run_algorithm(name, Slot.INPUT, spec, *operands, platform="cuda")

    actual = np.asarray(run("depth", jnp.dtype("bfloat16"), *operands)).astype("float32")
    exact = run("direct", jnp.dtype("float32"), *(a.astype("float32") for a in operands))
    half_a_unit = float(jnp.finfo("bfloat16").eps) / 2 * np.abs(exact)
    assert np.all(np.abs(actual - exact) <= 1.01 * half_a_unit)


# They are what a GPU has routines for


def contractions(f, x_shape, kernel_shape):
    """The convolutions in each contraction of `f(x, kernel)`, lowered for an NVIDIA GPU."""
    x, k = (jax.ShapeDtypeStruct(shape, "float32") for shape in (x_shape, kernel_shape))
    y = jax.eval_shape(f, x, k)

    def contraction(slot, x, k, y):
        y_, x_bar, k_bar = three_corners(f, x, k, y)
        return {"y": y_, "x": x_bar, "k": k_bar}[slot]

    return {slot: convolutions(lowered(partial(contraction, slot), x, k, y)) for slot in "yxk"}


# Shapes, options, and the routine of each contraction: y, x, k.
PATTERNS = {
    "same": (((16, 28, 28, 8), (3, 3, 8, 16)), {"padding": "SAME"}, "FDW"),
    "full": (((16, 8, 8, 8), (3, 3, 8, 16)), {"padding": "FULL"}, "FDW"),
    "strided": (((16, 28, 28, 8), (3, 3, 8, 16)), {"strides": 2, "padding": "SAME"}, "FDW"),
    "cropped": (((16, 28, 28, 8), (3, 3, 8, 16)), {"padding": ((-2, 1), (0, -3))}, "FDW"),
    "overlapping patches": (((8, 64, 64, 32), (16, 16, 32, 64)), {"strides": 4}, "FDW"),
    "dilated": (((8, 28, 28, 8), (3, 3, 8, 16)), {"padding": "SAME", "kernel_dilation": 2}, "FFW"),
    "transposed": (((8, 14, 14, 8), (4, 4, 8, 16)), {"padding": 2, "input_dilation": 2}, "DFW"),
    "grouped, strided": (
        ((8, 28, 28, 8), (3, 3, 2, 16)),
        {"strides": 2, "padding": 1, "feature_group_count": 4},
        "FFW",
    ),
    "grouped": (((8, 28, 28, 8), (3, 3, 2, 16)), {"padding": 1, "feature_group_count": 4}, "FFW"),
    "signal": (((8, 100, 8), (9, 8, 16)), {"padding": "SAME"}, "FDW"),
    "dilated signal": (((8, 900, 8), (2, 8, 16)), {"kernel_dilation": 256}, "FFW"),
    "volume": (((2, 16, 16, 16, 8), (3, 3, 3, 8, 16)), {"strides": 2, "padding": 1}, "FDW"),
    "transposed volume": (
        ((2, 8, 8, 8, 8), (3, 3, 3, 8, 16)),
        {"padding": "FULL", "input_dilation": 2},
        "DFW",
    ),
    "both dilated": (
        ((2, 9, 9, 8), (3, 3, 8, 16)),
        {"strides": 2, "padding": 4, "input_dilation": 3},
        "FDW",
    ),
}
LETTERS = {"F": "forward", "D": "data gradient", "W": "filter gradient"}


@pytest.mark.parametrize("name", PATTERNS)
def test_each_contraction_has_the_form_of_its_routine(name):
    shapes, options, letters = PATTERNS[name]
    found = contractions(lambda x, k: conv(x, k, **options), *shapes)
    for slot, letter in zip("yxk", letters, strict=True):
        (only,) = found[slot]
        assert only.routine() == LETTERS[letter], (slot, only)
        assert not only.runs_over_zeros(), (slot, only)


# Convolutions whose padding differs from side to side, and the contractions that are made even.
UNEVEN = {
    "strided": (((8, 56, 56, 4), (3, 3, 4, 8)), {"strides": 2, "padding": "SAME"}, "yxk"),
    "causal": (((8, 900, 8), (2, 8, 16)), {"padding": "CAUSAL"}, "xk"),
    "causal, dilated": (
        ((8, 900, 8), (3, 8, 16)),
        {"padding": "CAUSAL", "kernel_dilation": 4},
        "xk",
    ),
    "an even window": (((4, 20, 21, 8), (4, 4, 8, 8)), {"padding": "SAME"}, "xk"),
}


@pytest.mark.parametrize("name", UNEVEN)
def test_padding_is_even(name):
    """cuDNN pads both sides of an axis alike. Elements behind the last window do not count."""
    shapes, options, evened = UNEVEN[name]
    found = contractions(lambda x, k: conv(x, k, **options), *shapes)
    stride = options.get("strides", 1)
    for slot in evened:
        (only,) = found[slot]
        assert only.routine() == LETTERS["FDW"["yxk".index(slot)]]
        rests = [lo - hi if slot == "k" else hi - lo for lo, hi in only.padding]
        assert all(0 <= rest < stride for rest in rests), (slot, only)


# Cases where the gradients that autodiff writes are no routine's.
MISSED = {
    "transposed": ((4, 4, 8, 16), (8, 14, 14, 8), 1, [(2, 2)] * 2, 2, 1),
    "dilated": ((3, 3, 8, 16), (8, 28, 28, 8), 1, [(2, 2)] * 2, 1, 2),
    "overlapping patches": ((16, 16, 32, 64), (8, 64, 64, 32), 4, "VALID", 1, 1),
}


@pytest.mark.parametrize("name", MISSED)
def test_the_check_sees_what_autodiff_misses(name):
    kernel_shape, x_shape, *options = MISSED[name]
    found = contractions(lambda x, k: lax_conv(x, k, *options), x_shape, kernel_shape)
    assert found["k"][0].routine() == "forward"


# Windows that do not overlap: shapes, strides, padding, and the contractions that are a matrix
# product. cuDNN reads a map as it is, where a product needs a transposed copy of it.
APART = {
    "1×1": (((16, 28, 28, 64), (1, 1, 64, 64)), 1, "VALID", "yx"),
    "1×1, few positions": (((1, 7, 7, 64), (1, 1, 64, 64)), 1, "VALID", ""),
    "1×1, strided": (((16, 28, 28, 64), (1, 1, 64, 64)), 2, "VALID", ""),
    "1×1, padded": (((16, 28, 28, 64), (1, 1, 64, 64)), 1, 1, ""),
    "few large patches": (((8, 64, 64, 3), (16, 16, 3, 64)), 16, "VALID", "x"),
    "many small patches": (((8, 64, 64, 3), (4, 4, 3, 64)), 4, "VALID", ""),
    "a volume": (((2, 16, 16, 16, 8), (2, 2, 2, 8, 16)), 2, "VALID", "yxk"),
}


@pytest.mark.parametrize("name", APART)
def test_windows_that_do_not_overlap(name):
    (x_shape, k_shape), strides, padding, products = APART[name]
    found = contractions(lambda x, k: conv(x, k, strides, padding), x_shape, k_shape)
    assert "".join(slot for slot in "yxk" if not found[slot]) == products
    for slot in set("yxk") - set(products):
        (only,) = found[slot]
        assert only.routine() == LETTERS["FDW"["yxk".index(slot)]]


@pytest.mark.parametrize("shapes", [((32, 64), (64, 16)), ((8, 32, 32, 64), (1, 1, 64, 64))])
def test_products_in_half_precision_are_written_in_it(shapes):
    """A wider result, rounded afterwards, would be one more pass over memory."""
    x, k = (jax.ShapeDtypeStruct(shape, "bfloat16") for shape in shapes)
    text = lowered(jax.grad(lambda x, k: jnp.sum(conv(x, k)), (0, 1)), x, k)
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert products
    assert all("f32" not in line for line in products)


def test_depthwise_is_no_convolution():
    def depthwise(x, k):
        return conv(x, k, padding="SAME", feature_group_count=16)

    found = contractions(depthwise, (2, 8, 8, 16), (3, 3, 1, 16))
    assert {slot: [c.routine() for c in some] for slot, some in found.items()} == {
        "y": [],
        "x": [],
        "k": [],
    }


def test_no_algorithm_of_a_cpu_on_a_gpu():
    """Shapes for which a CPU takes strips, a Fourier basis and taps: on a GPU, one convolution."""
    for shapes in [((500, 28, 28, 1), (5, 5, 1, 32)), ((500, 12, 12, 32), (5, 5, 32, 32))]:
        found = contractions(conv, *shapes)
        assert {slot: [c.routine() for c in some] for slot, some in found.items()} == {
            "y": ["forward"],
            "x": ["data gradient"],
            "k": ["filter gradient"],
        }


@pytest.mark.parametrize("platform", algorithms.GPU_PLATFORMS)
def test_pools_neither_scatter_nor_select(platform):
    def loss(x):
        return jnp.sum(jaxconv.max_pool(x, 3, 2) ** 2)

    x = jax.ShapeDtypeStruct((4, 24, 24, 8), "float32")
    text = jax.jit(jax.grad(loss)).trace(x).lower(lowering_platforms=(platform,)).as_text()
    assert not [slow for slow in ("select_and_scatter", "scatter", "gather") if slow in text]


@pytest.mark.usefixtures("no_type_checker")
def test_export_with_any_number_of_examples(normal):
    """A program for a GPU that leaves the number of examples open."""
    (n,) = jax.export.symbolic_shape("n")
    k = normal((3, 3, 4, 8), "float32")
    for options in [{}, {"strides": 3}, {"kernel_dilation": 2}, {"input_dilation": 2}]:
        f = jax.jit(jax.grad(lambda x, k, o=options: jnp.sum(conv(x, k, **o) ** 2), (0, 1)))
        x = jax.ShapeDtypeStruct((n, 12, 12, 4), "float32")
        exported = jax.export.export(f, platforms=["cuda"])(x, k)
        assert exported.platforms == ("cuda",)
