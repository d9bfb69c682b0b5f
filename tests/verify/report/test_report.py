"""The report as people and as programs read it.

Covers jaxconv/verify/report/.
"""

import io
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify.report._contents import Element, Failure, Gradient, Mode, Subgradient
from jaxconv.verify.report._figure import figure
from jaxconv.verify.report._rendering import as_html, as_rich, as_text

from ..rules import with_vjp


@pytest.fixture(scope="module")
def report():
    f = with_vjp(lambda x, y: x * y, lambda true, args, y_bar: (true[0].at[1].set(0), true[1]))
    args = jnp.arange(1.0, 7).reshape(2, 3), jnp.ones((2, 3))
    return verify.check_gradients(f, args, order=1, modes=("reverse", "forward"))


def test_text_says_what_where_and_why(report):
    text = str(report)
    assert "the gradient is wrong: x" in text
    assert "3 of 6 elements, all at row 1 of the batch (axis 0)" in text
    assert "zero where the true gradient is not" in text
    assert "absent     forward" in text


def test_json_has_it_all(report):
    found = json.loads(report.to_json())
    assert found["ok"] is False
    (failure,) = found["failures"]
    assert failure["argument"] == "x"
    assert failure["worst"][0]["index"][0] == 1


def test_a_missing_extra_is_named(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it was not installed
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jaxconv\[verify\]"'):
        report.plot()


def test_html_is_escaped(report):
    html = report._repr_html_()
    assert html.startswith("<p")
    assert "x, reverse mode" in html
    assert "<w, J v>" not in html


def test_picture_has_three_panels_an_array(report):
    figure = report.plot()
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["true", "reported", "reported - true"] * 2
    assert "zero where" in figure.axes[0].get_ylabel()


def test_rich_prints_it(report):
    from rich.console import Console

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report)
    assert "reverse mode: zero where the true gradient is not" in console.export_text()


NAN = float("nan")
WRONG = verify.GradientReport(
    "f<x>",
    ("x: float64[2]", "y: float64[]"),
    (
        Failure(
            "x",
            "reverse",
            "wrong sign",
            "it is -1 times",
            "1 of 2 elements, at [1]",
            (Element((1,), -2.0, 2.0, 1e-12), Element((0,), NAN, float("inf"), 0.5)),
            1.25,
            ("jit", "vmap"),
        ),
        Failure("x, y", "determinism", "differs"),
    ),
    (
        Mode("reverse", "wrong", "for x"),
        Mode("jit", "ok"),
        Mode("vmap", "wrong"),
        Mode("scan", "ok"),
    ),
    "autodiff",
    {"x": 1.004, "y": None},
    tuple(Subgradient("x", (i, 2), 0.5, -1.0, 2.0) for i in range(5)),
    tuple(f"x[{i}]: nan" for i in range(6)),
    seconds=1.26,
)
RIGHT = verify.GradientReport(
    "g",
    ("x: float64[2]",),
    (),
    (Mode("reverse", "ok"),),
    "differences",
    {},
    (Subgradient("x", (), 0.5, -1.0, 2.0),) * 6,
    ("x[]: inf",) * 5,
)
FACTS = [
    ("arguments", "x: float64[2], y: float64[]"),
    ("truth", "autodiff"),
    ("wrong", "reverse, vmap"),
    ("ok", "jit, scan"),
    ("Taylor", "order of the remainder, 2 if the gradient is right: x 1.00, y exact"),
    (
        "kinks",
        "accepted subgradients (5): " + ", ".join(f"x[{i}, 2] = 0.5 in [-1, 2]" for i in range(5)),
    ),
    ("not finite", ", ".join(f"x[{i}]: nan" for i in range(5)) + ", ..."),
    ("duration", "1.3 s"),
]
FAILED = {
    "x, reverse mode: wrong sign": [
        "it is -1 times",
        "wrong: 1 of 2 elements, at [1]; relative error 1.2",
        "also wrong in: jit, vmap",
        "x[1]: reported -2, true 2, bound 1.0e-12",
        "x[0]: reported nan, true inf, bound 5.0e-01",
    ],
    "x, y, determinism mode: differs": [],
}


