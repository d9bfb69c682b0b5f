"""Operations that choose, and are linear once they have chosen.

Covers jaxconv/forms/_choice.py.
"""

import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import ad

from jaxconv.forms import _arguments, chosen, linear_pair
from jaxconv.forms._choice import _is_tuple
from jaxconv.forms._contraction import zero_tangent
from jaxconv.forms._operation import LEAF, Call
from tests.oracles import both

from .maps import assert_same

pytestmark = pytest.mark.usefixtures("float64")


def largest(x, offset, *, k):
    order = jnp.argsort(-(x["a"] + offset))[:k]
    return x["a"][order], order


take, _ = linear_pair(
    lambda x, m, *, k: x["a"][m],
    lambda y, m, *, k: {"a": jnp.zeros(5).at[m].add(y)},
    name="test_take",
)
top, top_and_choice = chosen(largest, take, name="test_top")


def test_choices_of_trees(normal):
    x, offset = {"a": normal((3, 5))}, normal((3, 5))

    def plain(x, offset, *, k):
        return largest(x, jax.lax.stop_gradient(offset), k=k)[0]

    def everything(f, x, offset):
        f = partial(f, k=2)
        square = lambda x, o: jnp.sum(f(x, o) ** 3)  # noqa: E731
        one = {"a": x["a"][0]}, offset[0]
        return (
            jax.vmap(f)(x, offset),
            jax.vmap(jax.grad(square))(x, offset),
            jax.grad(lambda x: jnp.sum(jax.vmap(f, (0, None))(x, offset[0]) ** 2))(x),
            jax.vmap(jax.vmap(f, (0, None)), (None, 0))(x, offset),
            jax.hessian(lambda a: square({"a": a}, offset[0]))(x["a"][0]),
            jax.jvp(lambda x: f(x, offset[0]), one[:1], one[:1]),
        )

    assert_same(*both(everything, top, plain, x, offset))
    one = {"a": x["a"][0]}
    (y, m), (_, m_dot) = jax.jvp(lambda x: top_and_choice(x, offset[0], k=2), (one,), (one,))
    np.testing.assert_array_equal(one["a"][m], y)
    assert m_dot.dtype == jax.dtypes.float0
    with pytest.raises(TypeError, match=r"^test_top: a constant has no derivative"):
        jax.grad(lambda o: top(one, o, k=2).sum())(offset[0])


def test_choices_of_two_arrays_and_a_constant(normal):
    """The arrays of the operand are differentiated, and the constant is not."""
    pair, _ = linear_pair(
        lambda x, m: jnp.where(m, x[0], x[1]),
        lambda y, m: (jnp.where(m, y, 0), jnp.where(m, 0, y)),
        name="test_pair",
    )

    def larger(x, offset):
        m = x[0] + offset > x[1]
        return jnp.where(m, x[0], x[1]), m

    ours, _ = chosen(larger, pair, name="test_larger")
    x, offset = (normal((5,)), normal((5,))), normal((5,))

    def everything(f):
        return (
            jax.jvp(lambda x: f(x, offset), (x,), (x,)),
            jax.grad(lambda x: jnp.sum(f(x, offset) ** 2))(x),
            jax.grad(lambda b: jnp.sum(f((x[0], b), offset) ** 2))(x[1]),
            jax.vmap(jax.grad(lambda x, o: f(x, o)))(x, offset),
        )

    assert_same(everything(ours), everything(lambda x, offset: larger(x, offset)[0]))
    with pytest.raises(TypeError, match="a constant has no derivative"):
        jax.grad(lambda o: ours(x, o).sum())(offset)


def first_of(x):
    """The first entry, and where it stood."""
    return x[:1], jnp.zeros(1, jnp.int32)


def at(x, m):
    return x[m]


def put(y, m):
    return jnp.zeros(3).at[m].add(y)


entries, _ = linear_pair(at, put, name="test_entries")


@pytest.mark.parametrize("has_value", [False, True])
def test_what_users_see_of_a_choice(has_value, monkeypatch):
    def alone(x):
        """The first entry alone."""
        return x[:1]

    monkeypatch.setattr(_arguments, "_MADE", {})
    value, both_of_it = chosen(first_of, entries, value=alone if has_value else None)
    assert (value.name, both_of_it.name) == ("first_of", "first_of_and_choice")
    assert both_of_it.__doc__ == first_of.__doc__
    assert value.__doc__ == (alone if has_value else first_of).__doc__
    named, named_choice = chosen(first_of, entries, name="top")
    assert (named.name, named_choice.name) == ("top", "top_and_choice")


