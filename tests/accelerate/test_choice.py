"""What runs for one primitive, by rules that are made up here.

Covers jaxconv/_accelerate/_choice.py, jaxconv/_accelerate/_replacement.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jax.sharding import AxisType, PartitionSpec

from jaxconv import accelerate, explain
from jaxconv._accelerate._choice import choose
from jaxconv._accelerate._replacement import RULES, Kept, Replacement, replacement_of, rule


def primitive(name, function, multiple=False):
    """A primitive of JAX that computes a function."""
    p = Primitive(name)
    p.multiple_results = multiple
    p.def_impl(function)

    def abstract(*avals, **params):
        out = jax.eval_shape(lambda *a: function(*a, **params), *avals)
        weak = all(aval.weak_type for aval in avals)
        return jax.tree.map(lambda s: avals[0].update(shape=s.shape, weak_type=weak), out)

    p.def_abstract_eval(abstract)
    mlir.register_lowering(p, mlir.lower_fun(function, multiple_results=multiple))
    return p


@pytest.fixture
def doubled():
    """A primitive that doubles its operand, and what is asked of its rule."""
    yield primitive("doubled", lambda x, **_: x * 2)
    RULES.clear()
    RULES.update(KNOWN)


KNOWN = dict(RULES)
X = jnp.arange(6.0).reshape(2, 3)


def both(f, *args):
    """The program of a function when it is traced alone and when `jit` has traced it."""
    inside = jax.make_jaxpr(accelerate(jax.jit(f)))(*args).eqns[0].params["jaxpr"]
    return jax.make_jaxpr(accelerate(f))(*args), inside


def test_the_rule_sees_types_and_parameters(doubled):
    asked = []

    @rule(doubled)
    def _(avals, params):
        asked.append((avals[0].shape, avals[0].dtype, dict(params)))
        return Replacement(lambda x: [x + x], "a sum")

    def f(x):
        return doubled.bind(x, how="fast")

    for program in both(f, X):
        assert [equation.primitive.name for equation in program.eqns] == ["add"]
    np.testing.assert_array_equal(accelerate(f)(X), 2 * X)
    assert asked == [((2, 3), X.dtype, {"how": "fast"})]  # once, although it was met three times
    assert replacement_of(doubled, [jax.typeof(X)], {}).description == "a sum"


def test_a_choice_holds_for_its_types_parameters_and_settings(doubled):
    asked = []
    rule(doubled)(lambda avals, params: asked.append(params) or Kept("it was asked"))

    def ask(x, **params):
        return choose(doubled, [jax.typeof(x)], params).met

    y = X.astype("int32")
    for x, params in ((X, {}), (X, {"a": 1}), (X, {"a": 2}), (X, {"a": 1, "b": 2}), (y, {})):
        assert ask(x, **params) is ask(x, **dict(reversed(params.items())))
    assert len(asked) == 5
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        ask(X)
    with jax.enable_x64(True):
        ask(X)
    assert len(asked) == 7


def test_what_was_met_has_the_shapes_and_dtypes_of_its_operands_and_results():
    product = primitive("product", lambda x, y: x @ y)
    RULES[product] = lambda avals, params: Replacement(lambda x, y: [x @ y], "a product")
    try:
        y = jnp.ones((3, 4), "bfloat16")
        choice = choose(product, [jax.typeof(X), jax.typeof(y)], {})
    finally:
        del RULES[product]
    met = choice.met
    assert (met.path, met.runs, met.reason) == (("product",), "a product", None)
    assert (met.operands, met.results) == (((2, 3), (3, 4)), ((2, 4),))
    assert met.dtypes == ("float32", "bfloat16")
    assert choice.program.out_avals[0].shape == choice.run(X, y)[0].shape == (2, 4)


def test_kept_says_why(doubled):
    rule(doubled)(lambda avals, params: Kept("it is too beautiful"))
    for program in both(doubled.bind, X):
        assert [equation.primitive.name for equation in program.eqns] == ["doubled"]
    (row,) = explain(accelerate(doubled.bind), X).accelerated
    assert (row.path, row.runs, row.reason) == (("doubled",), None, "it is too beautiful")
    assert "stays     it is too beautiful" in str(row)


def test_results_that_are_operands_constants_or_equal():
    """A replacement may return its operand, a constant, or the same array twice."""
    table = np.arange(6.0, dtype="float32").reshape(2, 3)
    three = primitive("three", lambda x: [x, x + 1, x + 1], multiple=True)
    constant = primitive("constant", lambda x: jnp.asarray(table))
    RULES[three] = lambda avals, params: Replacement(lambda x: [x, x + 1, x + 1], "")
    RULES[constant] = lambda avals, params: Replacement(lambda x: [jnp.asarray(table)], "")
    shared = jnp.asarray(table)
    RULES[constant] = lambda avals, params: Replacement(lambda x: [shared], "")
    try:

        def f(x):
            a, b, c = three.bind(x)
            return a, b + c, constant.bind(a), three.bind(2.0 * b)[0]

        for g in (accelerate(f), accelerate(jax.jit(f)), jax.jit(accelerate(jax.jit(f)))):
            for a, b in zip(g(X), f(X), strict=True):
                np.testing.assert_array_equal(a, b)
        assert "three" not in str(jax.make_jaxpr(accelerate(jax.jit(f)))(X))
        assert "constant" not in str(jax.make_jaxpr(accelerate(jax.jit(f)))(X))
    finally:
        del RULES[three], RULES[constant]


def test_weak_types_stay(doubled):
    def strong(x):
        return [lax.convert_element_type(x + x, x.dtype)]

    rule(doubled)(lambda avals, params: Replacement(strong, ""))

    def f(x):
        return doubled.bind(jnp.full((2,), 1.0) * 3.0) + doubled.bind(x)

    want = jax.eval_shape(f, 1.0)
    assert want.weak_type
    assert jax.eval_shape(accelerate(f), 1.0) == want
    assert jax.eval_shape(accelerate(jax.jit(f)), 1.0) == want
    assert "doubled" not in str(jax.make_jaxpr(accelerate(jax.jit(f)))(1.0))


def test_the_users_settings_are_for_the_users_code(doubled):
    def careless(x):
        assert jax.config.jax_default_matmul_precision is None
        return [x + jnp.ones(3) * x + jnp.arange(3) * x - jnp.arange(3) * x]

    rule(doubled)(lambda avals, params: Replacement(careless, ""))
    with (
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
        jax.default_matmul_precision("highest"),
    ):
        for f in (doubled.bind, jax.jit(doubled.bind)):
            np.testing.assert_array_equal(accelerate(f)(X), 2 * X)


@pytest.mark.parametrize(
    "wrong", [lambda x: [x[:1]], lambda x: [x.astype(jnp.bfloat16)], lambda x: [x.T]]
)
def test_other_types_are_refused(wrong, doubled):
    rule(doubled)(lambda avals, params: Replacement(wrong, "wrong"))
    (row,) = explain(accelerate(doubled.bind), X).accelerated
    assert row.runs is None
    assert "its replacement returns" in row.reason
    np.testing.assert_array_equal(accelerate(jax.jit(doubled.bind))(X), 2 * X)


def test_symbols_in_shapes_are_refused(doubled):
    pytest.importorskip("flatbuffers")
    rule(doubled)(lambda avals, params: Replacement(lambda x: [x + x], ""))
    (size,) = jax.export.symbolic_shape("n")
    operand = jax.ShapeDtypeStruct((size, 3), X.dtype)
    (row,) = explain(accelerate(doubled.bind), operand).accelerated
    assert row.reason == "its shapes have symbols in them"


def test_a_replacement_that_takes_no_sharded_axes(doubled):
    def refuses(x):
        if any(axes is not None for axes in jax.typeof(x).sharding.spec):
            raise ValueError("Spatial axes must not be sharded.")
        return [x + x]

    rule(doubled)(lambda avals, params: Replacement(refuses, "a sum"))
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        for spec, runs in ((PartitionSpec("d"), None), (PartitionSpec(), "a sum")):
            x = jax.device_put(X, spec)
            (row,) = explain(accelerate(jax.jit(doubled.bind)), x).accelerated
            assert row.runs == runs
            assert jax.jit(accelerate(doubled.bind)).eval_shape(x).sharding.spec[0] == (
                None if runs else "d"
            )


def test_inside_shard_map(doubled):
    """A replacement of ordinary operations, some of whose operands don't vary over the mesh."""

    @rule(doubled)
    def _(avals, params):
        return Replacement(lambda x: [x * jnp.full(x.shape, 2.0)], "a product")

    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    rows = PartitionSpec("d")
    f = jax.shard_map(doubled.bind, mesh=mesh, in_specs=rows, out_specs=rows)
    for g in (f, jax.jit(f)):
        (row,) = explain(accelerate(g), X).accelerated
        assert (row.runs, row.operands) == ("a product", ((1, 3),))
        np.testing.assert_array_equal(jax.jit(accelerate(g))(X), 2 * X)


def test_an_error_of_a_replacement_is_no_secret(doubled):
    def broken(x):
        raise ValueError("a mistake")

    rule(doubled)(lambda avals, params: Replacement(broken, ""))
    with pytest.raises(ValueError, match="a mistake"):
        accelerate(doubled.bind)(X)
