"""The geometries that are tried for a convolution or a pool, their names, and their results.

Covers jaxconv/verify/diagnosis/_grids.py, jaxconv/verify/diagnosis/_sliding.py.
"""

from dataclasses import replace
from itertools import product

import jax
import numpy as np
import pytest
from jax import lax

from jaxconv.verify import _constants
from jaxconv.verify.diagnosis import _geometry_slips
from jaxconv.verify.diagnosis._geometry_slips import geometries, geometry_slips, slides_of
from jaxconv.verify.diagnosis._grids import Grid
from jaxconv.verify.diagnosis._sliding import compute, slide_of

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


def line(i, r, p, *, s=1, lo=0, e=1, d=1):
    """A grid of one axis."""
    return Grid(*((n,) for n in (i, r, p, s, lo, e, d)))


SAME = line(7, 3, 4, s=2, lo=1)
PLANE = Grid((5, 4), (3, 2), (4, 5), (2, 1), (1, 0), (1, 1), (1, 2), groups=2)
SPACED = line(4, 3, 5, s=2, lo=3, e=3, d=2)


def meetings(g):
    """The triples (i, r, p) that meet on each axis, by equation (1) of `_grids`."""
    found = []
    for i, r, p, s, lo, e, d in g.axes():
        places = product(range(i), range(r), range(p))
        found.append({(a, b, c) for a, b, c in places if e * a + lo == s * c + d * b})
    return found


@pytest.mark.parametrize("g", [SAME, PLANE, SPACED, line(3, 2, 4, lo=-1)])
def test_forms_of_a_grid_have_the_same_meetings(g):
    back, across = g.transposed(), g.correlated()
    for own, of_back, of_across, r in zip(
        meetings(g), meetings(back), meetings(across), g.window, strict=True
    ):
        assert own
        assert of_back == {(p, r - 1 - k, i) for i, k, p in own}
        assert of_across == {(i, p, k) for i, k, p in own}
    assert (back.input_size, back.window, back.output_size) == (
        g.output_size,
        g.window,
        g.input_size,
    )
    assert (across.input_size, across.window, across.output_size) == (
        g.input_size,
        g.output_size,
        g.window,
    )
    assert back.transposed() == across.correlated() == g
    assert back.groups == across.groups == g.groups
    assert g.rank == len(g.window)


@pytest.mark.parametrize("is_lower", [False, True])
def test_same_padding_is_that_of_lax(is_lower):
    name = "SAME_LOWER" if is_lower else "SAME"
    for i, r, s, e, d in product((1, 5, 8), (1, 2, 3, 4), (1, 2, 3), (1, 2), (1, 2)):
        padding = lax.padtype_to_pads((e * (i - 1) + 1,), (d * (r - 1) + 1,), (s,), name)
        assert line(i, r, 1, s=s, e=e, d=d).same(is_lower) == (padding[0][0],)


# A grid, and each geometry that is tried as strides, low padding, input and kernel dilation.
ONE_AXIS = [
    (
        SAME,
        {
            # Strides and dilations exchanged; the padding stays, is that of "SAME", or that of the
            # transpose.
            "stride taken for dilation": [
                *[(1, 1, 1, 2), (1, 2, 1, 2), (1, 1, 2, 1), (1, 3, 1, 2), (1, 2, 2, 1)]
            ],
            "wrong padding": [(2, 1, 1, 1), (2, 3, 1, 1), (2, -1, 1, 1)],
            "padding off by one": [(2, 2, 1, 1), (2, 0, 1, 1)],
            "wrong stride": [(1, 1, 1, 1), (3, 1, 1, 1), (2, 1, 2, 1)],
            "wrong dilation": [(2, 1, 1, 2), (2, 2, 1, 2), (2, 3, 1, 2)],
        },
    ),
    (
        line(5, 3, 3),
        {
            "wrong padding": [(1, 0, 1, 1), (1, 2, 1, 1), (1, -2, 1, 1)],
            "padding off by one": [(1, 1, 1, 1), (1, -1, 1, 1)],
            "wrong stride": [(2, 0, 1, 1), (1, 0, 2, 1)],
            "wrong dilation": [(1, 0, 1, 2), (1, 2, 1, 2)],
        },
    ),
]

NAMES = ("strides", "low", "input_dilation", "kernel_dilation")


