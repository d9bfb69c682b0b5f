"""Random geometries for the derivations, and the arrays that go with them."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st


class Case(NamedTuple):
    """An operation's options, as its derivation takes them, and the shapes of x, w and y."""

    options: dict[str, Any]
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    seed: int


@st.composite
def convolutions(draw, *, plain=False):
    """Convolutions: strided, dilated, grouped, padded and cropped ones, or plain ones."""
    rank, groups = draw(st.integers(1, 2)), 1 if plain else draw(st.integers(1, 2))
    axes = [draw(_axes(plain)) for _ in range(rank)]
    spatial, window, strides, e, d, padding, output = zip(*axes, strict=True)
    n, c, o = draw(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 2)))
    options = {
        "strides": strides,
        "padding": padding,
        "input_dilation": e,
        "kernel_dilation": d,
        "feature_group_count": groups,
    }
    return Case(
        {} if plain else options,
        (n, *spatial, c * groups),
        (*window, c, o * groups),
        (n, *output, o * groups),
        draw(st.integers(0, 2**32)),
    )


@st.composite
def _axes(draw, plain):
    """One axis: input size, window, stride, dilations, padding and output size; the window fits."""
    window, size = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    if plain:
        return size + window - 1, window, 1, 1, 1, (0, 0), size
    stride, e, d = draw(st.tuples(*[st.integers(1, 3)] * 3))
    lo = draw(st.integers(-1, 3))
    least = d * (window - 1) - e * (size - 1) - lo
    hi = draw(st.integers(max(-2, least), max(2, least)))
    return size, window, stride, e, d, (lo, hi), (hi - least) // stride + 1


@st.composite
def pools(draw):
    """Pools whose windows lie apart, side by side or overlap; `w` is not used."""
    axes = [draw(_pool_axes()) for _ in range(draw(st.integers(1, 2)))]
    spatial, window, strides, dilation, padding, output = zip(*axes, strict=True)
    n, c = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    options = {
        "window_shape": window,
        "strides": strides,
        "padding": padding,
        "window_dilation": dilation,
    }
    return Case(options, (n, *spatial, c), (), (n, *output, c), draw(st.integers(0, 2**32)))


@st.composite
def _pool_axes(draw):
    window, size = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    stride, d, lo = draw(st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(0, 2)))
    least = d * (window - 1) + 1 - size - lo
    hi = draw(st.integers(max(0, least), max(0, least) + 2))
    return size, window, stride, d, (lo, hi), (hi - least) // stride + 1


@st.composite
def upscalings(draw):
    """Factors and sizes; `w` is not used."""
    axes = draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3))
    sizes, factors = zip(*axes, strict=True)
    n, c = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    large = (size * f for size, f in axes)
    seed = draw(st.integers(0, 2**32))
    return Case({"factor": factors}, (n, *sizes, c), (), (n, *large, c), seed)


def arrays(seed, *shapes):
    """Arrays of independent standard normal values."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


@st.composite
def classifiers(draw):
    """The arrays that `classifier_gradient` is given: a small network and a batch."""
    sizes = st.integers(1, 2)
    n, o1, o2, hidden = (draw(sizes) for _ in range(4))
    window1, window2 = (draw(st.tuples(sizes, sizes)) for _ in range(2))
    classes = draw(st.integers(2, 4))
    # The least size that two pools of 2 allow, plus up to three rows and columns.
    image = [
        2 * (2 + r2 - 1) + r1 - 1 + draw(st.integers(0, 3))
        for r1, r2 in zip(window1, window2, strict=True)
    ]
    z1 = [size - r + 1 for size, r in zip(image, window1, strict=True)]
    z2 = [size // 2 - r + 1 for size, r in zip(z1, window2, strict=True)]
    features = int(np.prod([size // 2 for size in z2])) * o2
    seed = draw(st.integers(0, 2**32))
    shapes = [(n, *image, 1), (*window1, 1, o1), (o1,), (*window2, o1, o2), (o2,)]
    shapes += [(features, hidden), (hidden,), (hidden, classes), (classes,)]
    x, *parameters = arrays(seed, *shapes)
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    masks = (rng.random((n, size)) < 0.7 for size in (features, hidden))
    return [x, labels, *parameters, *masks]