def test_the_whole_text():
    lines = ["f<x>: the gradient is wrong: x, y"]
    lines += [f"  {name:<9}  {fact}" for name, fact in FACTS]
    for title, explained in FAILED.items():
        lines += ["", f"  {title}", *(f"    {line}" for line in explained)]
    assert as_text(WRONG).splitlines() == lines
    subgradients = ", ".join(["x[] = 0.5 in [-1, 2]"] * 5)
    assert as_text(RIGHT).splitlines() == [
        "g: the gradient is right",
        "  arguments  x: float64[2]",
        "  truth      differences",
        "  ok         reverse",
        f"  kinks      accepted subgradients (6): {subgradients}, ...",
        "  not finite  " + ", ".join(["x[]: inf"] * 5),
        "  duration   0.0 s",
    ]


def test_the_whole_page():
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{fact}</td></tr>"
        for name, fact in FACTS
    )
    parts = ["<p style='color:#c62828'><b>f&lt;x&gt;: the gradient is wrong: x, y</b></p>"]
    parts += [f"<table>{rows}</table>"]
    for title, explained in FAILED.items():
        parts.append(f"<p><b>{title}</b><br>{'<br>'.join(explained)}</p>")
    assert as_html(WRONG) == "".join(parts)
    assert as_html(RIGHT).startswith("<p style='color:#1a7f37'><b>g: the gradient is right</b></p>")


def test_the_whole_of_a_terminal():
    from rich.console import Console

    console = Console(width=250, record=True, file=io.StringIO(), color_system="truecolor")
    console.print(as_rich(WRONG))
    coloured = console.export_text(clear=False, styles=True)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert lines[0] == "f<x>: the gradient is wrong: x, y"
    for name, fact in FACTS:
        assert any(line.startswith(name) and line.endswith(fact[-20:]) for line in lines)
    for title, explained in FAILED.items():
        assert any(line.startswith(f"╭─ {title} ─") for line in lines)
        assert all(any(line.startswith(f"│ {text} ") for line in lines) for text in explained)
    assert "\x1b[1;31mf<x>" in coloured
    assert "\x1b[1marguments" in coloured
    assert "\x1b[31m╭─" in coloured
    console.print(as_rich(RIGHT))
    assert "\x1b[1;32mg: the" in console.export_text(styles=True)


def test_the_whole_dict():
    found = json.loads(WRONG.to_json())
    assert found == WRONG.to_dict()
    assert WRONG.to_json().startswith('{\n  "function": "f<x>",\n')
    first, second = found.pop("failures")
    assert first == {
        **{"argument": "x", "mode": "reverse", "diagnosis": "wrong sign"},
        **{"evidence": "it is -1 times", "where": "1 of 2 elements, at [1]"},
        "worst": [
            {"index": [1], "reported": -2, "true": 2, "bound": 1e-12},
            {"index": [0], "reported": "nan", "true": "inf", "bound": 0.5},
        ],
        **{"relative_error": 1.25, "also": ["jit", "vmap"]},
    }
    assert (second["argument"], second["relative_error"]) == ("x, y", "nan")
    subgradient = {"argument": "x", "reported": 0.5, "low": -1, "high": 2}
    assert found == {
        **{"function": "f<x>", "ok": False, "arguments": ["x: float64[2]", "y: float64[]"]},
        "truth": "autodiff",
        "modes": [
            {"name": "reverse", "status": "wrong", "detail": "for x"},
            {"name": "jit", "status": "ok", "detail": ""},
            {"name": "vmap", "status": "wrong", "detail": ""},
            {"name": "scan", "status": "ok", "detail": ""},
        ],
        "taylor": {"x": 1.004, "y": None},
        "subgradients": [subgradient | {"index": [i, 2]} for i in range(5)],
        "nonfinite": [f"x[{i}]: nan" for i in range(6)],
        "seconds": 1.26,
    }
    assert RIGHT.to_dict()["ok"] is True


