"""The figures draw their arguments, and do not use pyplot."""

import sys

import numpy as np

from experiments.pictures.curves import compared, learning_curves
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


def test_no_global_state():
    figure = learning_curves({"a": [[1.0]]}, "y")
    assert figure.canvas.manager is None
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()
