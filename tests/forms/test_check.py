"""`forms.check` finds what is wrong, says it in a sentence or names the slip."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import verify
from jaxconv.forms import (
    _check,
    broadcast_batch,
    check,
    chosen,
    elementwise,
    linear_pair,
    multilinear_form,
)

pytestmark = pytest.mark.usefixtures("float64")


def blur(x):
    return (x[1:] + x[:-1]) / 2


def back(y):
    return (jnp.pad(y, (0, 1)) + jnp.pad(y, (1, 0))) / 2


X = (np.array([0.5, -1.25, 2.0, 3.5, -0.75]),)
MISTAKES = {
    "a factor, in half precision": (
        lambda: linear_pair(
            blur, lambda y: 2 * back(y), verify=(jnp.array(X[0], jnp.bfloat16),)
        ),
        r"x: float64\[5\](.|\n)*a constant factor",  # as it is in double precision
    ),
    "a sign": (lambda: linear_pair(blur, lambda y: -back(y), verify=X), "wrong sign"),
    "reversed": (lambda: linear_pair(blur, lambda y: back(y)[::-1], verify=X), "reversed|flipped"),
    "transpose not linear": (
        lambda: linear_pair(blur, lambda y: back(y) ** 2, name="blur", verify=X),
        r"blur_in is not linear in operand 0: f\(2u \+ v\) differs from 2 f\(u\) \+ f\(v\)\.$",
    ),
    "map not linear": (
        lambda: linear_pair(lambda x: blur(x) + 1, back, name="blur", verify=X),
        r"blur_out is not linear in operand 0",
    ),
    "one of two results not linear": (
        lambda: linear_pair(lambda x: (blur(x), x + 1), lambda y: y[1], name="two", verify=X),
        r"two_out is not linear in operand 0",
    ),
    "the second of two operands": (
        lambda: multilinear_form(
            {"a": lambda b, c: b * c, "b": lambda a, c: a * c, "c": lambda a, b: a * (b + 1)},
            name="n",
            verify=X * 2,
        ),
        r"is wrong: n_c is not linear in operand 1: [^\n]*$",
    ),
    "shape": (
        lambda: linear_pair(blur, lambda y: y, name="blur", verify=X),
        r"^blur_out: .* must return float64\[5\], as operand 0 is, but returned float64\[4\]",
    ),
    "shape, beside integers": (
        lambda: linear_pair(
            lambda x: {"a": blur(x["a"]), "n": x["n"]},
            lambda y: y,
            name="blur",
            verify=({"a": X[0], "n": jnp.arange(3)},),
        ),
        r"^blur_out: .* must return float64\[5\], as operand 0 is, but returned float64\[4\]",
    ),
    "shape for a second operand": (
        lambda: multilinear_form(
            {"a": lambda b, c: b * c, "b": lambda a, c: (a * c)[1:], "c": lambda a, b: a * b},
            name="product",
            verify=X * 2,
        ),
        r"^product_c: .* must return float64\[5\], as operand 1 is, but returned float64\[4\]",
    ),
    "batch": (
        lambda: linear_pair(blur, back, batch=broadcast_batch, name="blur", verify=X),
        "blur_out: vmap over operand 0 gives other values than the map itself|check_gradients",
    ),
    "platform here": (
        lambda: linear_pair(blur, back, lowerings={"cpu": (blur, lambda y: 3 * back(y))}, verify=X),
        "back: its map for cpu gives other values",
    ),
    "platform not here": (
        lambda: linear_pair(blur, back, lowerings={"tpu": (lambda x: jnp.no, back)}, verify=X),
        "blur: its map for tpu can't be compiled: AttributeError",
    ),
    "its shape": (
        lambda: linear_pair(blur, back, lowerings={"cuda": (blur, blur)}, verify=X),
        r"back: its map for cuda returns float64\[3\], not float64\[5\]",
    ),
    "element-wise": (lambda: elementwise(jnp.sin, jnp.sin, verify=X), "sin: the gradient is wrong"),
    "platform of a map that is not linear": (
        lambda: elementwise(jnp.sin, jnp.cos, lowerings={"cpu": lambda x: 2 * x}, verify=X),
        "sin: its map for cpu gives other values",
    ),
    "of a form": (
        lambda: multilinear_form(
            {"a": lambda b, c: b @ c, "b": lambda a, c: jnp.outer(c, a), "c": lambda a, b: a @ b},
            verify=(jnp.arange(3.0) + 1, jnp.arange(9.0).reshape(3, 3) - 3),
        ),
        "transposed",
    ),
    "complex": (
        lambda: linear_pair(lambda x: 1j * x, lambda y: -1j * y, verify=(X[0] + 1j,)),
        "wrong sign",
    ),
}  # fmt: skip


def test_a_long_error_is_cut_short():
    def fails(x):
        raise RuntimeError("x" * 400)

    with pytest.raises(ValueError, match="can't be compiled") as raised:
        linear_pair(blur, back, lowerings={"tpu": (fails, back)}, verify=X)
    assert str(raised.value).endswith("can't be compiled: RuntimeError: " + "x" * 286 + ".")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake):
    make, message = MISTAKES[mistake]
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_right_ones_pass():
    rounds_elsewhere = lambda x: blur(x / 3) * 3  # noqa: E731
    lowerings = {"cpu": (rounds_elsewhere, back), "tpu": (blur, back)}
    linear_pair(blur, back, verify=X, lowerings=lowerings)
    linear_pair(lambda x: 1j * x, lambda y: 1j * y, verify=(X[0] - 2j,))
    linear_pair(blur, back, verify=(jnp.array([1, 2, 4]),))  # integers: the maps only
    elementwise(jnp.sin, jnp.cos, verify=X)
    multilinear_form(jnp.multiply, symmetry="symmetric", slots=3, verify=X * 2)
    multilinear_form(  # operands of the last one, which fit no other
        {
            "a": lambda b, c: jnp.einsum("ij,j->i", b, c),
            "b": lambda a, c: jnp.einsum("i,j->ij", a, c),
            "c": lambda a, b: jnp.einsum("i,ij->j", a, b),
        },
        verify=(jnp.arange(3.0) + 1, jnp.arange(12.0).reshape(3, 4) - 3),
    )
    counted = (lambda x: {"a": 2 * x["a"], "n": x["n"]},) * 2
    linear_pair(*counted, verify=({"a": X[0], "n": jnp.arange(3)},))
    check(linear_pair(lambda x, *, k: k * x, lambda y, *, k: k * y)[0], {"a": X[0]}["a"], k=3)


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input():
    with pytest.raises(TypeError, match="check: it takes an operation, got function"):
        check(blur, *X)


# The parts of the check, on arrays of NumPy.


EPS = float(np.finfo(np.float64).eps)


@pytest.mark.parametrize(
    ("actual", "expected", "close"),
    [
        ([1 + 64 * EPS, 0.5], [1.0, 0.5], True),  # the bound: 64 units of the largest element
        ([1 + 65 * EPS, 0.5], [1.0, 0.5], False),
        ([8.0, 64 * 8 * EPS], [8.0, 0.0], True),
        ([8.0, 65 * 8 * EPS], [8.0, 0.0], False),
        ([1 - 64j * EPS], [1 + 0j], True),
        ([1 - 65j * EPS], [1 + 0j], False),
        ([1e-30], [0.0], False),
        ([np.nan, 1.0], [np.nan, 1 + EPS], True),
        ([np.nan, 1.0], [1.0, 1.0], False),
        ([1.0, 1.0], [np.nan, 1.0], False),
        ([np.inf, -np.inf, 1.0], [np.inf, -np.inf, 1 + EPS], True),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([np.inf, 1.0], [np.inf, 2.0], False),  # an infinity does not excuse the others
        ([np.inf, 1.0], [1e308, 1.0], False),
        ([1.0, 1.0], [np.inf, 1.0], False),
        ([1e308], [-1e308], False),
        ([], [], True),
        ([1, 2], [1, 2], True),
        ([1, 2], [1, 3], False),
        ([True], [False], False),
        ([1.0], [1], False),  # another dtype
        ([1.0], [[1.0]], False),  # another shape
    ],
)
def test_what_is_close(actual, expected, close):
    assert _check._is_close(np.array(actual), np.array(expected)) is close


def test_close_is_measured_in_the_dtype_of_the_arrays():
    eps, one = float(jnp.finfo(jnp.float32).eps), np.ones(1, np.float32)
    assert _check._is_close(one + np.float32(64 * eps), one)
    assert not _check._is_close(one + np.float32(65 * eps), one)


def test_trees_agree_if_they_have_the_same_structure_and_each_array_is_close():
    one, two = np.ones(2), 2 * np.ones(2)
    assert _check._agree({"a": one, "b": two}, {"a": one, "b": two})
    assert not _check._agree({"a": one, "b": two}, {"a": one, "b": one})
    assert not _check._agree({"a": one, "b": two}, {"a": two, "b": two})
    assert not _check._agree((one, two), [one, two])


def test_random_arrays_are_like_those_given():
    tree = {
        "f": jnp.zeros((200,), jnp.float32),
        "c": jax.ShapeDtypeStruct((3,), jnp.complex64),
        "n": np.zeros((200,), np.int8),
        "s": np.float64(1.0),
    }
    drawn, again, other = (
        jax.tree.map(np.asarray, _check._random_like(tree, seed)) for seed in (0, 0, 1)
    )
    for name, like in tree.items():
        assert (drawn[name].shape, drawn[name].dtype) == (like.shape, like.dtype)
        np.testing.assert_array_equal(drawn[name], again[name])
        assert (drawn[name] != other[name]).any()
    assert abs(drawn["f"].mean()) < 0.3
    assert abs(drawn["f"].std() - 1) < 0.2
    assert (drawn["c"].imag != 0).all()
    assert (drawn["c"].real != drawn["c"].imag).all()
    assert set(drawn["n"]) == {0, 1, 2, 3}


def test_only_floats_and_complex_numbers_are_widened():
    tree = {"f": np.ones(2, np.float32), "c": jnp.ones(2, jnp.complex64), "n": np.ones(2, np.int8)}
    wide = _check._widened(tree)
    assert {name: x.dtype.name for name, x in wide.items()} == {
        "f": "float64",
        "c": "complex128",
        "n": "int8",
    }
    assert wide["n"] is tree["n"]


def test_every_contraction_gets_operands_of_its_own():
    """T(a, b, c) = Σ a[i] b[i,j] c[j] k: sizes say which operand is which, constants come last."""
    form = multilinear_form(
        {
            "a": lambda b, c, k: k * (b @ c),
            "b": lambda a, c, k: k * jnp.outer(a, c),
            "c": lambda a, b, k: k * (a @ b),
        },
        name="n",
    )
    k = np.float64(2.0)
    given = np.ones(2), np.ones((2, 3)), k
    found = [
        (contraction.name, [np.shape(x) for x in operands])
        for contraction, operands in _check._contractions(form[2], given, {})
    ]
    assert found == [
        ("n_c", [(2,), (2, 3), ()]),
        ("n_a", [(2, 3), (3,), ()]),
        ("n_b", [(2,), (3,), ()]),
    ]


class Recorded:
    """Stands in for the verifier."""

    def __init__(self, *called, **options):
        self.called, self.options = called, options


def test_what_the_verifier_is_asked_for():
    scaled = linear_pair(lambda x, n, *, k: k * x, lambda y, n, *, k: k * y, name="scaled")[0]
    x, n = np.ones(2), np.arange(2)
    report = _check._report(Recorded, scaled, (x, n), {"k": 3})
    f, operands = report.called
    assert operands == (x, n)
    assert (f.__name__, report.options["reference"].__name__) == ("scaled_out", "scaled_out")
    np.testing.assert_array_equal(f(x, n), 3 * x)
    np.testing.assert_array_equal(report.options["reference"](x, n), 3 * x)
    assert report.options["argnums"] == report.options["linear_in"] == [0]
    assert list(f.__signature__.parameters)[:2] == ["x", "n"]
    assert _check._report(Recorded, scaled, (n, n), {"k": 3}) is None  # nothing has a derivative
    mixed = _check._report(Recorded, scaled, ({"x": x, "n": n}, n), {"k": 3})
    assert mixed.options["argnums"] == [0]
    power = elementwise(lambda x, a: x**a, (lambda x, a: a * x ** (a - 1), None))
    report = _check._report(Recorded, power, (x, x), {})
    assert (report.options["argnums"], report.options["linear_in"]) == ([0], None)


def test_a_function_without_a_signature_is_checked_as_well():
    assert _check._called("largest", max, {})(1, 2) == 2


@pytest.mark.parametrize(
    ("of_wide", "shown"),
    [
        ({"ok": False}, "float64"),
        ({"ok": True}, "bfloat16"),  # wrong in half precision alone
        ({"ok": False, "crashed": ["jit"]}, "float64"),  # as in half precision
        ({"ok": False, "crashed": ["jit", "vmap"]}, "bfloat16"),  # the maps insist on their dtype
        (RuntimeError, "bfloat16"),
    ],
)
def test_which_precision_is_reported(of_wide, shown, monkeypatch):
    """Double precision shows a slip better, if it shows the same one."""

    def reported(f, operands, **_):
        (x,) = operands
        if x.dtype == np.float64 and of_wide is RuntimeError:
            raise RuntimeError
        found = of_wide if x.dtype == np.float64 else {"ok": False, "crashed": ["jit"]}
        modes = [SimpleNamespace(name=name, status="crashed") for name in found.get("crashed", ())]
        modes.append(SimpleNamespace(name="scan", status=["ok", "wrong"][x.dtype == np.float64]))
        text = f"a report in {x.dtype}"
        return type("Report", (), {"ok": found["ok"], "modes": modes, "__str__": lambda _: text})()

    f = linear_pair(blur, back)[0]
    monkeypatch.setattr(verify, "check_gradients", reported)
    with pytest.raises(ValueError, match=f"^jaxconv.forms.check: a report in {shown}$"):
        check(f, jnp.array(X[0], jnp.bfloat16))


def test_the_platform_of_each_map_is_named():
    """Both values and shapes are compared, for a map here and for one elsewhere."""
    on = partial(_check._on_platform, blur, blur)
    assert on(blur, "cpu", X) == ""
    assert on(lambda x: blur(x) + 1, "cpu", X) == "gives other values"
    assert on(lambda x: x, "cpu", X) == "returns float64[5], not float64[4]"
    assert on(lambda x: blur(x).astype(jnp.float32), "tpu", X) == (
        "returns float32[4], not float64[4]"
    )
    assert on(lambda x: blur(x) + 1, "tpu", X) == ""  # no values to compare


def test_maps_of_choices_and_of_transposes_are_compared():
    gather = linear_pair(lambda x, m: x[m], lambda y, m: jnp.zeros(5).at[m].add(y), name="take")[0]
    top = partial(jax.lax.top_k, k=2)
    right, wrong = (lambda x: top(x)[0]), (lambda x: top(x)[0] + 1)
    chosen(top, gather, lowerings={"cpu": (right, top)}, verify=X)
    with pytest.raises(ValueError, match="top: its map for cpu gives other values"):
        chosen(top, gather, name="top", lowerings={"cpu": (wrong, top)}, verify=X)


def test_batches_of_operands_without_arrays_and_of_scalars():
    """An operand of no arrays has no batch, and a number has one of two equal members."""
    asked = []

    def batch(contractions, slot, operands, batched, *, wrong=()):
        asked.append((batched, [np.shape(x) for x in jax.tree.leaves(operands)]))
        size = next(len(x) for x, b in zip(operands, batched, strict=True) if b)
        (x, _, s), off = operands, any(batched[i] for i in wrong)
        return jnp.broadcast_to(x, (size, 3)) * jnp.reshape(s, (-1, 1)) + off

    f, _ = linear_pair(
        lambda x, nothing, s, *, wrong=(): x * s,
        lambda y, nothing, s, *, wrong=(): y * s,
        batch=batch,
        name="scaled",
    )
    operands = np.array([1.0, 2.0, 4.0]), (), np.float64(3.0)
    assert list(_check._wrong_batches(f, operands, {})) == []
    assert asked == [
        ([True, False, False], [(2, 3), ()]),
        ([False, False, True], [(3,), (2,)]),
    ]
    for wrong in (0, 2):
        assert list(_check._wrong_batches(f, operands, {"wrong": (wrong,)})) == [
            f"scaled_out: vmap over operand {wrong} gives other values than the map itself."
        ]
