"""The command line: what it prints, its exit status, and how it refuses a mistake."""

import json
import re
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify.__main__ import _function, _positions, _print, _save, main
from jaxconv.verify._arguments import Misuse

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


@pytest.fixture
def given(monkeypatch):
    """What `check_gradients` is called with; it then refuses the call."""
    calls = []

    def check(f, args, **options):
        calls.append((f, args, options))
        raise ValueError("enough")

    monkeypatch.setattr(verify, "check_gradients", check)
    return calls


def test_defaults_of_the_options(given):
    assert main(["jax.numpy:multiply", "--arg", "2.5", "--arg", "3"]) == 2
    ((f, args, options),) = given
    assert f.func is jnp.multiply
    assert (f.keywords, args) == ({}, (2.5, 3))
    assert options == {
        **dict.fromkeys(("argnums", "linear_in", "reference")),
        **{"modes": "all", "order": 2, "seed": 0},
    }


def test_every_option_is_passed_on(given):
    command = ["jax.numpy:sum", "--arg", "f32[3]", "--option", "axis=0", "--reference"]
    command += ["numpy:sum", "--argnums", "0,1", "--linear-in", "1", "--modes", "jit,vmap"]
    for seed in ("3", "3", "4"):
        assert main([*command, "--order", "1", "--seed", seed, "--tolerance", "0.5"]) == 2
    (f, args, options), (_, same, _), (_, other, _) = given
    assert (f.func, f.keywords) == (jnp.sum, {"axis": 0})
    reference = options.pop("reference")
    assert (reference.func, reference.keywords) == (np.sum, {"axis": 0})
    assert options == {
        **{"argnums": (0, 1), "linear_in": (1,), "modes": ["jit", "vmap"], "order": 1},
        **{"seed": 3, "tolerance": 0.5},
    }
    np.testing.assert_array_equal(args[0], same[0])
    assert not np.array_equal(args[0], other[0])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("arguments", "is_wide"),
    [
        (["--arg", "f32[2]", "--option", "axis=f32[1]"], False),
        (["--arg", "f32[2]", "--arg", "f64[2]"], True),
        (["--arg", "f32[2]", "--option", "axis=i64[1]"], True),
    ],
)
def test_arrays_of_64_bits_are_made_possible(arguments, is_wide, given, monkeypatch):
    updates = []
    monkeypatch.setattr(jax.config, "update", lambda *update: updates.append(update))
    main(["jax.numpy:sum", *arguments])
    assert updates == is_wide * [("jax_enable_x64", True)]


def test_names_of_functions(tmp_path, monkeypatch, capsys):
    """Modules of the working folder are found, and functions inside of others."""
    assert _function("jax.numpy:linalg.norm") is jnp.linalg.norm
    for name in ("jax.numpy", "jax.numpy:", ":sin"):
        with pytest.raises(Misuse, match=re.escape(f"package.module:function, got '{name}'")):
            _function(name)
    with pytest.raises(Misuse, match=r"module jax\.numpy has no 'linalg\.nope'"):
        _function("jax.numpy:linalg.nope")
    (tmp_path / "a_module_of_ones_own.py").write_text("def f(x):\n    return x\n")
    (tmp_path / "a_module_that_raises.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    assert _function("a_module_of_ones_own:f")(3) == 3
    assert sys.path[0] == str(tmp_path)
    length = len(sys.path)
    assert _function("a_module_of_ones_own:f")(4) == 4
    assert len(sys.path) == length
    with pytest.raises(Misuse, match="cannot import a_module_that_raises: ZeroDivisionError"):
        _function("a_module_that_raises:f")


def test_positions_of_arguments():
    assert _positions("--argnums", None) is None
    assert _positions("--argnums", "0") == (0,)
    assert _positions("--argnums", "1,-1") == (1, -1)
    for text in ("", "0,", "0.5", "x"):
        with pytest.raises(Misuse, match=f"--argnums must be positions such as .*got '{text}'"):
            _positions("--argnums", text)


def test_picture_without_matplotlib_and_into_no_folder(tmp_path):
    def fails():
        raise ModuleNotFoundError("plot needs Matplotlib")

    with pytest.raises(Misuse, match="--plot: plot needs Matplotlib"):
        _save(SimpleNamespace(plot=fails), "a.png")
    for error in (OSError("no folder"), ValueError("no format")):
        saved = []

        def savefig(path, dpi, error=error, saved=saved):
            saved.append((path, dpi))
            raise error

        report = SimpleNamespace(plot=lambda save=savefig: SimpleNamespace(savefig=save))
        with pytest.raises(Misuse, match=f"cannot write --plot a.png: {error}"):
            _save(report, "a.png")
        assert saved == [("a.png", 150)]


@pytest.mark.parametrize("has_rich", [True, False])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_lines_of_a_log_are_not_wrapped(has_rich, is_terminal, monkeypatch, capsys):
    import rich.console

    widths = []

    class Console:
        def __init__(self, width=None):
            self.is_terminal, self.width = is_terminal, width

        def print(self, report):
            widths.append((self.width, report))

    if has_rich:
        monkeypatch.setattr(rich.console, "Console", Console)
    else:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    _print("the report")
    assert widths == has_rich * [(None if is_terminal else 160, "the report")]
    assert capsys.readouterr().out == ("" if has_rich else "the report\n")
