"""Every algorithm against the direct convolution in float64, wherever it says that it applies."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import algorithms, conv, reference
from jaxconv._geometry import convolution_geometry
from jaxconv.algorithms import Problem, _blocks, _costs, _selection
from tests.oracles import assert_within_rounding

# Input, window, strides, padding, input dilation, kernel dilation, groups; the channels c and o.
GEOMETRIES = [
    ((9,), (4,), 1, "VALID", 1, 1, 1, 2, 5),
    ((9,), (4,), 1, ((2, 1),), 1, 2, 1, 2, 5),
    ((30,), (5,), 4, ((3, 1),), 1, 6, 1, 2, 3),
    ((8, 9), (3, 2), 1, "SAME", 1, 1, 1, 2, 5),
    ((8, 9), (3, 4), 1, "FULL", 1, 1, 1, 1, 5),
    ((8, 9), (3, 4), 1, ((-1, 2), (-2, 1)), 1, 1, 1, 2, 5),
    ((8, 9), (3, 2), (2, 1), ((1, 0), (0, 1)), 1, (2, 1), 1, 2, 5),
    ((9, 8), (3, 2), (2, 3), "SAME", 1, 1, 2, 4, 6),
    ((9, 8), (4, 3), (2, 3), ((1, 2), (-1, 1)), 1, (1, 2), 1, 2, 4),
    ((8, 8), (4, 4), 4, "VALID", 1, 1, 1, 3, 5),
    ((8, 8), (2, 2), 4, "VALID", 1, 1, 1, 3, 5),
    ((5, 4), (3, 4), 1, ((1, 2), (-1, 4)), (2, 3), (2, 1), 2, 4, 4),
    ((5, 7), (3, 4), (1, 2), "FULL", (2, 1), 1, 2, 4, 4),
    ((7, 5), (5, 5), 1, "VALID", 1, 1, 1, 2, 5),
    ((9,), (4,), 1, ((-2, 1),), 1, 1, 1, 8, 16),  # wrong in float32 in lax of JAX 0.10
    ((7, 8), (3, 2), 1, ((-3, 2), (1, -4)), (2, 3), 1, 1, 2, 4),
    ((9, 8), (3, 3), 1, "SAME", 1, 1, 4, 4, 4),
    ((9, 8), (3, 3), 2, "SAME", 1, 1, 4, 4, 8),
    ((9, 8), (3, 2), (2, 1), ((1, 1), (-1, 1)), 1, 1, 4, 4, 4),  # terms that are padded
    ((7, 9), (2, 3), 1, "SAME", 1, (1, 2), 32, 32, 32),
    ((20,), (3,), 1, ((2, 0),), 1, 4, 6, 6, 6),
    ((5, 4, 6), (2, 3, 2), 1, "SAME", 1, 1, 1, 2, 5),
    ((5, 4, 6), (2, 2, 3), (2, 1, 1), "VALID", 1, (1, 2, 1), 1, 2, 5),
    ((6, 4, 5), (2, 3, 3), 2, "SAME", 1, 1, 2, 2, 4),
    ((1, 5), (2, 2), 1, ((-3, 5), (5, -6)), 1, 1, 1, 2, 4),  # crops more than there is
    ((), (), 1, "VALID", 1, 1, 1, 2, 5),
]
# An algorithm is the same in either precision, but for what it calls: float32 where each is tried
# once, and where lax was wrong.
IN_SINGLE = [GEOMETRIES[index] for index in (4, 8, 9, 14, 16, 22, -1)]


def execute_all(plans, operands, **options):
    """What each plan computes, all of them in one program: one compilation."""
    return jax.jit(lambda *a: [_selection.execute(plan, *a, **options) for plan in plans])(
        *operands
    )


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("slot", "xky")
@pytest.mark.usefixtures("float64")
def test_equal_direct(geometry, slot, normal):
    *spacing, c, o = geometry
    dtypes = ("float32", "float64") if geometry in IN_SINGLE else ("float64",)
    geometry = convolution_geometry("test", *spacing)
    problem = Problem(slot, geometry, 3, c, o)
    plans = algorithms.every_plan(problem)
    assert {plan.name for plan in plans} == set(algorithms.applicable(problem))
    arrays = {
        "x": normal((3, *geometry.input_size, c)),
        "k": normal((*geometry.window, c // geometry.groups, o)),
        "y": normal((3, *geometry.output_size, o)),
    }
    operands = [array for other, array in arrays.items() if other != slot]
    options = {"geometry": geometry, "precision": None}
    direct = jax.jit(
        partial(algorithms.ALGORITHMS["direct"][slot], **options, dtypes=(np.dtype("float64"),) * 3)
    )
    of_each_element = direct(*map(jnp.abs, operands))
    # In a Fourier basis each element is a sum over all frequencies of all products.
    of_the_norms = np.prod([np.linalg.norm(operand) for operand in operands])
    terms = max(operand.size for operand in operands)
    for dtype in map(np.dtype, dtypes):
        narrow = [np.asarray(operand).astype(dtype) for operand in operands]
        expected = direct(*(a.astype("float64") for a in narrow))
        results = execute_all(plans, narrow, slot=slot, **options, dtypes=(dtype,) * 3)
        for plan, actual in zip(plans, results, strict=True):
            assert actual.dtype == dtype
            magnitude = of_the_norms if plan.name == "fourier" else of_each_element
            bound = magnitude * np.finfo(dtype).eps / np.finfo(np.float64).eps
            wide = np.asarray(actual, np.float64)
            assert_within_rounding(wide, expected, bound, terms, f"{plan} {dtype}")


@pytest.mark.parametrize(("size", "window"), [(3, 2), (5, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.usefixtures("float64")
def test_axis_that_looks_like_one_of_groups(size, window, groups, normal):
    """At such a convolution XLA aborts the process, in lax as well."""
    x, kernel = normal((1, 2, size, 2)), normal((9, window, 2 // groups, 2))
    options = {
        "strides": (1, window - 1),
        "padding": ((12, 13), (0, 0)),
        "input_dilation": (2, window),
        "kernel_dilation": (3, 1),
        "feature_group_count": groups,
    }
    y = conv(x, kernel, **options)
    expected = reference.conv(np.asarray(x), np.asarray(kernel), **options)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("slot", "xky")
@pytest.mark.parametrize("index", [5, 8, 14], ids=lambda index: str(GEOMETRIES[index]))
def test_half_precision_is_added_up_in_single(index, slot, dtype, normal):
    """Asked for by name, every algorithm rounds once, where its result is written."""
    *spacing, c, o = GEOMETRIES[index]
    geometry = convolution_geometry("test", *spacing)
    shapes = {
        "x": (3, *geometry.input_size, c),
        "k": (*geometry.window, c // geometry.groups, o),
        "y": (3, *geometry.output_size, o),
    }
    operands = [normal(shape, dtype) for other, shape in shapes.items() if other != slot]
    single = [operand.astype("float32") for operand in operands]
    options = {"slot": slot, "geometry": geometry, "precision": "highest"}
    plans = algorithms.every_plan(Problem(slot, geometry, 3, c, o))
    direct = [plan for plan in plans if plan.name == "direct"]
    (exact,) = execute_all(direct, single, **options, dtypes=(np.dtype("float32"),) * 3)
    # What two orders of a float32 sum may differ by, and half a unit in the last place.
    of_the_norms = np.prod([np.linalg.norm(operand) for operand in single])
    bound = 2 * np.finfo(np.float32).eps * of_the_norms + jnp.finfo(dtype).eps / 2 * np.abs(exact)
    results = execute_all(plans, operands, **options, dtypes=(jnp.dtype(dtype),) * 3)
    for plan, actual in zip(plans, results, strict=True):
        assert actual.dtype == dtype
        assert jnp.all(np.abs(actual.astype("float32") - exact) <= bound), str(plan)


@pytest.mark.parametrize("geometries", [GEOMETRIES, IN_SINGLE], ids=["double", "single"])
@pytest.mark.parametrize("name", sorted(set(algorithms.ALGORITHMS) - {"direct"}))
def test_every_algorithm_is_tried_above(name, geometries):
    def applies(slot, geometry):
        *spacing, c, o = geometry
        spaced = convolution_geometry("test", *spacing)
        return not algorithms.why_not(name, Problem(slot, spaced, 3, c, o))

    slots = {slot for slot in "xky" for geometry in geometries if applies(slot, geometry)}
    assert slots == set(algorithms.ALGORITHMS[name])


@pytest.mark.parametrize(("n", "c", "o"), [(8, 3, 5), (8, 5, 3), (7, 5, 3)])
@pytest.mark.usefixtures("float64")
def test_halves_of_even_and_odd_lengths(n, c, o, normal):
    x, y, geometry = normal((n, c)), normal((n, o)), geometry_of((), ())
    options = {"geometry": geometry, "dtypes": (np.dtype("float64"),) * 3, "precision": None}
    k = algorithms.ALGORITHMS["halves"]["k"](x, y, **options)
    np.testing.assert_allclose(k, np.asarray(x).T @ np.asarray(y), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("n", [7, 12])  # with and without a rest
@pytest.mark.parametrize("slot", "xky")
def test_blocks_give_what_the_whole_gives(slot, n, normal, monkeypatch):
    geometry = geometry_of((6, 5), (3, 2))
    arrays = {"x": normal((n, 6, 5, 2), "float32"), "y": normal((n, 4, 4, 4), "float32")}
    arrays = {"x": arrays["x"], "k": normal((3, 2, 2, 4), "float32"), "y": arrays["y"]}
    operands = [a for s, a in arrays.items() if s != slot]
    options = {"geometry": geometry, "dtypes": (np.dtype("float32"),) * 3, "precision": None}
    corner = algorithms.ALGORITHMS["input_patches"][slot]
    whole = corner(*operands, **options)
    monkeypatch.setattr(_blocks, "NUMBERS", 500)  # 240 an example: blocks of 2
    program = jax.make_jaxpr(lambda *a: corner(*a, **options))(*operands)
    assert "scan" in str(program)
    np.testing.assert_allclose(corner(*operands, **options), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slot", "xky")
def test_there_is_a_plan_for_no_examples(slot):
    assert algorithms.plans(Problem(slot, geometry_of((6, 5), (3, 2)), 0, 2, 4))


def geometry_of(size, window, strides=1, padding="VALID", groups=1):
    return convolution_geometry("test", size, window, strides, padding, 1, 1, groups)


SELECTED = [  # as measured on two AVX-512 cores, from JAX 0.11 on
    ("k", geometry_of((28, 28), (5, 5)), (500, 1, 32), "strips"),
    ("x", geometry_of((28, 28), (5, 5)), (500, 1, 32), "strips"),
    ("y", geometry_of((28, 28), (5, 5)), (500, 1, 32), "direct"),
    ("k", geometry_of((28, 28), (10, 10)), (500, 1, 32), "strips"),
    ("k", geometry_of((12, 12), (5, 5)), (500, 32, 32), "direct"),
    ("x", geometry_of((12, 12), (5, 5)), (500, 32, 32), "input_depth"),
    ("y", geometry_of((12, 12), (5, 5)), (500, 32, 32), "direct"),
    ("y", geometry_of((7, 7), (3, 3), 1, "SAME"), (32, 512, 512), "input_depth"),
    ("k", geometry_of((32, 32), (3, 3), 1, "SAME"), (128, 64, 64), "split_patches"),
    ("x", geometry_of((56, 56), (3, 3), 2, "SAME"), (32, 64, 128), "input_patches"),
    ("x", geometry_of((64, 64), (16, 16), 16), (8, 3, 64), "tiles"),
    ("y", geometry_of((16, 16, 16), (3, 3, 3)), (4, 16, 32), "input_depth"),
    ("x", geometry_of((16, 16, 16), (3, 3, 3)), (4, 16, 32), "input_depth"),
    ("k", geometry_of((16, 16, 16), (3, 3, 3)), (4, 16, 32), "split_patches"),
    ("k", geometry_of((56, 56), (1, 1)), (8, 256, 64), "tiles"),
    ("y", geometry_of((32, 32), (3, 3), 1, "SAME"), (128, 64, 64), "direct"),
    ("x", geometry_of((32, 32), (3, 3), 1, "SAME"), (128, 64, 64), "direct"),
    ("y", geometry_of((32, 32), (3, 3)), (128, 64, 64), "direct"),
    ("y", geometry_of((32, 32), (3, 3), 1, "SAME"), (128, 3, 64), "taps"),
    ("y", geometry_of((32, 32, 32), (3, 3, 3), 1, "SAME"), (8, 1, 16), "taps"),
    ("y", geometry_of((14, 14), (3, 3), 1, "SAME"), (32, 256, 256), "direct"),
    ("y", geometry_of((64, 64), (16, 16), 4), (8, 32, 64), "direct"),
    ("x", geometry_of((224, 224), (7, 7), 2, "SAME"), (8, 3, 64), "input_patches"),
    ("k", geometry_of((32, 32, 32), (3, 3, 3), 1, "SAME"), (8, 1, 16), "input_patches"),
    ("k", geometry_of((56, 56), (7, 7), 1, "SAME", 96), (2, 96, 96), "taps"),
    ("y", geometry_of((56, 56), (1, 1)), (16, 256, 64), "tiles > pointwise"),
]

SELECTED_BEFORE = {  # what JAX 0.10 differs in, where YNNPACK is slow
    ("k", geometry_of((12, 12), (5, 5)), (500, 32, 32)): "split_patches",
    ("y", geometry_of((12, 12), (5, 5)), (500, 32, 32)): "widened",
    ("y", geometry_of((16, 16, 16), (3, 3, 3)), (4, 16, 32)): "input_depth > widened",
    ("y", geometry_of((32, 32), (3, 3), 1, "SAME"), (128, 64, 64)): "widened",
    ("x", geometry_of((32, 32), (3, 3), 1, "SAME"), (128, 64, 64)): "widened",
    ("y", geometry_of((32, 32), (3, 3)), (128, 64, 64)): "widened",
    ("y", geometry_of((64, 64), (16, 16), 4), (8, 32, 64)): "phases > widened",
    ("y", geometry_of((56, 56), (1, 1)), (16, 256, 64)): "tiles > direct",
}


@pytest.fixture
def costs_of_jax_0_10(monkeypatch):
    """Sets whether costs are those of JAX 0.10, whatever version is installed."""

    def set_to(old):
        monkeypatch.setattr(_costs, "IS_JAX_0_10", old)
        _selection.plans.cache_clear()

    yield set_to
    _selection.plans.cache_clear()


@pytest.mark.parametrize("old", [False, True], ids=["from 0.11", "0.10"])
@pytest.mark.parametrize(("slot", "geometry", "sizes", "expected"), SELECTED, ids=str)
def test_selection_follows_the_measurements(
    slot, geometry, sizes, expected, old, costs_of_jax_0_10
):
    costs_of_jax_0_10(old)
    if old:
        expected = SELECTED_BEFORE.get((slot, geometry, sizes), expected)
    plan = algorithms.plans(Problem(slot, geometry, *sizes))[0]
    assert expected in (plan.name, str(plan))


def test_costs_are_those_of_the_installed_version():
    assert _costs.IS_JAX_0_10 == jax.__version__.startswith("0.10.")


@pytest.mark.parametrize(("slot", "geometry", "sizes", "_"), SELECTED, ids=str)
def test_nothing_is_widened_where_ynnpack_is_fast(slot, geometry, sizes, _, costs_of_jax_0_10):
    costs_of_jax_0_10(False)
    problem = Problem(slot, geometry, *sizes)
    assert _costs.widened(problem) > _costs.direct(problem)
    assert not any("widened" in str(plan) for plan in algorithms.plans(problem)[:1])


def test_other_platforms_and_dtypes_run_the_direct_convolution(normal):
    def program(platform, dtype):
        k, y = normal((5, 5, 1, 32), dtype), normal((500, 24, 24, 32), dtype)
        geometry = geometry_of((28, 28), (5, 5))
        options = {"geometry": geometry, "dtypes": (k.dtype,) * 3, "precision": None}

        def corner(k, y):
            return algorithms.run("x", platform, k, y, **options)

        return str(jax.make_jaxpr(corner)(k, y))

    assert "conv_general_dilated" not in program("cpu", np.float32)
    assert "conv_general_dilated" in program("any", np.float32)
    assert "conv_general_dilated" in program("cpu", jnp.bfloat16)