def values(g):
    return tuple(getattr(g, name) for name in NAMES)


def tried(g, *is_correlation):
    """Each geometry once, with its slip and its words."""
    found = {}
    for slip, what, new in geometries(g, *is_correlation):
        assert replace(new, **dict(zip(NAMES, values(g), strict=True))) == g  # the same sizes
        assert found.setdefault(new, (slip, what)) == (slip, what)
    return found


@pytest.mark.parametrize(("g", "expected"), ONE_AXIS)
@pytest.mark.parametrize("is_correlation", [False, True])
def test_geometries_of_one_axis(g, expected, is_correlation):
    found = {}
    for new, (slip, _) in tried(g, is_correlation).items():
        found.setdefault(slip, []).append(tuple(n for (n,) in values(new)))
    if is_correlation:  # its strides are the dilation of the forward pass, and the other way round
        assert set(found["wrong dilation"]) == {
            g for g in expected["wrong stride"] if g[2] == 1 and g[3] == 1
        }
        assert set(found["wrong stride"]) == {
            *(g for g in expected["wrong stride"] if g[2] > 1),
            *expected["wrong dilation"],
        }
        found |= {name: expected[name] for name in ("wrong dilation", "wrong stride")}
    assert found == expected


def test_strides_are_off_by_one_in_both_directions():
    strides = {new.strides for new in tried(line(9, 2, 3, s=3)) if new.kernel_dilation == (1,)}
    assert strides == {(1,), (2,), (3,), (4,)}


def test_a_window_larger_than_the_result_is_a_correlation():
    """The result of a correlation is the kernel, and its window the result."""
    of = {new: slip for new, (slip, _) in tried(line(7, 4, 3, s=2)).items()}
    assert of[line(7, 4, 3, s=1)] == "wrong dilation"
    of = {new: slip for new, (slip, _) in tried(line(7, 4, 4, s=2)).items()}
    assert of[line(7, 4, 4, s=1)] == "wrong stride"


# What is tried for two axes: the words, and the values that are not those of `PLANE`.
TWO_AXES = {
    ((2, 1), (1, 0), (1, 1), (1, 2)): ("wrong padding", "padding moved by (0, 0)"),
    ((1, 2), (1, 0), (1, 1), (2, 1)): (
        "stride taken for dilation",
        "strides (1, 2) in place of (2, 1), kernel dilation (2, 1) in place of (1, 2)",
    ),
    ((2, 1), (1, 0), (1, 2), (1, 1)): (
        "stride taken for dilation",
        "input dilation (1, 2) in place of (1, 1), kernel dilation (1, 1) in place of (1, 2)",
    ),
    ((1, 1), (1, 0), (2, 1), (1, 2)): (
        "stride taken for dilation",
        "strides (1, 1) in place of (2, 1), input dilation (2, 1) in place of (1, 1)",
    ),
    ((1, 2), (1, 0), (1, 1), (1, 2)): (
        "options of two axes exchanged",
        "strides (1, 2) in place of (2, 1)",
    ),
    ((2, 1), (1, 0), (1, 1), (2, 1)): (
        "options of two axes exchanged",
        "kernel dilation (2, 1) in place of (1, 2)",
    ),
    ((2, 1), (0, 1), (1, 1), (1, 2)): ("padding off by one", "padding moved by (-1, 1)"),
    ((2, 1), (3, 2), (1, 1), (1, 2)): ("wrong padding", "padding moved by (2, 2)"),
    ((2, 1), (1, 1), (1, 1), (1, 2)): ("padding off by one", "padding moved by (0, 1)"),
    ((2, 1), (-1, 0), (1, 1), (1, 2)): ("wrong padding", "padding moved by (-2, 0)"),
    # That of "SAME_LOWER" of the transpose, seen from the forward pass.
    ((2, 1), (3, 1), (1, 1), (1, 2)): ("wrong padding", "padding moved by (2, 1)"),
    ((3, 2), (1, 0), (1, 1), (1, 2)): ("wrong stride", "strides (3, 2) in place of (2, 1)"),
    ((3, 1), (1, 0), (1, 1), (1, 2)): ("wrong stride", "strides (3, 1) in place of (2, 1)"),
    ((1, 1), (1, 0), (1, 1), (1, 2)): ("wrong stride", "strides (1, 1) in place of (2, 1)"),
    ((2, 1), (1, 0), (1, 2), (1, 2)): ("wrong stride", "input dilation (1, 2) in place of (1, 1)"),
    ((2, 1), (1, 0), (1, 1), (1, 1)): (
        "wrong dilation",
        "kernel dilation (1, 1) in place of (1, 2)",
    ),
    ((2, 1), (1, -1), (1, 1), (1, 1)): (
        "wrong dilation",
        "kernel dilation (1, 1) in place of (1, 2)",
    ),
    ((2, 1), (1, 0), (1, 1), (2, 3)): (
        "wrong dilation",
        "kernel dilation (2, 3) in place of (1, 2)",
    ),
}


