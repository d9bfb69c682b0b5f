"""Each mode gives the derivative of a polynomial, and what JAX lacks is absent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify import _modes

from .rules import with_vjp

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


def f(x, y):
    return x * x * y, (x[0] + y).sum()


X, Y = np.array([1.0, 2.0, -3.0]), np.array([0.5, -1.0, 4.0])
WS = [(np.array([1.0, -2.0, 0.5]), np.array(3.0)), (np.array([2.0, 1.0, -1.0]), np.array(-1.0))]
VS = [(np.array([0.25, 1.0, 2.0]), np.array([-1.0, 0.5, 3.0])), (Y, X)]


def bars(w, u):
    """The gradients of both arguments."""
    return 2 * X * Y * w + 3 * u * np.eye(3)[0], X * X * w + u


def dots(v, t):
    """The tangents of both results."""
    return 2 * X * Y * v + X * X * t, 3 * v[0] + t.sum()


def assert_all(found, expected):
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-12)


def test_all_cotangents_and_directions():
    assert_all(_modes.reverse(f, (X, Y), WS), [*bars(*WS[0]), *bars(*WS[1])])
    assert_all(_modes.forward(f, (X, Y), VS), [*dots(*VS[0]), *dots(*VS[1])])


@pytest.mark.parametrize("name", _modes.REVERSE_LIKE)
def test_reverse_modes_give_the_first_gradient(name):
    found = _modes.REVERSE_LIKE[name](f, (X, Y), WS, VS)
    zero = name == "zero_cotangent"
    assert_all(found, [0 * X, 0 * Y] if zero else bars(*WS[0]))


@pytest.mark.parametrize("name", _modes.FORWARD_LIKE)
def test_forward_modes_give_the_first_tangent(name):
    assert_all(_modes.FORWARD_LIKE[name](f, (X, Y), WS, VS), dots(*VS[0]))


def test_a_batch_has_another_point_and_cotangent():
    seen = []

    def noted(true, args, w):
        jax.debug.callback(lambda *all: seen.append(all), *args, *w)
        return true

    _modes.vmapped(with_vjp(f, noted), (X, Y), WS, VS)
    jax.effects_barrier()
    points = {tuple(np.ravel(each[0])) for each in seen}
    assert points == {tuple(X), tuple(2 * X)}
    cotangents = {tuple(np.ravel(each[2])) for each in seen}
    assert cotangents == {tuple(WS[0][0]), tuple(WS[1][0])}


def test_transpose_of_a_linear_argument():
    w = (np.array([1.0, -2.0, 0.5]),)
    for i, expected in ((0, Y * w[0]), (1, X * w[0])):
        assert_all(_modes.transposed(lambda x, y: (x * y,), (X, Y), w, i), [expected])


def test_second_derivatives():
    w, (v, t) = WS[0][0], VS[0]
    product = 2 * Y * w * v + 2 * X * w * t, 2 * X * w * v
    for name, mode in _modes.SECOND_ORDER.items():
        found = mode(f, (X, Y), WS[0], VS[0])
        if name == "forward over forward":
            assert_all(found, [product[0] @ v + product[1] @ t])
        else:
            assert_all(found, product)
    assert set(_modes.SECOND_ORDER) == {
        *("forward over reverse", "reverse over reverse"),
        *("reverse over forward", "forward over forward"),
    }


def test_what_jax_lacks_is_absent():
    ruled = with_vjp(jnp.sin, lambda true, args, w: true)
    with pytest.raises(_modes.Absent, match="can't apply forward-mode"):
        _modes.trace(lambda x: jax.jvp(ruled, (x,), (x,))[1], X)
    with pytest.raises(_modes.Absent, match=r"^the first line$"):
        _modes.call(_raise, NotImplementedError("the first line\nthe second"))
    for words in _modes._NO_RULE:
        with pytest.raises(_modes.Absent):
            _modes.call(_raise, TypeError(f"some {words} of it"))
    with pytest.raises(ZeroDivisionError):
        _modes.call(_raise, ZeroDivisionError("in the rule"))
    assert _modes.call(lambda a, b: a - b, 5, 3) == 2


def _raise(error):
    raise error


def test_names():
    ways = {name.partition(",")[0] for name in (*_modes.REVERSE_LIKE, *_modes.FORWARD_LIKE)}
    assert ways < set(_modes.ALL)
    assert len(set(_modes.ALL)) == len(_modes.ALL) == 18