def test_pictures_of_wrong_gradients_come_first():
    true = np.array([[1.0, -3.0], [np.inf, 2.0]])
    arrays = {f"a{i}": Gradient(true + i, true - i, true) for i in range(8)}
    arrays["a5"] = Gradient(true, true, true)
    report = verify.GradientReport(
        "f", (), (Failure("a6", "reverse", "off"),), (), "", {}, gradients=arrays
    )
    drawn = figure(report)
    pictures = [axis for axis in drawn.axes if axis.get_title()]
    shown = ["a6", "a0", "a1", "a2", "a3", "a4"]
    assert len(pictures) == 3 * len(shown)
    assert drawn.get_suptitle() == "f: the gradient is wrong"
    assert tuple(drawn.get_size_inches()) == pytest.approx((10, 3.2 * 6))
    for i, name in enumerate(shown):
        first, second, third = pictures[3 * i : 3 * i + 3]
        said = "off" if name == "a6" else "right"
        assert first.get_ylabel() == f"{name} [2, 2]\n{said}"
        assert second.get_ylabel() == third.get_ylabel() == ""
        assert [axis.get_title() for axis in (first, second, third)] == [
            *("true", "reported", "reported - true")
        ]
        most = 3 + int(name[1:]) if name != "a0" else 3
        for axis in (first, second):
            assert axis.images[0].get_clim() == (-most, most)
        gap = 2 * int(name[1:]) or 1
        assert third.images[0].get_clim() == (-gap, gap)
        np.testing.assert_array_equal(first.images[0].get_array()[0], (true + int(name[1:]))[0])
        np.testing.assert_array_equal(third.images[0].get_array()[0], [-gap + (name == "a0")] * 2)
        assert not any(len(axis.get_xticks()) + len(axis.get_yticks()) for axis in (first, third))


def test_a_picture_of_nothing():
    drawn = figure(verify.GradientReport("f", (), (), (), "", {}))
    assert drawn.get_suptitle() == "f: the gradient is right"
    assert [text.get_text() for text in drawn.texts][-1] == "The true gradient is unknown."
    assert tuple(drawn.get_size_inches()) == pytest.approx((10, 3.2))
    assert not drawn.axes


def test_sizes_of_a_picture():
    """Texts get smaller from the title to the labels, and a colour bar is lower than its map."""
    true = np.array([[1.0, -3.0], [0.5, 2.0]])
    report = verify.GradientReport(
        "f", (), (), (), "", {}, gradients={"x": Gradient(true, true, true)}
    )
    drawn = figure(report)
    (title,) = drawn.texts
    first, *_ = pictures = [axis for axis in drawn.axes if axis.get_title()]
    assert len(drawn.axes) == 2 * len(pictures) == 6
    assert [text.get_fontsize() for text in (title, first.title, first.yaxis.label)] == [12, 10, 9]
    assert {axis.images[0].get_cmap().name for axis in pictures} == {"RdBu_r"}
    assert {axis.images[0].get_interpolation() for axis in pictures} == {"nearest"}
    bars = [axis for axis in drawn.axes if axis not in pictures]
    assert {bar._colorbar_info["shrink"] for bar in bars} == {0.8}
    nothing = figure(verify.GradientReport("f", (), (), (), "", {}))
    (said,) = (text for text in nothing.texts if "unknown" in text.get_text())
    assert (said.get_position(), said.get_horizontalalignment()) == ((0.5, 0.5), "center")


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2, 3), (1, 2, 0, 2)])
def test_a_picture_of_an_argument_without_elements(shape):
    nothing = np.zeros(shape)
    report = verify.GradientReport(
        "f", (), (), (), "", {}, gradients={"x": Gradient(nothing, nothing, nothing)}
    )
    first, *_ = figure(report).axes
    assert first.get_ylabel() == f"x {list(shape)}\nright"
