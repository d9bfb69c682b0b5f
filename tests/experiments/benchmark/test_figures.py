"""The figure draws the values of the rows."""

import numpy as np
import pytest

from experiments.benchmark.figures import overview

MACHINE = {"gemm": 1e11, "bandwidth": 1e10}


def row(case, contraction, mode, *, kind="conv", **seconds):
    seconds = {name: {"median": value} for name, value in seconds.items()}
    numbers = {"operations": 2e9, "bytes": 1e8, "seconds": seconds, "errors": {}}
    return {"case": case, "kind": kind, "contraction": contraction, "mode": mode} | numbers


def test_overview(tmp_path):
    rows = [
        row("A", "F", "entry", jaxconv=0.1, autodiff=0.2),
        row("A", "DX+DW", "entry", jaxconv=0.1, autodiff=0.4, torch=0.05),
        row("m2", "F", "entry", kind="pool", jaxconv=0.1, autodiff=0.3, torch=0.1),
        row("B", "DX+DW", "entry", jaxconv=0.1),
    ]
    figure = overview({"ops": rows, "machine": MACHINE})
    figure.savefig(tmp_path / "figure.png")
    roofline, autodiff, torch = figure.axes
    ours, theirs = (points.get_offsets() for points in roofline.collections)
    np.testing.assert_allclose(ours, [[20.0, 20.0]])  # operations per byte, GFLOP/s
    np.testing.assert_allclose(theirs, [[20.0, 10.0]])
    roof = roofline.get_lines()[0].get_ydata()
    assert max(roof) == MACHINE["gemm"] / 1e9
    assert autodiff.get_title() == "times faster than autodiff"
    labels = [label.get_text() for label in autodiff.get_yticklabels()]
    assert labels == ["A  DX+DW", "m2  F", "B  DX+DW"]
    assert [bar.get_width() for bar in autodiff.patches] == pytest.approx(
        [3.0, 2.0, np.nan], nan_ok=True
    )
    assert next(bar.get_width() for bar in torch.patches) == pytest.approx(-0.5)


def test_ours_alone(tmp_path):
    figure = overview({"ops": [row("A", "F", "scan", jaxconv=0.1)], "machine": MACHINE})
    figure.savefig(tmp_path / "figure.png")
    assert len(figure.axes) == 1


def test_nothing_timed(tmp_path):
    overview({"ops": [row("A", "F", "scan")], "machine": MACHINE}).savefig(tmp_path / "figure.png")
