"""The kernels of depthwise layers for TPUs, interpreted, are the definition; so are plain forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import algorithms, reference
from jaxconv._spec import Slot
from jaxconv.algorithms import Problem, tpu
from jaxconv.algorithms.tpu import _depthwise
from tests.algorithms.problems import cases, geometry_of, operands_of, spec_of
from tests.oracles import assert_within_rounding

# Input, window, strides, padding, input dilation, kernel dilation; channels.
GEOMETRIES = [
    ((9, 8), (4, 3), (2, 3), ((1, 2), (-1, 1)), 1, (1, 2), 5),
    ((40,), (5,), 2, ((-3, 4),), 1, 3, 140),  # a signal; channels in two blocks
    ((5, 7), (4, 3), (1, 2), ((-1, 8), (3, 3)), (2, 3), (2, 1), 3),
    ((8, 9), (3, 4), 1, "FULL", 1, 1, 4),
    ((12, 70), (5, 3), 1, "SAME", 1, 1, 3),  # rows longer than a tile, in an incomplete tile
    ((5, 130), (2, 2), 1, ((3, 0), (0, 3)), 1, 1, 2),
]
EACH = cases([(case,) for case in GEOMETRIES[:2]], [(case,) for case in GEOMETRIES[2:]])
EXAMPLES = 3


def problem_of(case, slot=Slot.OUTPUT, n=EXAMPLES):
    *spacing, c = case
    return Problem(slot, geometry_of(*spacing, c), n, c, c)


def both(slot, spec, operands):
    """A contraction by its kernel and by its plain form."""
    kernel = jax.jit(partial(_depthwise.KERNELS[slot], spec=spec, interpret=True))
    return kernel(*operands), jax.jit(partial(_depthwise.PLAIN[slot], spec=spec))(*operands)


def definition(problem, first, second):
    geometry, spacing = problem.geometry, (problem.geometry.strides, problem.geometry.padding)
    first, second = (np.asarray(a, np.float64) for a in (first, second))
    options = {
        "input_dilation": geometry.input_dilation,
        "kernel_dilation": geometry.kernel_dilation,
        "feature_group_count": geometry.groups,
    }
    if problem.slot == Slot.OUTPUT:
        return reference.conv(first, second, *spacing, **options)
    if problem.slot == Slot.INPUT:
        size = {"output_shape": geometry.input_size}
        return reference.conv_transpose(second, first, *spacing, **size, **options)
    shape = (*geometry.window, 1, problem.c)
    return reference.conv_kernel_vjp(first, second, shape, *spacing, **options)


@pytest.mark.parametrize("slot", Slot)
def test_only_tpus_run_the_kernel(slot, normal):
    problem = problem_of(GEOMETRIES[0], slot)
    operands = operands_of(problem, normal, "float32")
    spec = spec_of(problem.geometry, "float32")
    algorithm = tpu.CATALOGUE.algorithms["depthwise"]
    traced = jax.make_jaxpr(lambda *a: algorithm.run(slot, spec, *a, solve=None))(*operands)
    (params,) = (e.params for e in traced.eqns if "kernel" in e.params)
    assert params["platform"] == "tpu"
    assert params["kernel"] is _depthwise.KERNELS[slot]
    assert params["plain"] is _depthwise.PLAIN[slot]
    assert dict(params["static"]) == {"spec": spec}
    ((shape, _),) = params["results"]
    assert shape == spec.shape_of(slot, *(a.shape for a in operands))
    in_order = traced.jaxpr.eqns[-1]
    assert list(in_order.invars) == list(traced.jaxpr.invars)


@pytest.mark.parametrize("case", EACH)
@pytest.mark.parametrize("slot", Slot)
def test_is_the_definition(case, slot, normal):
    problem = problem_of(case, slot)
    assert not tpu.CATALOGUE.algorithms["depthwise"].refusal(problem)
    operands = operands_of(problem, normal, "float32")
    exact, magnitude = definition(problem, *operands), definition(problem, *map(np.abs, operands))
    bound = magnitude * np.finfo(np.float32).eps / np.finfo(np.float64).eps
    results = both(slot, spec_of(problem.geometry, "float32"), operands)
    for name, actual in zip(("kernel", "plain"), results, strict=True):
        assert actual.dtype == np.float32
        terms = max(operand.size for operand in operands)
        assert_within_rounding(np.asarray(actual, np.float64), exact, bound, terms, name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("slot", Slot)
def test_half_precision_is_added_up_in_single(slot, dtype, normal):
    problem = problem_of(GEOMETRIES[0], slot)
    operands = operands_of(problem, normal, dtype)
    exact, magnitude = definition(problem, *operands), definition(problem, *map(np.abs, operands))
    bound = jnp.finfo(dtype).eps / 2 * np.abs(exact) + 4 * np.finfo(np.float32).eps * magnitude
    actual, _ = both(slot, spec_of(problem.geometry, jnp.dtype(dtype)), operands)
    assert actual.dtype == dtype
    assert np.all(np.abs(np.asarray(actual, np.float64) - exact) <= bound)


@pytest.mark.parametrize("slot", Slot)
def test_blocks_of_several_examples(slot, normal, monkeypatch):
    """Five examples in blocks of two: the last block has one, and the memory behind is not read."""
    monkeypatch.setattr(_depthwise, "BLOCK", 2 * 9 * 8 * _depthwise.LANES * 4)
    problem = problem_of(GEOMETRIES[0], slot, n=5)
    assert _depthwise._grid(problem)[1][0] == 2
    operands = operands_of(problem, normal, "float32")
    kernel, plain = both(slot, spec_of(problem.geometry, "float32"), operands)
    np.testing.assert_allclose(kernel, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("slot", [Slot.OUTPUT, Slot.KERNEL])
def test_several_tiles(slot, normal, monkeypatch):
    """Rows and columns of tiles, of which the last ones are smaller."""
    monkeypatch.setattr(_depthwise, "LONGEST", _depthwise.SUBLANES)
    monkeypatch.setattr(_depthwise, "REGISTERS", 2)
    problem = problem_of(((6, 22), (2, 2), 1, "VALID", 1, 1, 2), slot, n=1)
    operands = operands_of(problem, normal, "float32")
    kernel, plain = both(slot, spec_of(problem.geometry, "float32"), operands)
    np.testing.assert_allclose(kernel, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (5, 64), (5, 65), (24, 8), (25, 8), (50, 200), (7, 128)])
def test_tiles_cover_an_array_once(size):
    covered = np.zeros(size, int)

    def body(row, column, height, width):
        covered[row : row + height, column : column + width] += 1
        assert width <= _depthwise.LONGEST
        registers = -(-width // _depthwise.SUBLANES) * height
        assert registers <= _depthwise.REGISTERS
        assert (height, width) <= size

    with jax.disable_jit():
        _depthwise._for_tiles(size, body)
    assert (covered == 1).all()


@pytest.mark.parametrize("slot", Slot)
def test_an_infinity_reaches_its_own_channel_only(slot, normal):
    problem = problem_of(GEOMETRIES[1], slot)
    first, second = operands_of(problem, normal, "float32")
    second = second.at[..., 3].set(jnp.inf)
    kernel, _ = both(slot, spec_of(problem.geometry, "float32"), (first, second))
    assert np.isfinite(np.delete(kernel, 3, axis=-1)).all()
    assert not np.isfinite(kernel[..., 3]).all()


def test_an_infinity_reaches_the_outputs_of_its_windows_only(normal):
    problem = problem_of(GEOMETRIES[3])
    x, k = operands_of(problem, normal, "float32")
    x = x.at[1, 3, 4, 2].set(jnp.inf)
    kernel, _ = both(Slot.OUTPUT, spec_of(problem.geometry, "float32"), (x, k))
    exact = definition(problem, x, k)
    assert (np.isfinite(kernel) == np.isfinite(exact)).all()


WRONG = {
    "spatial axes": ((5, 5, 5), (3, 3, 3), 1, "VALID", 1, 1, 64, 64, 64),
    "more than one channel": ((9, 9), (3, 3), 1, "VALID", 1, 1, 64, 64, 128),
    "taps to unroll": ((30, 30), (12, 12), 1, "VALID", 1, 1, 64, 64, 64),
    "MiB": ((224, 224), (3, 3), 1, "SAME", 1, 1, 64, 64, 64),
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_they_are_not_for(reason):
    *spacing, c, o = WRONG[reason]
    problem = Problem(Slot.OUTPUT, geometry_of(*spacing), EXAMPLES, c, o)
    assert reason in tpu.CATALOGUE.algorithms["depthwise"].refusal(problem)
    assert tpu.choose(problem, "tpu").plan.name == "direct"


def test_the_memory_of_a_block_is_counted():
    """Two maps twice, one padded map and its output, and twice the sums, in float32."""
    problem = problem_of(((9, 20), (3, 5), (1, 2), ((1, 1), (4, 0)), 1, 1, 5))
    of_input, of_output = 9 * 32, 9 * 16  # columns are rounded up to 16
    # 16 windows of a row see 2·15 + 5 columns.
    whole, bars = 11 * 48, 9 * 16
    for examples in (1, 3):
        words = 2 * examples * (of_input + of_output) + whole + bars + 2 * 15 * 8
        assert _depthwise._memory(problem, examples) == 4 * 128 * words


def test_an_example_that_does_not_fit_is_left_to_the_plain_form():
    """Its copies, and not only its padded map, take memory."""
    said = {}
    for side in range(56, 100, 4):
        problem = problem_of(((side, side), (3, 3), 1, "SAME", 1, 1, 64))
        memory = _depthwise._memory(problem, examples=1)
        refused = tpu.CATALOGUE.algorithms["depthwise"].refusal(problem)
        assert bool(refused) == (memory > 12 * 2**20), side
        said[bool(refused)] = side
    assert set(said) == {False, True}


@pytest.mark.parametrize(
    ("n", "side", "examples"), [(100, 8, 32), (100, 14, 10), (4, 8, 4), (9, 80, 1)]
)
def test_how_many_examples_a_block_has(n, side, examples):
    """As many as fill a mebibyte, and as fit."""
    for c, channels in ((64, 64), (256, 128), (300, 128)):
        problem = problem_of(((side, side), (3, 3), 1, "SAME", 1, 1, c), n=n)
        grid, block = _depthwise._grid(problem)
        assert block == (examples, channels)
        assert grid == (-(-c // channels), -(-n // examples))


def test_are_chosen_on_tpus_where_channels_and_columns_fill_registers():
    chosen = {(3, 14, 64), (3, 16, 96), (16, 16, 256)}
    others = {(3, 14, 32), (16, 14, 64)}  # few channels; examples fill registers better
    for n, side, c in chosen | others:
        problem = problem_of(((side, side), (3, 3), 1, "SAME", 1, 1, c), n=n)
        expected = "depthwise" if (n, side, c) in chosen else "direct"
        assert tpu.choose(problem, "tpu").plan.name == expected
        assert tpu.choose(problem, "another").plan.name == "direct"


@pytest.mark.parametrize(
    ("size", "window", "strides", "chosen"),
    [
        ((15, 14), (3, 3), 1, True),  # columns of 14 waste an eighth, as 7 examples do
        ((14, 9), (3, 3), 1, False),  # nine columns take two registers
        ((9, 14), (3, 3), 1, True),  # rows are no columns
        ((14, 16), (3, 3), 2, True),
        ((14, 24), (3, 3), 2, False),  # twelve columns of outputs
        ((14, 14), (12, 12), 1, False),  # more taps than are unrolled
        ((16,), (3,), 1, True),
        ((9,), (3,), 1, False),
    ],
)
def test_columns_of_both_maps_fill_registers(size, window, strides, chosen):
    problem = problem_of((size, window, strides, "SAME", 1, 1, 64), n=7)
    assert _depthwise.suits(problem) == chosen


def test_impl_asks_for_them_and_avoids_them():
    problem = problem_of(((14, 14), (3, 3), 1, "SAME", 1, 1, 64))
    for name in ("depthwise", "direct"):
        spec = spec_of(problem.geometry, "float32", impl=name)
        assert algorithms.choose(problem, "tpu", spec).plan.name == name


def test_impl_falls_back_to_the_plain_form(normal):
    """The algorithm of this name for GPUs has channel multipliers; the kernels have none."""
    problem = problem_of(GEOMETRIES[0])._replace(o=10)
    assert not algorithms.why_not("depthwise", problem)
    operands = operands_of(problem, normal, "float32")
    spec = spec_of(problem.geometry, "float32", impl="depthwise")
    asked = algorithms.run(Slot.OUTPUT, "tpu", spec, *operands)
    np.testing.assert_allclose(asked, _depthwise.PLAIN[Slot.OUTPUT](*operands, spec=spec))
