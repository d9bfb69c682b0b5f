"""The report as people and programs read it, and the command that prints it."""

import io
import json
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.verifier.functions import with_vjp
from jaxconv import verify
from jaxconv.verify.__main__ import main
from jaxconv.verify._figure import mosaic


@pytest.fixture(scope="module")
def report():
    f = with_vjp(lambda x, y: x * y, lambda true, args, y_bar: (true[0].at[1].set(0), true[1]))
    args = jnp.arange(1.0, 7).reshape(2, 3), jnp.ones((2, 3))
    return verify.check_gradients(f, args, order=1, modes=("reverse", "forward"))


def test_text_says_what_where_and_why(report):
    text = str(report)
    assert "the gradient is wrong: args[0]" in text
    assert "3 of 6 elements, all at row 1 of the batch (axis 0)" in text
    assert "zero where the gradient is not" in text
    assert "absent     forward" in text


def test_json_has_it_all(report):
    found = json.loads(report.to_json())
    assert found["ok"] is False
    (failure,) = found["failures"]
    assert failure["argument"] == "args[0]"
    assert failure["worst"][0]["index"][0] == 1


def test_a_missing_extra_is_named(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it was not installed
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jaxconv\[verify\]"'):
        report.plot()


def test_html_is_escaped(report):
    html = report._repr_html_()
    assert html.startswith("<p")
    assert "args[0], reverse mode" in html
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
    assert "reverse mode: zero where the gradient is not" in console.export_text()


def test_mosaic_shows_every_number():
    for shape in ((), (5,), (2, 3), (2, 3, 4), (2, 5, 5, 3), (3, 3, 2, 4), (2, 3, 4, 5, 6)):
        array = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
        image = mosaic(array)
        assert sorted(image[np.isfinite(image)]) == sorted(array.ravel())


def test_command_ends_with_0_for_a_right_gradient(capsys, tmp_path):
    picture = tmp_path / "a.png"
    arguments = ["jax.numpy:tanh", "--arg", "f32[3]", "--modes", "reverse", "--order", "1"]
    assert main([*arguments, "--json", "--plot", str(picture)]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(arguments) == 0
    assert "tanh: the gradient is right" in capsys.readouterr().out


def test_command_ends_with_1_for_a_wrong_gradient(capsys, monkeypatch):
    negated = with_vjp(jnp.sin, lambda true, args, y_bar: (-true[0],))
    monkeypatch.setattr(jnp, "negated", negated, raising=False)
    arguments = ["jax.numpy:negated", "--arg", "f32[3]", "--modes", "reverse", "--order", "1"]
    assert main(arguments) == 1
    assert "wrong sign" in capsys.readouterr().out
