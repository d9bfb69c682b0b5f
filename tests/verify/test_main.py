"""The command line: what it prints, its exit status, and how it refuses a mistake."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify.__main__ import main

from .rules import with_vjp


def test_a_pool_with_a_window_and_a_padding(capsys):
    command = ["jaxconv:max_pool", "--arg", "f32[1,6,6,2]", "--arg", "2"]
    options = ["--option", "padding=SAME", "--modes", "reverse", "--order", "1", "--json"]
    assert main([*command, *options]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["ok"]
    assert found["function"] == "max_pool"
    assert found["arguments"] == ["x: float32[1, 6, 6, 2]"]
    assert not said.err


def test_numpy_warns_of_nothing(monkeypatch, recwarn):
    def warns(x):
        np.log(np.zeros(1))
        return x

    monkeypatch.setattr(verify, "warns", warns, raising=False)
    command = ["jaxconv.verify:warns", "--arg", "f32[4]", "--modes", "reverse", "--order", "1"]
    assert main(command) == 0
    assert not recwarn.list


def test_tolerance_is_passed_on_where_it_is_given(monkeypatch):
    given = []

    def check(f, args, **options):
        given.append(options)
        raise ValueError("enough")

    monkeypatch.setattr(verify, "check_gradients", check)
    command = ["jax.numpy:tanh", "--arg", "f32[2]"]
    assert main(command) == main([*command, "--tolerance", "1e-3"]) == 2
    assert "tolerance" not in given[0]
    assert given[1]["tolerance"] == 1e-3


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


COMMANDS = {
    "nothing": ([], "required: function"),
    "no colon": (["nocolon"], "package.module:function"),
    "no module": (["no_such_module:f"], "cannot import no_such_module"),
    "no name": (["jax.numpy:nope"], "has no 'nope'"),
    "no argument": (["jax.numpy:tanh"], "can't be called"),
    "dtype": (["jax.numpy:tanh", "--arg", "q8[2]"], "dtype must be one of"),
    "shape": (["jax.numpy:tanh", "--arg", "f32[2"], "dtype and shape"),
    "no shape": (["jax.numpy:tanh", "--arg", "f32"], "the shape is missing"),
    "sizes": (["jax.numpy:tanh", "--arg", "f32[2,x]"], "sizes must be integers"),
    "negative size": (["jax.numpy:tanh", "--arg", "f32[-2]"], "sizes must be integers"),
    "range": (["jax.numpy:tanh", "--arg", "f32[2]:2..1"], "LO..HI must follow the colon"),
    "range of integers": (["jax.numpy:tanh", "--arg", "i32[2]:0..1.5"], "LO..HI must follow"),
    "range of bytes": (["jax.numpy:tanh", "--arg", "u8[2]:0..300"], "uint8 ranges from 0 to 255"),
    "no literal": (["jax.numpy:tanh", "--arg", "(2,"], "a Python literal, or a word; got '(2,'"),
    "word": (["jax.numpy:tanh", "--arg", "two"], "none of the arguments holds floating-point"),
    "keyword": (["jax.numpy:tanh", "--arg", "f32[2]", "--option", "SAME"], "must be name=value"),
    "keyword's dtype": (["jax.numpy:tanh", "--option", "x=q8[2]"], "--option x 'q8[2]'"),
    "unknown keyword": (["jax.numpy:tanh", "--arg", "f32[2]", "--option", "size=2"], "size"),
    "tolerance": (["jax.numpy:tanh", "--arg", "f32[2]", "--tolerance", "x"], "--tolerance"),
    "positions": (["jax.numpy:tanh", "--arg", "f32[2]", "--linear-in", "x"], "positions such as"),
    "option": (["jax.numpy:tanh", "--bogus"], "--bogus"),
    "not linear": (["jax.numpy:tanh", "--arg", "f32[2]", "--linear-in", "0"], "not linear"),
    "folder": (
        ["jax.numpy:tanh", "--arg", "f32[2]", "--modes", "reverse", "--plot", "no/such/a.png"],
        "cannot write --plot",
    ),
}


@pytest.mark.parametrize("mistake", COMMANDS)
def test_bad_command_ends_with_2_and_one_sentence(mistake, capsys):
    arguments, message = COMMANDS[mistake]
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("jaxconv.verify: error: ")
    assert said.err.count("\n") == 1
    assert not said.out
