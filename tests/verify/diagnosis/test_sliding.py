"""A kernel that slides over a map gives in NumPy what each equation gives in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxconv
from jaxconv.verify.diagnosis._grids import Grid
from jaxconv.verify.diagnosis._sliding import compute, slide_of
from jaxconv.verify.program._wide import equations

pytestmark = pytest.mark.usefixtures("float64")


def _lax(numbers=None, **options):
    strides, padding = options.pop("strides", (1, 1)), options.pop("padding", "SAME")
    return lambda x, k: lax.conv_general_dilated(
        x, k, strides, padding, dimension_numbers=numbers, **options
    )


def _windows(dims, strides, padding, **options):
    return lambda x: lax.reduce_window(x, 0.0, lax.add, dims, strides, padding, **options)


# A function, the shapes of its arguments, and how many equations slide in it and its gradient.
CASES = {
    "lax": (
        _lax(strides=(2, 1), padding=((2, 0), (-1, 3)), lhs_dilation=(1, 2), rhs_dilation=(2, 1)),
        ((2, 3, 6, 5), (4, 3, 3, 2)),
        3,
    ),
    "lax, channels last, groups": (
        _lax(("NHWC", "HWIO", "NHWC"), feature_group_count=2, rhs_dilation=(2, 2)),
        ((2, 5, 6, 4), (3, 3, 2, 6)),
        3,
    ),
    "lax, groups of examples": (
        _lax(("HWNC", "OIHW", "NHWC"), batch_group_count=2, strides=(2, 2)),
        ((5, 6, 4, 3), (4, 3, 3, 3)),
        3,
    ),
    "lax, a line": (
        lambda x, k: lax.conv_general_dilated(
            jnp.pad(x, ((0, 0), (0, 0), (2, 1))), k, (3,), "VALID"
        ),
        ((2, 3, 9), (4, 3, 2)),
        3,
    ),
    "jaxconv": (
        lambda x, k: jaxconv.conv(x, k, (2, 1), ((2, 0), (1, 3)), kernel_dilation=(1, 2)),
        ((2, 6, 5, 3), (3, 2, 3, 4)),
        3,
    ),
    "jaxconv, groups": (
        lambda x, k: jaxconv.conv(x, k, 2, "SAME", input_dilation=3, feature_group_count=2),
        ((2, 5, 5, 4), (3, 3, 2, 6)),
        3,
    ),
    "jaxconv, three axes": (
        lambda x, k: jaxconv.conv(x, k, 2, "CAUSAL"),
        ((1, 3, 4, 5, 2), (2, 2, 2, 2, 3)),
        3,
    ),
    "jaxconv, transposed": (
        lambda x, k: jaxconv.conv_transpose(x, k, 2, 1, output_padding=1, feature_group_count=2),
        ((2, 4, 3, 4), (3, 3, 3, 4)),
        3,
    ),
    "jaxconv, for lax": (
        lambda x, k: jaxconv.conv_general_dilated(x, k, (2, 2), "SAME", batch_group_count=2),
        ((4, 3, 6, 6), (4, 3, 3, 3)),
        3,
    ),
    "window sum": (
        _windows((1, 3, 2, 1), (1, 2, 1, 1), ((0, 0), (1, 1), (0, 1), (0, 0))),
        ((2, 6, 5, 3),),
        2,
    ),
    "window sum over channels": (
        lambda x: _windows(
            (1, 1, 2), (1, 1, 1), ((0, 0), (0, 0), (1, 0)), window_dilation=(1, 1, 2)
        )(jnp.pad(x, ((0, 0), (0, 0), (2, 1)))),
        ((2, 3, 7),),
        2,
    ),
    "sum_pool": (lambda x: jaxconv.sum_pool(x, (3, 2), (2, 1), 1), ((2, 6, 5, 3),), 2),
    "avg_pool": (
        lambda x: jaxconv.avg_pool(x, 3, 2, "SAME", window_dilation=2, ceil_mode=True),
        ((2, 7, 8, 3),),
        2,
    ),
    "upscale": (lambda x: jaxconv.upscale(x, (2, 3)), ((2, 3, 4, 2),), 2),
}


@pytest.mark.parametrize("name", CASES)
def test_equals_the_equation(name, normal):
    f, shapes, count = CASES[name]
    args = [normal(shape) for shape in shapes]

    def both(*args):
        y, pull = jax.vjp(f, *args)
        return y, *pull(jnp.cos(y))

    traced = jax.make_jaxpr(both)(*args)
    found = list(equations(traced))
    producers = {v: e for e in found for v in e.outvars}
    values = _values(traced, args)
    slides = [slide for slide in (slide_of(e, producers) for e in found) if slide is not None]
    assert len(slides) == count
    for slide in slides:
        operands = slide.operands(*(np.asarray(values[v]) for v in slide.sources))
        actual = slide.result(compute(*operands, slide.geometry, slide.batch_groups))
        np.testing.assert_allclose(actual, values[slide.equation.outvars[0]], atol=1e-12)


# A function, the shapes of its arguments, and the geometry of its equation that slides. Zeros that
# are padded to the map and dilated into it are a part of the geometry, unless the equation dilates.
_PADDED = ((0, 0, 0), (0, 0, 0), (2, -1, 1))
GRIDS = {
    "padded, then padded": (
        lambda x, k: _lax(strides=(3,), padding=((1, 4),), rhs_dilation=(2,))(
            lax.pad(x, 0.0, _PADDED), k
        ),
        ((2, 3, 9), (4, 3, 2)),
        Grid((9,), (2,), (7,), (3,), (3,), (2,), (2,)),
    ),
    "padded, then dilated": (
        lambda x, k: _lax(strides=(1,), padding=((1, 0),), lhs_dilation=(2,))(
            lax.pad(x, 0.0, _PADDED), k
        ),
        ((2, 3, 9), (4, 3, 2)),
        Grid((18,), (2,), (35,), (1,), (1,), (2,), (1,)),
    ),
    "padded with ones": (
        lambda x, k: _lax(strides=(1,), padding=((1, 0),))(lax.pad(x, 1.0, _PADDED), k),
        ((2, 3, 9), (4, 3, 2)),
        Grid((18,), (2,), (18,), (1,), (1,), (1,), (1,)),
    ),
    "channels padded": (
        lambda x, k: _lax(strides=(1,), padding=((1, 0),))(
            lax.pad(x, 0.0, ((0, 0, 0), (1, 0, 0), (0, 0, 0))), k
        ),
        ((2, 2, 9), (4, 3, 2)),
        Grid((9,), (2,), (9,), (1,), (1,), (1,), (1,)),
    ),
    "examples padded": (
        lambda x, k: _lax(strides=(1,), padding=((1, 0),))(
            lax.pad(x, 0.0, ((0, 1, 0), (0, 0, 0), (2, 0, 0))), k
        ),
        ((2, 3, 9), (4, 3, 2)),
        Grid((11,), (2,), (11,), (1,), (1,), (1,), (1,)),
    ),
    "channels last, groups": (
        lambda x, k: _lax(
            ("NHWC", "HWIO", "NHWC"),
            strides=(1, 2),
            padding=((1, 0), (0, 2)),
            feature_group_count=2,
        )(lax.pad(x, 0.0, ((0, 0, 0), (3, 0, 0), (0, 1, 2), (0, 0, 0))), k),
        ((2, 5, 6, 4), (3, 1, 2, 6)),
        Grid((5, 6), (3, 1), (7, 10), (1, 2), (4, 0), (1, 3), (1, 1), 2),
    ),
    "window sum": (
        lambda x: _windows((1, 3, 2), (1, 2, 1), ((0, 0), (1, 1), (0, 1)))(
            lax.pad(x, 0.0, ((0, 0, 0), (2, 0, 1), (0, 0, 0)))
        ),
        ((2, 6, 5),),
        Grid((6, 5), (3, 2), (7, 5), (2, 1), (3, 0), (2, 1), (1, 1)),
    ),
    "window sum, dilated": (
        lambda x: _windows((1, 1, 2), (1, 1, 1), ((0, 0), (0, 0), (1, 0)), base_dilation=(1, 1, 3))(
            lax.pad(x, 0.0, _PADDED)
        ),
        ((2, 3, 7),),
        Grid((14,), (2,), (40,), (1,), (1,), (3,), (1,)),
    ),
    "window sum that only moves": (
        lambda x: _windows((1, 1, 1), (1, 1, 1), ((0, 0), (1, -1), (0, 0)))(x),
        ((2, 3, 7),),
        Grid((3,), (1,), (3,), (1,), (1,), (1,), (1,)),
    ),
    "window sum that only cuts": (
        lambda x: _windows((1, 1, 1), (1, 1, 1), ((0, 0), (0, -1), (0, 0)))(x),
        ((2, 3, 7),),
        Grid((3,), (1,), (2,), (1,), (0,), (1,), (1,)),
    ),
    "window sum of nothing": (
        _windows((1, 1, 1), (1, 1, 1), ((0, 0), (0, 0), (0, 0))),
        ((2, 3, 7),),
        None,
    ),
}

# Those in which the map is what was padded.
KEPT = {
    *("padded, then dilated", "padded with ones", "channels padded", "examples padded"),
    "window sum, dilated",
}


@pytest.mark.parametrize("name", GRIDS)
def test_geometry_has_what_stands_before_the_equation(name):
    f, shapes, expected = GRIDS[name]
    traced = jax.make_jaxpr(f)(*map(np.ones, shapes))
    found = list(equations(traced))
    producers = {v: e for e in found for v in e.outvars}
    (equation,) = (e for e in found if e.primitive.name != "pad")
    slide = slide_of(equation, producers)
    if expected is None:
        assert slide is None
        return
    assert slide.geometry == expected
    assert (slide.sources[0] is traced.jaxpr.invars[0]) == (name not in KEPT)
    assert slide.is_pool == ("window" in name)
    assert slide.batch_groups == 1


def test_other_equations_slide_nothing():
    x = np.ones((2, 3))
    (equation,) = equations(jax.make_jaxpr(jnp.sin)(x))
    assert slide_of(equation, {}) is None


def _values(traced, args):
    """What each variable is, calls included."""
    values = {}

    def run(jaxpr, consts, args):
        values.update(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
        for e in jaxpr.eqns:
            operands = [a.val if hasattr(a, "val") else values[a] for a in e.invars]
            inner = e.params.get("call_jaxpr", e.params.get("jaxpr"))
            if inner is not None:
                closed = getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())
                results = run(*closed, operands)
            else:
                bound = e.primitive.bind(*operands, **e.params)
                results = bound if e.primitive.multiple_results else [bound]
            values.update(zip(e.outvars, results, strict=True))
        return [a.val if hasattr(a, "val") else values[a] for a in jaxpr.outvars]

    run(traced.jaxpr, traced.consts, args)
    return values