def test_a_choice_is_pickled_with_its_options(monkeypatch):
    monkeypatch.setattr(_arguments, "_MADE", {})
    lowerings, gather = {"tpu": (len, first_of)}, linear_pair(at, put)[0]
    made = chosen(first_of, gather, name="sent", value=len, lowerings=lowerings)
    assert [pickle.loads(pickle.dumps(operation)) for operation in made] == list(made)
    sent = [pickle.dumps(operation) for operation in made]
    monkeypatch.setattr(_arguments, "_MADE", {})  # as in a new process
    value, both_of_it = map(pickle.loads, sent)
    assert value is not made[0]
    assert (value.name, both_of_it.name) == ("sent", "sent_and_choice")
    assert value.definition is len
    assert (value.lowerings, both_of_it.lowerings) == ({"tpu": len}, {"tpu": first_of})


def test_each_platform_has_a_map_of_each_result():
    lowerings = {"tpu": (lambda x: x[:1] * 1, lambda x: (x[:1] * 2, jnp.zeros(1, jnp.int32)))}
    value, both_of_it = chosen(first_of, entries, name="test_platform", lowerings=lowerings)
    x = jax.ShapeDtypeStruct((3,), jnp.float64)

    def program(f, platform):
        return jax.jit(f).trace(x).lower(lowering_platforms=(platform,)).as_text()

    assert "dense<1.0" in program(value, "tpu")
    assert "dense<2.0" in program(both_of_it, "tpu")
    for f in (value, both_of_it):
        assert "multiply" not in program(f, "cpu")


def test_rules_for_results_and_layouts_are_asked_once_for_both():
    """`result` gives two arrays, `value` has the first; `shard` is asked with the slot "out"."""
    asked = []

    def result(x, *, k):
        asked.append((x.shape, k))
        return jax.ShapeDtypeStruct((7,), x.dtype), jax.ShapeDtypeStruct((8,), jnp.int32)

    def shard(slot, shape, *avals, **params):
        asked.append((slot, shape, [a.shape for a in avals], params))
        return (None,) * len(shape)

    value, both_of_it = chosen(
        lambda x, *, k: None, entries, name="test_rules", result=result, shard=shard
    )
    x = jax.ShapeDtypeStruct((3,), jnp.float64)
    assert jax.eval_shape(partial(value, k=2), x).shape == (7,)
    assert asked == [((3,), 2), ("out", (7,), [(3,)], {"k": 2})]
    y, m = jax.eval_shape(partial(both_of_it, k=2), x)
    assert (y.shape, y.dtype, m.shape, m.dtype) == ((7,), np.float64, (8,), np.int32)
    assert asked[2:] == [
        ((3,), 2),
        ("out", (7,), [(3,)], {"k": 2}),
        ("out", (8,), [(3,)], {"k": 2}),
    ]


def test_tangents_that_are_all_zero_differentiate_nothing():
    """The tangents of both results are zero then, and the choice is not even made."""
    rules = {name: op._rules["jvp"] for name, op in (("y", top), ("both", top_and_choice))}
    x, offset = jnp.arange(5.0), jnp.zeros(5)
    call = Call((jax.tree.structure({"a": x}), LEAF))
    zeros = [zero_tangent(x), zero_tangent(offset)]
    for name, shapes in (("y", [(2,)]), ("both", [(2,), (2,)])):
        out, dots = rules[name]([x, offset], zeros, call, {"k": 2})
        assert [a.shape for a in out] == shapes
        assert all(isinstance(dot, ad.Zero) for dot in dots)
        assert [dot.aval.shape for dot in dots] == shapes

    def value(x, offset):
        return rules["y"]([x, offset], zeros, call, {"k": 2})[0]

    assert "test_top_and_choice" not in str(jax.make_jaxpr(value)(x, offset))


def test_values_that_are_integers_have_no_tangent():
    """The value holds the place of the largest entry beside the entry itself."""
    gather, _ = linear_pair(
        lambda x, m: {"at": m, "of": x[m]},
        lambda y, m: jnp.zeros(3).at[m].add(y["of"]),
        name="test_at",
    )

    def choose(x):
        m = jnp.argmax(x)
        return {"at": m, "of": x[m]}, m

    largest, _ = chosen(choose, gather, name="test_largest")
    x, x_dot = jnp.array([1.0, 5.0, 3.0]), jnp.array([10.0, 20.0, 30.0])
    y, y_dot = jax.jvp(largest, (x,), (x_dot,))
    assert (y["at"], y["of"], y_dot["of"]) == (1, 5, 20)
    assert y_dot["at"].dtype == jax.dtypes.float0


