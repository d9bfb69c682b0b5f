"""The rules of a contraction: which other one its transpose is, and what each says of misuse."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import ad
from jax.sharding import AxisType, PartitionSpec

from jaxconv.forms import linear_pair, multilinear_form
from jaxconv.forms._contraction import Form, _laid_out_as, is_nonzero, plain
from jaxconv.forms._operation import LEAF, Call, Level

pytestmark = pytest.mark.usefixtures("float64")


def nothing(*operands):
    return operands[0]


def form_of(slots):
    form = Form(None, None, None)
    form.add_all("test", dict.fromkeys(slots, nothing), "n", {})
    return form


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_transpose_has_the_operand_empty_and_the_cotangent_in_its_own_slot(count):
    slots = "abcd"[:count]
    form = form_of(slots)
    for slot in slots:
        assert form.operations[slot].name == f"n_{slot}"
        assert form.operations[slot].linear == count - 1
        operands = [s for s in slots if s != slot]
        for wanted, empty in enumerate(operands):
            transpose, order, sign = form.turned(slot, wanted)
            assert transpose is form.operations[empty]
            assert [[*operands, slot][i] for i in order] == [s for s in slots if s != empty]
            assert sign == 1


def parity(order):
    inversions = sum(a > b for i, a in enumerate(order) for b in order[i + 1 :])
    return (-1) ** inversions


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_transpose_of_a_symmetric_form_has_the_sign_of_the_order(count, sign):
    form = Form(None, None, None)
    form.add_symmetric(nothing, count, sign, "n", {})
    assert form.operations["out"].linear == count - 1
    for wanted in range(count - 1):
        transpose, order, found = form.turned("out", wanted)
        assert transpose is form.operations["out"]
        # T(..., operand, ..., c) = ± T(the others, c, operand)
        assert sorted([*order, wanted]) == list(range(count))
        assert found == (parity([*order, wanted]) if sign < 0 else 1)


def test_the_determinant_is_antisymmetric(normal):
    """T(a, b, c, d) = det [a b c d], a form of four slots."""
    order, sign = zip(*((p, parity(p)) for p in permutations(range(4))), strict=True)
    i, j, k, last = np.array(order).T

    def cofactors(a, b, c):
        terms = np.array(sign) * a[i] * b[j] * c[k]
        return jnp.zeros(4).at[last].add(terms)

    ours = multilinear_form(cofactors, symmetry="antisymmetric", name="test_cofactors")
    columns = [normal((4,)) for _ in range(4)]
    _, pull_back = jax.vjp(ours, *columns[:3])
    bars = pull_back(columns[3])
    for place, bar in enumerate(bars):
        unit = [jnp.stack(columns).at[place].set(one) for one in np.eye(4)]
        np.testing.assert_allclose(bar, [jnp.linalg.det(m.T) for m in unit], atol=1e-14)


def test_a_tangent_of_integers_or_of_nothing_is_zero():
    assert is_nonzero(np.zeros(2))
    assert not is_nonzero(np.zeros(2, jax.dtypes.float0))
    assert not is_nonzero(ad.Zero(jax.typeof(jnp.ones(2))))


def test_an_operand_that_is_partly_differentiated(normal):
    """The arrays of an operand that have no tangent count as having a tangent of zeros."""
    double, _ = linear_pair(
        lambda x: (2 * x["a"], 3 * x["b"]),
        lambda y: {"a": 2 * y[0], "b": 3 * y[1]},
        name="test_parts",
    )
    a, b = normal((2,)), normal((3,))
    for given, expected in ((("a",), (2 * a, 0 * b)), (("b",), (0 * a, 3 * b))):
        point = {name: x for name, x in (("a", a), ("b", b)) if name in given}
        f = lambda x: double({"a": a, "b": b} | x)  # noqa: E731
        _, dots = jax.jvp(f, (point,), (point,))
        np.testing.assert_array_equal(dots[0], expected[0])
        np.testing.assert_array_equal(dots[1], expected[1])
        transposed = jax.linear_transpose(f, point)((a, b))[0]
        assert set(transposed) == set(given)


triple = multilinear_form(
    {"a": lambda b, c, *k: b * c, "b": lambda a, c, *k: a * c, "c": lambda a, b, *k: a * b},
    name="test_triple",
)[2]


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: triple(1.0, 2.0, 3.0, x), "test_triple_c: constant 1 has no derivative, since "
         "only the first 2 operands are linear; see jax.lax.stop_gradient."),
        (lambda x: triple(1.0, 2.0, x, 3.0), "test_triple_c: constant 0 has no derivative"),
        (lambda x: linear_pair(nothing, nothing, name="test_one")[0](1.0, x),
         "test_one_out: constant 0 has no derivative, since only the first operand is linear"),
    ],
)  # fmt: skip
def test_constants_have_no_derivative(f, message):
    with pytest.raises(TypeError) as caught:
        jax.jvp(f, (1.0,), (1.0,))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("f", "operands"),
    [(lambda x: triple(x, x, 1.0), [0, 1]), (lambda x: triple(1.0, 1.0, x), [2])],
)
def test_what_is_not_linear_has_no_transpose(f, operands):
    with pytest.raises(TypeError) as caught:
        jax.linear_transpose(f, 1.0)(1.0)
    assert str(caught.value) == (
        "test_triple_c: it is linear in each of its first 2 operands alone, "
        f"not in operands {operands} together."
    )


def test_cotangents_that_are_all_zero_call_no_map():
    def never(y):
        raise AssertionError("the transpose was called")

    f, _ = linear_pair(lambda x: {"a": 2 * x["a"], "b": x["b"]}, never, name="test_zero")
    x = {"a": jax.typeof(jnp.ones(2)), "b": jax.typeof(jnp.ones((3, 1)))}
    call = Call((jax.tree.structure(x),))
    avals = list(x.values())
    zeros = [ad.Zero(aval.to_ct_aval()) for aval in avals]
    bars = f._transpose(zeros, [ad.UndefinedPrimal(aval) for aval in avals], call, {})
    assert [(type(bar), bar.aval.shape) for bar in bars] == [(ad.Zero, (2,)), (ad.Zero, (3, 1))]
    # An array that is not asked for gets no cotangent.
    bars = f._transpose(zeros, [jnp.ones(2), ad.UndefinedPrimal(avals[1])], call, {})
    assert bars[0] is None
    assert bars[1].aval.shape == (3, 1)


def test_results_that_have_no_tangent_get_none(normal):
    """Integers among the results have the tangent zero, and cotangents of nothing are filled in."""
    seen = []

    def back(y, n):
        seen.append(jax.tree.map(lambda a: (a.shape, a.dtype), y))
        return 2 * y["x"]

    f, _ = linear_pair(lambda x, n: {"n": n, "x": 2 * x, "z": 0 * x[:1]}, back, name="test_counted")
    x, n = normal((2,)), jnp.arange(3)
    out, dots = jax.jvp(lambda x: f(x, n), (x,), (x,))
    assert dots["n"].dtype == jax.dtypes.float0
    np.testing.assert_array_equal(dots["x"], 2 * x)
    (bar,) = jax.grad(lambda x: f(x, n)["x"].sum(), argnums=(0,))(x)
    np.testing.assert_array_equal(bar, [2, 2])
    expected = {"n": ((3,), n.dtype), "x": ((2,), x.dtype), "z": ((1,), x.dtype)}
    assert all(entry == expected for entry in seen)


# Batches.


def test_a_level_says_which_operands_have_a_batch(monkeypatch):
    """Linear operands get the batch as a whole, and constants array by array."""
    f, _ = linear_pair(lambda x, s, t: x[0] * s[0], lambda y, s, t: (y * s[0], 0 * y))
    bound = []
    monkeypatch.setattr(f, "bind", lambda leaves, call, _: (bound.append((leaves, call)), None))
    pair = jax.tree.structure((0, 0))
    call = Call((pair, pair, LEAF), (Level((True, True), (False, True, False)),))
    leaves = [jax.device_put(np.ones((2, *shape))) for shape in ((3,), (3,), (4,), (5,), ())]
    alone = [leaf[0] for leaf in leaves]

    def given(*batched):
        return [a if b else one for a, one, b in zip(leaves, alone, batched, strict=True)]

    for batched, slots, constants, shapes in (
        ((1, 0, 0, 0, 0), (True, True), (False,) * 3, ((2, 3), (2, 3), (4,), (5,), ())),
        ((0, 0, 0, 1, 0), (False, True), (False, True, False), ((3,), (3,), (4,), (2, 5), ())),
        ((0, 0, 0, 0, 1), (False, True), (False, False, True), ((3,), (3,), (4,), (5,), (2,))),
    ):
        f._batch(given(*batched), [bool(b) for b in batched], call, {})
        found, new = bound.pop()
        assert new.levels == (*call.levels, Level(slots, constants))
        assert tuple(np.shape(a) for a in found) == shapes


def test_with_a_rule_every_array_of_an_operand_gets_the_batch():
    told = []

    def batch(contractions, slot, operands, batched):
        told.append((slot, jax.tree.map(jnp.shape, operands), batched))
        return operands[0][0]

    f, _ = linear_pair(lambda x, s, t: x[0], lambda y, s, t: (y, y), batch=batch)
    x = jnp.ones((2, 3))
    jax.eval_shape(lambda x: jax.vmap(lambda a, s: f((a, x), (s, x), x))(x, x), x)
    assert told == [
        ("out", [((2, 3), (2, 2, 3)), ((2, 3), (2, 2, 3)), (2, 3)], [True, True, False])
    ]


# Layouts over a mesh with explicit axes.


def test_a_cotangent_is_laid_out_as_its_operand():
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        rows, all_of_it = (
            jax.device_put(jnp.ones((4, 2)), spec)
            for spec in (PartitionSpec("d", None), PartitionSpec(None, None))
        )
        assert _laid_out_as(rows, jax.typeof(rows)) is rows
        moved = _laid_out_as(all_of_it, jax.typeof(rows))
        assert jax.typeof(moved).sharding == jax.typeof(rows).sharding
    outside = jnp.ones((4, 2))
    assert _laid_out_as(outside, jax.typeof(rows)) is outside


@pytest.mark.parametrize("option", [None, "shard", "result"])
def test_who_lays_out_a_cotangent(option):
    """Without a rule, the operand. Rules of the author are not overruled."""
    options = {
        None: {},
        "shard": {"shard": lambda slot, shape, *_: (None,) * len(shape)},
        "result": {
            "result": lambda slot, x: jax.ShapeDtypeStruct(x.shape, x.dtype),
            "shard": lambda slot, shape, *_: (None,) * len(shape),
        },
    }[option]
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    gathered, _ = linear_pair(
        lambda x: jax.sharding.reshard(x, PartitionSpec(None)),
        lambda y: y,
        name=f"test_gathered_{option}",
        **options,
    )
    with jax.set_mesh(mesh):
        x = jax.typeof(jax.device_put(jnp.ones(4), PartitionSpec("d")))
        y = jax.typeof(jax.device_put(jnp.ones(4), PartitionSpec(None)))

        def bar(y):
            return gathered._transpose([y], [ad.UndefinedPrimal(x)], None, {})[0]

        found = jax.eval_shape(bar, y)
    assert found.sharding.spec == PartitionSpec("d" if option is None else None)


def test_plain_calls_are_of_arrays():
    assert plain(3) == Call((LEAF, LEAF, LEAF))
    assert plain(3).is_plain()
