"""A sentence for each mistake, that names it; from the function and from the command line."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.verify.__main__ import main

X = np.ones(3, np.float32)


def _raises(x):
    raise RuntimeError("boom")


BAD_CALLS = {
    "no function": (lambda: verify.check_gradients(3, (X,)), TypeError, "f must be a function"),
    "no tuple": (lambda: verify.check_gradients(jnp.sin, X), TypeError, "args must be the tuple"),
    "arity": (lambda: verify.check_gradients(lambda x, y: x, (X,)), ValueError, "with 1 argument:"),
    "integers": (
        lambda: verify.check_gradients(jnp.sin, (np.ones(3, int),)),
        TypeError,
        "none of the arguments holds floating-point",
    ),
    "integer argnum": (
        lambda: verify.check_gradients(lambda x, n: x * n, (X, 3), argnums=1),
        TypeError,
        "argument 1 .n. holds no floating-point",
    ),
    "complex": (lambda: verify.check_gradients(jnp.sin, (X + 1j,)), TypeError, "complex"),
    "None": (lambda: verify.check_gradients(lambda x: None, (X,)), TypeError, "returns None"),
    "integer result": (
        lambda: verify.check_gradients(lambda x: x.astype(int), (jnp.ones(3),)),
        TypeError,
        "must return floating-point",
    ),
    "raises": (lambda: verify.check_gradients(_raises, (X,)), ValueError, "RuntimeError: boom"),
    "random": (
        lambda: verify.check_gradients(lambda x: x * np.random.default_rng().random(), (X,)),
        ValueError,
        "not deterministic",
    ),
    "NaN": (lambda: verify.check_gradients(jnp.sin, (X * np.nan,)), ValueError, "must be finite"),
    "not traceable": (
        lambda: verify.check_gradients(lambda x: x if float(x[0]) > 0 else -x, (X,)),
        ValueError,
        "JAX can't trace",
    ),
    "not linear": (
        lambda: verify.check_gradients(jnp.sin, (X,), linear_in=0),
        ValueError,
        "is not linear in it",
    ),
    "argnums": (lambda: verify.check_gradients(jnp.sin, (X,), argnums=1), ValueError, "argnums"),
    "linear_in": (
        lambda: verify.check_gradients(jnp.sin, (X,), linear_in=1),
        ValueError,
        "linear_in must be positions",
    ),
    "modes": (
        lambda: verify.check_gradients(jnp.sin, (X,), modes="x"),
        ValueError,
        "modes must be",
    ),
    "order": (lambda: verify.check_gradients(jnp.sin, (X,), order=3), ValueError, "order must be"),
    "seed": (lambda: verify.check_gradients(jnp.sin, (X,), seed=-1), ValueError, "seed must be"),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_call(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call()


COMMANDS = {
    "nothing": ([], "required: function"),
    "no colon": (["nocolon"], "package.module:function"),
    "no module": (["no_such_module:f"], "cannot import no_such_module"),
    "no name": (["jax.numpy:nope"], "has no 'nope'"),
    "no argument": (["jax.numpy:tanh"], "can't be called"),
    "dtype": (["jax.numpy:tanh", "--arg", "q8[2]"], "dtype must be one of"),
    "shape": (["jax.numpy:tanh", "--arg", "f32[2"], "dtype and shape"),
    "no shape": (["jax.numpy:tanh", "--arg", "f32"], "the shape is missing"),
    "sizes": (["jax.numpy:tanh", "--arg", "f32[2,x]"], "sizes must be whole numbers"),
    "negative size": (["jax.numpy:tanh", "--arg", "f32[-2]"], "sizes must be whole numbers"),
    "range": (["jax.numpy:tanh", "--arg", "f32[2]:2..1"], "LO..HI must follow the colon"),
    "range of integers": (["jax.numpy:tanh", "--arg", "i32[2]:0..1.5"], "LO..HI must follow"),
    "range of bytes": (["jax.numpy:tanh", "--arg", "u8[2]:0..300"], "uint8 is from 0 to 255"),
    "no literal": (["jax.numpy:tanh", "--arg", "(2,"], "a Python literal, or a word; got '(2,'"),
    "word": (["jax.numpy:tanh", "--arg", "two"], "none of the arguments holds floating-point"),
    "keyword": (["jax.numpy:tanh", "--arg", "f32[2]", "--option", "SAME"], "must be name=value"),
    "keyword's dtype": (["jax.numpy:tanh", "--option", "x=q8[2]"], "--option x 'q8[2]'"),
    "unknown keyword": (
        ["jax.numpy:tanh", "--arg", "f32[2]", "--option", "size=2"],
        "size",
    ),
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