def test_a_choice_of_several_arrays():
    """A tuple of the choice is several constants of the linear map; another tree is one."""
    x, x_dot = jnp.array([1.0, 5.0, 3.0]), jnp.array([10.0, 20.0, 30.0])
    for pack, unpack in (
        (lambda a, b: (a, b), lambda a, b: (a, b)),
        (lambda a, b: [a, b], lambda m: m),
        (lambda a, b: {"a": a, "b": b}, lambda m: (m["a"], m["b"])),
    ):

        def gather(x, *m, unpack=unpack):
            a, b = unpack(*m)
            return x[a] + 2 * x[b]

        def back(y, *m, unpack=unpack):
            a, b = unpack(*m)
            return jnp.zeros(3).at[a].add(y).at[b].add(2 * y)

        ends, _ = linear_pair(gather, back, name="test_ends")

        def choose(x, pack=pack):
            a, b = jnp.argmin(x), jnp.argmax(x)
            return x[a] + 2 * x[b], pack(a, b)

        both_ends, _ = chosen(choose, ends, name="test_both_ends")

        def everything(x, f=both_ends):
            return jax.jvp(f, (x,), (x_dot,)), jax.grad(f)(x)

        (y, y_dot), x_bar = jax.jit(everything)(x)
        assert (y, y_dot) == (11, 50)
        np.testing.assert_array_equal(x_bar, [1, 2, 0])


@pytest.mark.parametrize(
    ("tree", "is_tuple"),
    [((0, 1), True), ((), True), ([0, 1], False), ({"a": 0}, False), (0, False), (None, False)],
)
def test_which_trees_are_tuples(tree, is_tuple):
    assert _is_tuple(jax.tree.structure(tree)) is is_tuple


@pytest.mark.parametrize("wrong", [lambda x: x[:2], lambda x: (x[:1], x[:1])])
def test_the_linear_map_must_return_the_shapes_of_the_value(wrong):
    gather, _ = linear_pair(lambda x, m: wrong(x), lambda y, m: y, name="test_gathered")
    first, _ = chosen(first_of, gather, name="test_first")
    with pytest.raises(TypeError) as caught:
        jax.jvp(first, (jnp.ones(3),), (jnp.ones(3),))
    assert str(caught.value).startswith(
        "test_first: test_gathered_out must return the shapes of the value, [(1,)], got "
    )


def test_a_batching_rule_gets_operands_that_all_have_the_batch():
    told = []

    def batch(operations, slot, operands, batched):
        told.append((slot, jax.tree.map(jnp.shape, operands), batched))
        y = operands[0]["a"][:, :1]
        return (y, jnp.zeros((2, 1), jnp.int32)) if slot == "value_and_choice" else y

    pair, _ = linear_pair(lambda x, m: x["a"][m], lambda y, m: y, name="test_pair")
    value, both_of_it = chosen(
        lambda x, s: (x["a"][:1], jnp.zeros(1, jnp.int32)), pair, name="test_batch", batch=batch
    )
    x = {"a": jax.ShapeDtypeStruct((2, 3), jnp.float64), "b": jax.ShapeDtypeStruct((), jnp.float64)}
    s = jax.ShapeDtypeStruct((4,), jnp.float64)
    axes = ({"a": 0, "b": None}, None)
    for f, slot in ((value, "value"), (both_of_it, "value_and_choice")):
        jax.eval_shape(jax.vmap(f, axes), x, s)
        assert told.pop() == (slot, [{"a": (2, 3), "b": (2,)}, (2, 4)], [True, True])
    assert not told


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input():
    with pytest.raises(TypeError, match=r"^chosen: choose must be a function, got int"):
        chosen(2, entries)
    with pytest.raises(TypeError, match=r"^chosen: lowerings must be a mapping"):
        chosen(first_of, entries, lowerings=[first_of])
    with pytest.raises(ValueError, match=r"^chosen: a platform must be one of"):
        chosen(first_of, entries, lowerings={"gpu": (first_of, first_of)})
