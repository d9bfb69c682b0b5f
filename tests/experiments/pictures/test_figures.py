"""The figures draw their arguments, and do not use pyplot."""

import sys

import numpy as np
import pytest

from experiments.pictures.confusion import confusion_matrix
from experiments.pictures.curves import colours, compared, latent_map, learning_curves
from experiments.pictures.images import reconstructions


def test_learning_curves(tmp_path):
    figure = learning_curves({"a": [[0.1, 0.2], [0.3, 0.4]], "b": [[0.5, 0.6]]}, "accuracy")
    (axes,) = figure.axes
    a, b = axes.get_lines()
    np.testing.assert_allclose(a.get_xydata(), [[1, 0.2], [2, 0.3]])
    np.testing.assert_allclose(b.get_xydata(), [[1, 0.5], [2, 0.6]])
    assert len(axes.collections) == 1  # one band: b has one seed
    figure.savefig(tmp_path / "curves.png")


def test_an_error_of_zero_has_a_place():
    """A purely logarithmic axis would leave a gap."""
    figure = learning_curves({"a": [[0.1, 0.02, 0.0, 0.003, 0.0]]}, "test error")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (line,) = axes.get_lines()
    assert np.isfinite(axes.transData.transform(line.get_xydata())).all()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[0] == "0 %"
    assert {"0.5 %", "1 %", "10 %"} <= set(labels)


def test_errors_of_zero_alone_have_an_axis():
    """Images that are all alike may have no error in any epoch."""
    for figure in (
        learning_curves({"a": [[0.0, 0.0]]}, "test error"),
        compared({"test mse": {"a": [[0.0]]}, "error": {"b": [[0.0]]}}, fractions=["error"]),
    ):
        figure.draw_without_rendering()  # without a warning of the logarithm of 0
        for axes in figure.axes:
            assert axes.get_ylim() == (0, 0.1)
            (line,) = axes.get_lines()
            assert np.isfinite(axes.transData.transform(line.get_xydata())).all()


def test_reconstructions_stand_below_the_originals(tmp_path):
    rng = np.random.default_rng(0)
    originals, ours = rng.random((2, 3, 28, 28, 1))
    figure = reconstructions(originals, {"ours": ours - 0.5})
    rows = figure.axes[:3], figure.axes[3:]
    assert [row[0].texts[0].get_text() for row in rows] == ["original", "ours"]
    for row, images in zip(rows, (originals, np.clip(ours - 0.5, 0, 1)), strict=True):
        for axes, image in zip(row, images, strict=True):
            np.testing.assert_array_equal(axes.get_images()[0].get_array(), image[..., 0])
    figure.savefig(tmp_path / "reconstructions.png")


def test_the_band_of_a_seed_without_errors_reaches_0():
    figure = learning_curves({"a": [[0.1, 0.0], [0.2, 0.02]]}, "test error")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == 0
    assert np.isfinite(axes.transData.transform(corners)).all()
    assert axes.get_ylim()[0] == 0


@pytest.mark.parametrize("errors", [[[0.12]], [[0.12], [0.1]]])
def test_one_epoch_has_ticks_on_both_axes(errors):
    figure = learning_curves({f"run{i}": [values] for i, values in enumerate(errors)}, "test error")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if left <= tick <= right] == [1]
    low, high = axes.get_ylim()
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 3
    assert low < min(errors)[0] < high


@pytest.mark.parametrize("count", [5, 12, 60])
def test_all_of_many_runs_are_told_apart_and_named(count, tmp_path):
    runs = {f"classifier-{number:03}/standard": [[0.5, 0.1]] for number in range(count)}
    figure = compared({"test error": runs, "test loss": dict(runs)}, fractions=["test error"])
    figure.savefig(tmp_path / "compare.png")
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == count
    (legend,) = figure.legends  # one for all panels
    assert [text.get_text() for text in legend.get_texts()] == list(runs)
    box = legend.get_window_extent()
    width, height = figure.get_size_inches() * figure.dpi
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height
    assert min(axes.get_window_extent().width for axes in figure.axes) > 4 * figure.dpi


@pytest.mark.parametrize("count", [2, 10, 11, 20, 21, 300])
def test_colours_differ(count):
    assert len({tuple(each) for each in colours(count)}) >= min(count, 256)


def test_codes_of_many_classes_have_colours_of_their_own():
    codes = np.random.default_rng(0).random((40, 2))
    figure = latent_map(codes, np.arange(40), [f"class {number}" for number in range(40)])
    found = {tuple(points.get_facecolor()[0]) for points in figure.axes[0].collections}
    assert len(found) == 40


def test_grey_photographs_are_no_negatives():
    image = np.zeros((1, 2, 2, 1))
    image[0, 0] = 1
    (drawn,) = reconstructions(image, {}).axes[0].get_images()
    white, black = drawn.to_rgba(drawn.get_array())[:, 0]
    np.testing.assert_array_equal(white[:3], 1)
    np.testing.assert_array_equal(black[:3], 0)


@pytest.mark.parametrize("count", [2, 10, 120])
def test_confusion_matrix(count, tmp_path):
    matrix = 3 * np.eye(count, dtype=int)
    matrix[1, 0], matrix[0] = 1, 0  # class 0 has no images
    figure = confusion_matrix(matrix, [f"class {number}" for number in range(count)], "small")
    figure.savefig(tmp_path / "confusion.png")
    axes, bar = figure.axes
    shown = np.asarray(axes.get_images()[0].get_array())
    np.testing.assert_array_equal(shown[1, :2], [0.25, 0.75])
    assert shown[0].max() == 0
    assert [text.get_text() for text in axes.texts] == (
        ["1", "3", *["3"] * (count - 2)] if count <= 20 else []
    )
    assert len(axes.get_xticklabels()) <= 60


def test_no_global_state():
    figure = learning_curves({"a": [[1.0]]}, "y")
    assert figure.canvas.manager is None
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()
