"""The integers: every geometry derived from (G) has exactly the meeting points of (G).

Covers jaxconv/_spec.py, jaxconv/_arguments.py.
"""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jaxconv._arguments import (
    convolution_geometry,
    explicit_padding,
    per_axis,
    transposed_input_size,
)
from jaxconv._geometry import extent

small = st.integers(1, 3)
paddings = st.one_of(
    st.sampled_from(["VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL"]),
    st.tuples(st.integers(-2, 4), st.integers(-2, 4)).map(lambda pair: (pair,)),
)


def meetings(geometry):
    """All triples (i, r, p) with e·i + lo = s·p + d·r, on the first axis."""
    (lo, _), e = geometry.padding[0], geometry.input_dilation[0]
    s, d = geometry.strides[0], geometry.kernel_dilation[0]
    return {
        (i, r, p)
        for i in range(geometry.input_size[0])
        for r in range(geometry.window[0])
        for p in range(geometry.output_size[0])
        if e * i + lo == s * p + d * r
    }


options = st.fixed_dictionaries(
    {
        "input_size": st.tuples(st.integers(1, 9)),
        "window": st.tuples(st.integers(1, 4)),
        "strides": small,
        "padding": paddings,
        "input_dilation": small,
        "kernel_dilation": small,
    }
)
often = settings(max_examples=200, deadline=None, derandomize=True)


def geometry_of(options):
    try:
        return convolution_geometry("test", **options, groups=1)
    except ValueError as error:  # the mistakes these options can make
        assume("the window covers" not in str(error) and "crops more" not in str(error))
        raise


@given(options)
@often
def test_transposed_exchanges_input_and_output(options):
    geometry = geometry_of(options)
    last = geometry.window[0] - 1
    assert {(p, last - r, i) for i, r, p in meetings(geometry.transposed())} == meetings(geometry)


@given(options)
@often
def test_correlated_exchanges_taps_and_output(options):
    geometry = geometry_of(options)
    # Its "window" is the error, its "output" the kernel.
    assert {(i, p, r) for i, r, p in meetings(geometry.correlated())} == meetings(geometry)


@given(options)
@often
def test_derived_geometries_give_the_sizes_they_claim(options):
    geometry = geometry_of(options)
    for derived in (geometry, geometry.transposed(), geometry.correlated()):
        again = convolution_geometry(
            "test",
            derived.input_size,
            derived.window,
            derived.strides,
            derived.padding,
            derived.input_dilation,
            derived.kernel_dilation,
            1,
        )
        assert again == derived


@given(options, st.integers(0, 2))
@often
def test_transposed_input_size_is_one_that_the_convolution_maps_back(options, extra):
    options["input_dilation"] = 1
    same = options["padding"] in ("SAME", "SAME_LOWER")
    extra = 0 if same else extra
    size = options.pop("input_size")
    reach = tuple(extent(r, options["kernel_dilation"]) for r in options["window"])
    strides = (options["strides"],)
    try:
        back, padding = transposed_input_size(
            "test", size, reach, strides, options["padding"], (1,), (extra,)
        )
    except ValueError as error:
        assume("leaves no output" not in str(error))
        raise
    assert geometry_of({**options, "input_size": back, "padding": padding}).output_size == size


def test_same_follows_the_field():
    """ceil(size / stride) outputs; the odd one of an odd total goes high, or low for SAME_LOWER."""
    assert explicit_padding("test", "SAME", [5, 8], [4, 3], [1, 3]) == ((1, 2), (0, 1))
    assert explicit_padding("test", "same_lower", [5, 8], [4, 3], [1, 3]) == ((2, 1), (1, 0))
    assert explicit_padding("test", "FULL", [5], [4], [1]) == ((3, 3),)
    assert explicit_padding("test", "causal", [5, 8], [4, 3], [1, 3]) == ((3, 0), (2, 0))
    assert explicit_padding("test", 2, [5, 8], [4, 3], [1, 3]) == ((2, 2), (2, 2))
    assert explicit_padding("test", (1, (0, 2)), [5, 8], [4, 3], [1, 3]) == ((1, 1), (0, 2))


@pytest.mark.parametrize("value", [True, 1.0, "2", b"12", None, (1, 2.5), (True, 1)], ids=repr)
def test_only_integers_are_sizes(value):
    with pytest.raises(TypeError, match="test: it must be an integer"):
        per_axis(value, 2, "test: it")
