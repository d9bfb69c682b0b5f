"""The figures of layers show their arguments in the right places."""

import numpy as np
import pytest

from experiments.pictures import layers
from jaxconv.derivations import toeplitz


def pictures(figure):
    return [axes.get_images()[0].get_array() for axes in figure.axes if axes.get_images()]


def texts(axes):
    return {(round(t.get_position()[1]), t.get_position()[0]): t.get_text() for t in axes.texts}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_feature_maps_are_the_channels_on_one_scale(rng, tmp_path):
    maps = rng.random((4, 5, 3))
    figure = layers.feature_maps(maps, "maps", columns=2)
    shown = pictures(figure)
    assert len(shown) == 3
    for channel, picture in enumerate(shown):
        np.testing.assert_array_equal(picture, maps[:, :, channel])
    assert {axes.get_images()[0].get_clim() for axes in figure.axes[:3]} == {(0, maps.max())}
    figure.savefig(tmp_path / "maps.png")


def test_negative_values_make_the_scale_symmetric(rng):
    maps = rng.random((4, 5, 3)) - 0.7
    figure = layers.feature_maps(maps)
    scale = np.abs(maps).max()
    assert {axes.get_images()[0].get_clim() for axes in figure.axes} == {(-scale, scale)}


def test_filters_are_those_of_the_first_input_channel(rng):
    kernel = rng.normal(size=(5, 4, 2, 3))
    for o, picture in enumerate(pictures(layers.filters(kernel))):
        np.testing.assert_array_equal(picture, kernel[:, :, 0, o])


def test_errors_show_the_strongest_channels_of_the_example(rng, tmp_path):
    delta = rng.normal(size=(2, 4, 4, 5))
    delta[1, 0, 0, [1, 3]] = 9, -8
    figure = layers.errors({"conv": delta, "out": delta[:, 0, 0]}, example=1, channels=2)
    first, second, strip = pictures(figure)
    np.testing.assert_array_equal(first, delta[1, :, :, 1])
    np.testing.assert_array_equal(second, delta[1, :, :, 3])
    np.testing.assert_array_equal(strip[0], delta[1, 0, 0])
    assert [a.get_ylabel().split("\n")[0] for a in figure.axes] == ["conv", "", "out"]
    figure.savefig(tmp_path / "errors.png")


def test_errors_that_are_all_zero_can_be_shown():
    (picture,) = pictures(layers.errors({"out": np.zeros((1, 3))}))
    np.testing.assert_array_equal(picture, np.zeros((1, 3)))


def test_toeplitz_matrix_names_the_tap_of_every_entry():
    taps = [5.0, -2.0, 3.0]
    matrix = toeplitz(np.reshape(taps, (3, 1, 1)), (6,))[:, 0, :, 0]
    left, right = layers.toeplitz_matrix(matrix, taps).axes
    expected = {(p, p + r): f"$w_{r}$" for p in range(4) for r in range(3)}
    assert texts(left) == expected
    assert texts(right) == {(i, p): tap for (p, i), tap in expected.items()}


def test_kernel_walk_lists_the_taps_that_weight_the_errors(rng, tmp_path):
    """The products in a panel's window add up to the full convolution with the rotated kernel."""
    delta, kernel = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    places = [(0, 0), (3, 2), (1, 1)]
    figure = layers.kernel_walk(delta, kernel, places)
    padded = np.pad(delta, 1)
    for axes, (i, j) in zip(figure.axes, places, strict=True):
        taps = [t for t in axes.texts if t.get_text().startswith("$w")]
        heard = 0
        for tap in taps:
            a, b = (int(digit) for digit in tap.get_text()[4:6])
            column, row = tap.get_position()
            heard += kernel[a, b] * padded[round(row), round(column)]
        full = sum(
            delta[i - a, j - b] * kernel[a, b]
            for a, b in np.ndindex(2, 2)
            if 0 <= i - a < 3 and 0 <= j - b < 2
        )
        np.testing.assert_allclose(heard, full, rtol=1e-12)
    figure.savefig(tmp_path / "walk.png")


def test_gradient_flow_keeps_the_order_of_the_layers(tmp_path):
    sizes = {"a": {"conv2": 1.0, "conv1": 0.1}, "b": {"conv2": 2.0, "conv1": 0.5}}
    figure = layers.gradient_flow(sizes, "size")
    (axes,) = figure.axes
    a, b = axes.get_lines()
    assert list(a.get_xdata()) == ["conv2", "conv1"]
    assert list(b.get_ydata()) == [2.0, 0.5]
    assert axes.get_yscale() == "log"
    figure.savefig(tmp_path / "flow.png")
