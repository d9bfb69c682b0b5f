"""The report as people and as programs read it.

Covers jaxconv/verify/report/.
"""

import io
import json
import sys

import jax.numpy as jnp
import pytest

from jaxconv import verify

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