def test_geometries_of_two_axes():
    found = {values(new): said for new, said in tried(PLANE).items()}
    for those, (slip, what) in TWO_AXES.items():
        said = what.replace("padding moved", "the padding of a convolution or pool moved")
        said = said if "padding" in said else f"{said} of a convolution or pool"
        assert found[those] == (slip, said)
    assert len(found) == 39
    assert all(min(s + e + d) >= 1 for s, _, e, d in found)


# Results


def slid(x, kernel, g):
    """Equation (1) of `_sliding` for one spatial axis, as loops."""
    ((i, r, p, s, lo, e, d),) = g.axes()
    c_in, c_out = kernel.shape[1], kernel.shape[2]
    y = np.zeros((len(x), p, c_out))
    for at, k, o in product(range(p), range(r), range(c_out)):
        place = s * at + d * k - lo
        if place % e == 0 and 0 <= place // e < i:
            first = o // (c_out // g.groups) * c_in
            y[:, at, o] += x[:, place // e, first : first + c_in] @ kernel[k, :, o]
    return y


@pytest.mark.parametrize(
    "g",
    [
        *(SAME, SPACED, line(6, 2, 3, lo=-2, e=2), line(6, 3, 2, lo=1, e=3, d=2, s=2)),
        *(line(5, 2, 9, s=2, lo=4), line(5, 1, 2, lo=9), line(5, 1, 2, lo=-9)),
    ],
)
def test_a_kernel_slides_as_defined(g, normal):
    x, k = np.asarray(normal((2, *g.input_size, 3))), np.asarray(normal((*g.window, 3, 2)))
    np.testing.assert_allclose(compute(x, k, g), slid(x, k, g), rtol=1e-12, atol=1e-12)


class Equations:
    """The equations of a function in place of a `TrueRule`; a result is what it is changed to."""

    def __init__(self, f, args, cotangents=None):
        traced = jax.make_jaxpr(f)(*args)
        self.live, variables = traced.jaxpr.eqns, traced.jaxpr.invars
        self.values = dict(zip(variables, args, strict=True))
        self.cotangents = variables if cotangents is None else [variables[i] for i in cotangents]
        self.asked, producers = [], {v: e for e in self.live for v in e.outvars}
        for equation in self.live:
            if slide := slide_of(equation, producers):
                operands = slide.operands(*(self.values[v] for v in slide.sources))
                y = compute(*operands, slide.geometry, slide.batch_groups)
                self.values[equation.outvars[0]] = slide.result(y)

    def depends(self, variables):
        found = set(variables)
        for e in self.live:
            if found.intersection(v for v in e.invars if not hasattr(v, "val")):
                found.update(e.outvars)
        return found

    def __call__(self, changed):
        ((_, result),) = changed.items()
        return result


def _conv(strides, **options):
    return lambda x, k: lax.conv_general_dilated(
        x, k, (strides,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"), **options
    )


def unlike(g, *is_correlation):
    """The geometries that are tried, without those that are the same as another or as `g`."""
    seen = {values(g)}
    for slip, what, new in geometries(g, *is_correlation):
        if values(new) not in seen:
            seen.add(values(new))
            yield slip, what, new


@pytest.mark.parametrize("groups", [1, 2])
def test_results_of_a_convolution(groups, normal):
    x, k = np.asarray(normal((2, 7, 4))), np.asarray(normal((3, 4 // groups, 6)))
    found = list(geometry_slips(Equations(_conv(2, feature_group_count=groups), (x, k), [0])))
    g = replace(SAME, groups=groups)
    expected = [(slip, what, slid(x, k, new)) for slip, what, new in unlike(g)]
    if groups > 1:
        alone, halves = replace(g, groups=1), np.split(k, 2, axis=-1)
        everywhere = np.concatenate(
            [slid(x, np.concatenate([half] * 2, 1), alone) for half in halves], -1
        )
        # The blocks of both groups side by side, each for all outputs.
        blocks = np.concatenate([np.concatenate([half] * 2, -1) for half in halves], 1)
        what = "no groups, the kernel repeated"
        expected += [("groups ignored", what, everywhere)]
        expected += [("groups ignored", what, slid(x, blocks, alone))]
        what = "the first group's channels for all"
        expected += [("groups ignored", what, slid(x[..., :2], k, alone))]
    assert_same(found, expected)


def test_kernel_of_a_correlation_comes_from_the_cotangent(normal):
    """It then has the names of a correlation."""
    x, k = np.asarray(normal((1, 7, 2))), np.asarray(normal((3, 2, 1)))
    for cotangents, is_correlation in (([0], False), ([1], True)):
        found = geometry_slips(Equations(_conv(2), (x, k), cotangents))
        expected = [
            (slip, what, slid(x, k, new)) for slip, what, new in unlike(SAME, is_correlation)
        ]
        assert_same(list(found), expected)


def test_groups_of_examples(normal):
    x, k = np.asarray(normal((4, 7, 3))), np.asarray(normal((3, 3, 2)))
    found = list(geometry_slips(Equations(_conv(2, batch_group_count=2), (x, k), [0])))
    expected = [
        (
            slip,
            what,
            np.concatenate([slid(x[:2], k[..., :1], new), slid(x[2:], k[..., 1:], new)], -1),
        )
        for slip, what, new in unlike(SAME)
    ]
    expected += [
        ("groups ignored", "no groups", slid(part, k, SAME)) for part in (x[:2] + x[2:], x[:2])
    ]
    assert_same(found, expected)


@pytest.mark.parametrize(("window", "others"), [(3, (4, 2)), (2, (3, 1)), (1, (2,))])
def test_results_of_a_pool(window, others, normal):
    x, one = np.asarray(normal((2, 7, 1))), np.ones((window, 1, 1))
    grid = replace(SAME, window=(window,), low=(window // 3,))

    def pool(x):
        return lax.reduce_window(x, 0.0, lax.add, (1, window, 1), (1, 2, 1), "SAME")

    found = list(geometry_slips(Equations(pool, (x,))))
    expected = [(slip, what, slid(x, one, new)) for slip, what, new in unlike(grid)]
    for form in (lambda g: g, Grid.transposed):  # the padding is that of the forward pass or not
        for r in others:
            g = form(replace(form(grid), window=(r,)))
            y = slid(x, np.ones((r, 1, 1)), g)
            what = f"a window of ({r},) in place of ({window},)"
            expected += [("wrong window", what, y)]
            expected += [("wrong window", f"{what}, and its mean", y * window / r)]
    assert_same(found[: len(expected)], expected)
    counts = np.zeros(7)
    for _, _, at in meetings(grid.transposed())[0]:
        counts[at] += 1
    share = counts[None, :, None] / window
    rest = [
        ("padding counted in the mean", "all taps counted", slid(x * share, one, grid)),
        (
            "padding not counted in the mean",
            "taps on the map counted",
            slid(np.where(share, x / np.where(share, share, 1), 0), one, grid),
        ),
    ]
    assert_same(found[len(expected) :], rest)


def test_means_of_windows_beside_the_map(normal):
    """A window without a tap on the map gives nothing, whatever is counted."""
    x = np.asarray(normal((1, 2, 5, 3)))

    def transposed_pool(x):
        padded = lax.pad(x, 0.0, ((0, 0, 0), (4, 4, 0), (1, 0, 0), (0, 0, 0)))
        return lax.reduce_window(padded, 0.0, lax.add, (1, 2, 3, 1), (1, 1, 1, 1), "VALID")

    found = {slip: y for slip, _, y in geometry_slips(Equations(transposed_pool, (x,)))}
    g = Grid((2, 5), (2, 3), (9, 4), (1, 1), (4, 1), (1, 1), (1, 1))
    ((i, _, p, *_), (j, _, q, *_)) = g.axes()
    rows, columns = (np.zeros(n) for n in (i, j))
    for (at, *_), counts in [
        *((found, rows) for found in meetings(g)[0]),
        *((found, columns) for found in meetings(g)[1]),
    ]:
        counts[at] += 1
    share = np.outer(rows, columns)[None, ..., None] / 6
    for slip, changed in (
        ("padding counted in the mean", x * share),
        ("padding not counted in the mean", np.where(share, x / share, 0)),
    ):
        examples = changed.transpose(0, 3, 1, 2).reshape(3, 2, 5, 1)
        y = compute(examples, np.ones((2, 3, 1, 1)), g).reshape(1, 3, 9, 4)
        np.testing.assert_allclose(found[slip], y.transpose(0, 2, 3, 1), rtol=1e-12)


def assert_same(found, expected):
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    for (_, what, actual), (*_, wanted) in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12, err_msg=what)


# Which equations are changed


def test_convolutions_of_the_function_itself_are_left_alone(normal):
    x, k, w = (np.asarray(normal(shape)) for shape in ((1, 7, 2), (3, 2, 2), (1, 7, 2)))

    def f(x, k, w):
        return _conv(1)(x, k), _conv(1)(w, k)

    program = Equations(f, (x, k, w), [2])
    (slide,) = slides_of(program, program.depends(program.cotangents))
    assert slide.equation is program.live[1]


@pytest.mark.parametrize("count", [_constants.SLIP_CONVOLUTIONS, _constants.SLIP_CONVOLUTIONS + 1])
def test_few_equations_are_changed(count, normal):
    x, k = np.asarray(normal((1, 3, 1))), np.asarray(normal((2, 1, 1)))

    def f(x, k):
        for _ in range(count):
            x = _conv(1)(x, k)
        return x

    program = Equations(f, (x, k))
    assert len(slides_of(program, program.depends(program.cotangents))) == count
    assert bool(list(geometry_slips(program))) == (count == _constants.SLIP_CONVOLUTIONS)


def test_equations_that_are_not_understood_or_large_are_left_alone(normal, monkeypatch):
    x, k = np.asarray(normal((1, 7, 2))), np.asarray(normal((3, 2, 2)))
    program = Equations(_conv(1), (x, k))
    everything = program.depends(program.cotangents)
    (result,) = program.live[0].outvars

    def are_found():
        return len(slides_of(program, everything)) == 1

    assert are_found()
    for name, most in (("SLIP_NUMBERS", 14), ("SLIP_PRODUCTS", 7 * 12)):
        monkeypatch.setattr(_constants, name, most)
        assert are_found()
        monkeypatch.setattr(_constants, name, most - 1)
        assert not are_found()
        monkeypatch.undo()
    program.values[result] = program.values[result] * (1 + 1e-8)
    assert not are_found()
    program.values[result] = program.values[result][:, :6]
    assert not are_found()
    del program.values[program.live[0].invars[0]]
    assert not are_found()
    for shape in ((0, 7, 2), (1, 7, 0)):  # nothing to change
        empty = Equations(_conv(1), (np.ones(shape), np.ones((3, shape[-1], 2))))
        assert not slides_of(empty, empty.depends(empty.cotangents))


@pytest.mark.parametrize(
    ("low", "same"),
    [
        (1, {False}),  # that of "SAME", of a total of three
        (2, {True}),  # that of "SAME_LOWER"
        (0, set()),
    ],
)
def test_padding_by_name_is_that_of_the_changed_geometry(low, same):
    g = line(8, 5, 4, s=2, lo=low)
    assert (g.same(False), g.same(True)) == ((1,), (2,))
    wider, moved = replace(g, kernel_dilation=(2,)), replace(g, low=(7,))
    found = list(_geometry_slips._each_padding(g, [wider, moved]))
    named = [replace(wider, low=wider.same(is_lower)) for is_lower in same]
    assert found == [wider, *named, moved]  # a padding that moved itself keeps its place
    both = line(8, 4, 4, s=2, lo=1)  # an even total: the two are the same
    assert both.same(False) == both.same(True) == (1,)
    wider = replace(both, kernel_dilation=(2,))
    assert list(_geometry_slips._each_padding(both, [wider]))[1] == replace(
        wider, low=wider.same(False)
    )


def test_paddings_that_are_tried():
    g = line(8, 5, 4, s=2, lo=7)
    lows = [new.low for new in _geometry_slips._moved_padding(g)]
    assert lows == [(8,), (6,), (9,), (5,), (0,), (1,), (2,)]
