"""Forms made of plain functions and nothing else, under every transformation of JAX.

Covers jaxconv/forms/_arguments.py, jaxconv/forms/_operation.py.
"""

import copy
import pickle
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxconv.forms import (
    _arguments,
    axis_by_axis,
    chosen,
    elementwise,
    linear_pair,
    multilinear_form,
    nothing_sharded,
)
from jaxconv.forms._operation import LEAF, PAIR, Call, Level, Operation, _over
from tests.oracles import both

from .maps import assert_same, blur, blur_transpose, centred

pytestmark = pytest.mark.usefixtures("float64")


# T(a, b, c) = Σ a["w"][i] b[i,j] c[0][j] + Σ a["v"][i] b[i,j] (c[1][j] s[j]), with a constant s.


def of_c(a, b, s, *, scale=1):
    return scale * (a["w"] @ b), scale * (a["v"] @ b) * s


def of_b(a, c, s, *, scale=1):
    return scale * (jnp.outer(a["w"], c[0]) + jnp.outer(a["v"], s * c[1]))


def of_a(b, c, s, *, scale=1):
    return {"w": scale * (b @ c[0]), "v": scale * (b @ (s * c[1]))}


of_a_op, of_b_op, of_c_op = multilinear_form({"a": of_a, "b": of_b, "c": of_c})


def square(f):
    return lambda *args: sum(jnp.sum(y**2) for y in jax.tree.leaves(f(*args)))


# Each takes a function of (a, b, s) that is bilinear in a and b, and the operands.
MODES = {
    "value": lambda f, a, b, s: f(a, b, s),
    "jit": lambda f, a, b, s: jax.jit(f)(a, b, s),
    "grad": lambda f, a, b, s: jax.grad(square(f), (0, 1))(a, b, s),
    "partial grad": lambda f, a, b, s: jax.grad(
        lambda w: square(f)({"w": w, "v": a["v"]}, b, s)
    )(a["w"]),
    "jvp": lambda f, a, b, s: jax.jvp(lambda a, b: f(a, b, s), (a, b), (a, b)),
    "forward over reverse": lambda f, a, b, s: jax.jvp(
        jax.grad(lambda a, b: square(f)(a, b, s), (0, 1)), (a, b), (a, b)
    ),
    "reverse over forward": lambda f, a, b, s: jax.grad(
        lambda a, b: jax.jvp(lambda a, b: square(f)(a, b, s), (a, b), (a, b))[1], (0, 1)
    )(a, b),
    "hessian": lambda f, a, b, s: jax.hessian(lambda b: square(f)(a, b, s))(b),
    "third order": lambda f, a, b, s: jax.grad(
        lambda b: sum(map(jnp.sum, jax.tree.leaves(jax.jvp(
            jax.grad(lambda a: square(f)(a, b, s) ** 2), (a,), (a,)
        ))))
    )(b),
    "linearize": lambda f, a, b, s: jax.linearize(lambda a: f(a, b, s), a)[1](a),
    "linear_transpose": lambda f, a, b, s: jax.linear_transpose(lambda b: f(a, b, s), b)(
        f(a, b, s)
    ),
    "vmap": lambda f, a, b, s: jax.vmap(f, (0, None, None))(many(a), b, s),
    "vmap of an axis": lambda f, a, b, s: jax.vmap(f, (None, 2, None), 1)(
        a, jnp.stack([b, 2 * b], 2), s
    ),
    "vmap of a constant": lambda f, a, b, s: jax.vmap(f, (None, None, 0))(a, b, many(s)),
    "vmap of a part": lambda f, a, b, s: jax.vmap(
        lambda w: f({"w": w, "v": a["v"]}, b, s)
    )(many(a["w"])),
    "vmap of vmap": lambda f, a, b, s: jax.vmap(jax.vmap(f, (0, None, None)), (None, 0, None))(
        many(a), many(b), s
    ),
    "vmap of grad": lambda f, a, b, s: jax.vmap(jax.grad(square(f), (0, 1)), (0, None, None))(
        many(a), b, s
    ),
    "grad of vmap": lambda f, a, b, s: jax.grad(
        lambda a, b: square(jax.vmap(f, (0, None, None)))(many(a), b, s), (0, 1)
    )(a, b),
    "grad of vmap of vmap": lambda f, a, b, s: jax.grad(
        lambda a, b: square(
            jax.vmap(jax.vmap(f, (0, None, None)), (None, 0, None))
        )(many(a), many(b), s), (0, 1)
    )(a, b),
    "vmap with a name": lambda f, a, b, s: jax.vmap(
        lambda a: jax.lax.psum(f(a, b, s), "i"), axis_name="i"
    )(many(a)),
    "scan": lambda f, a, b, s: jax.grad(
        lambda b: jax.lax.scan(lambda c, a: (c + square(f)(a, b, s), None), 0.0, many(a))[0]
    )(b),
    "while": lambda f, a, b, s: jax.lax.while_loop(
        lambda c: c[0] < 2, lambda c: (c[0] + 1, {**c[1], "w": f(c[1], b, s)[0][:4]}), (0, a)
    ),
    "cond": lambda f, a, b, s: jax.grad(
        lambda b: jax.lax.cond(b[0, 0] > 9, lambda: 0.0, lambda: square(f)(a, b, s))
    )(b),
    "checkpoint": lambda f, a, b, s: jax.grad(jax.checkpoint(square(f)))(a, b, s),
    "unused result": lambda f, a, b, s: jax.grad(lambda a: jnp.sum(f(a, b, s)[1]))(a),
    "zero": lambda f, a, b, s: jax.grad(lambda a: 0.0 * square(f)(a, b, s))(a),
}  # fmt: skip


# Each operation is compiled alone here, which takes ten times as long.
OUTSIDE_OF_JIT = ("value", "jit", "grad", "vmap")


def many(tree):
    return jax.tree.map(lambda x: jnp.stack([x, jnp.sin(x), 2 * x]), tree)


@pytest.fixture
def operands(normal):
    return {"w": normal((4,)), "v": normal((4,))}, normal((4, 5)), normal((5,))


@pytest.mark.parametrize("mode", MODES)
def test_trees_and_constants_in_every_mode(mode, operands):
    ours, plain = (partial(f, scale=3) for f in (of_c_op, of_c))
    if mode in OUTSIDE_OF_JIT:
        results = [MODES[mode](f, *operands) for f in (ours, plain)]
    else:
        results = both(MODES[mode], ours, plain, *operands)
    assert_same(*results, mode)


def test_the_jaxpr_holds_the_primitive_and_its_transposes(operands):
    a, b, s = operands
    found = str(jax.make_jaxpr(jax.grad(square(of_c_op), (0, 1)))(a, b, s))
    assert all(f" {name}[" in found for name in ("of_a", "of_b", "of_c"))
    double, _ = linear_pair(lambda x, *, k: k * x, lambda y, *, k: k * y, name="test_double")
    assert " test_double_out[k=2]" in str(jax.make_jaxpr(lambda x: double(x, k=2))(b))


def test_constants_have_no_derivative(operands):
    with pytest.raises(TypeError, match=r"^of_c: constant 0 has no derivative"):
        jax.grad(square(of_c_op), 2)(*operands)
    a, b, _ = operands
    integers = jnp.arange(5)  # have none to ask for
    assert jax.grad(square(of_c_op), 2, allow_int=True)(a, b, integers).dtype == jax.dtypes.float0
    assert_same(
        jax.grad(lambda b: square(of_c_op)(a, b, jax.lax.stop_gradient(b[0])))(b),
        jax.grad(lambda b: square(of_c)(a, b, jax.lax.stop_gradient(b[0])))(b),
    )


# One operand.


def test_what_users_see(monkeypatch):
    monkeypatch.setattr(_arguments, "_MADE", {})  # other tests make the same pair
    blurred, back = linear_pair(blur, blur_transpose)
    assert blurred.__doc__ == "Mean of neighbours."
    assert blurred.__name__ == "blur"
    assert repr(back) == "<jaxconv.forms operation blur_transpose>"
    assert pickle.loads(pickle.dumps(blurred)) is blurred
    assert copy.deepcopy(back) is back
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(linear_pair(lambda x: x, lambda y: y)[0])


class Scale:
    """A map that can't be hashed."""

    __hash__ = None

    def __call__(self, x):
        return 3 * x


def test_functions_of_every_kind():
    scaled, back = linear_pair(Scale(), Scale())
    assert (scaled(1.0), back(2.0), scaled.name) == (3, 6, "Scale")
    assert jax.grad(scaled)(1.0) == 3
    twice, _ = linear_pair(partial(jnp.multiply, 2), partial(jnp.multiply, 2))
    assert (twice(3.0), twice.name) == (6, "multiply")


def test_another_process_makes_a_pickled_operation_again(monkeypatch):
    made = multilinear_form({"a": of_a, "b": of_b, "c": of_c}, name="sent")
    sent = [pickle.dumps(operation) for operation in (*made, *linear_pair(blur, blur_transpose))]
    monkeypatch.setattr(_arguments, "_MADE", {})  # as in a new process
    a, b, c, *pair = map(pickle.loads, sent)
    assert [operation.name for operation in (a, b, c)] == ["sent_a", "sent_b", "sent_c"]
    assert a is not made[0]
    x = jnp.array([1.0, 2.0, 4.0])
    np.testing.assert_array_equal(pair[0](x), blur(x))
    np.testing.assert_array_equal(jax.grad(lambda x: pair[0](x).sum())(x), [0.5, 1, 0.5])


def test_arrays_that_must_not_be_sharded():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))
    x = jax.device_put(jnp.ones((4, 2)), NamedSharding(mesh, PartitionSpec("data", None)))
    with pytest.raises(ValueError, match="takes arrays that are not sharded"):
        nothing_sharded("out", (4, 2), jax.typeof(x))
    with pytest.raises(ValueError, match=r"Axis 0, of size 4, is sharded .* its size becomes 3"):
        axis_by_axis("out", (3, 2), jax.typeof(x))
    assert axis_by_axis("out", (4, 7), jax.typeof(x)) == ("data", None)


DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype, normal):
    blurred, _ = linear_pair(blur, blur_transpose)
    x = normal((5,)).astype(dtype)
    holomorphic = dtype.startswith("complex")

    def bars(f, x):
        square = jax.grad(lambda x: jnp.sum(f(x) ** 2), holomorphic=holomorphic)
        return *jax.vjp(f, x)[1](f(x)), square(x)

    ours, plain = both(bars, blurred, blur, x)
    for a, b in zip(ours, plain, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(
            np.asarray(a, complex), np.asarray(b, complex), rtol=8 * float(jnp.finfo(dtype).eps)
        )


def test_complex_numbers_are_transposed_and_not_conjugated():
    turned, _ = linear_pair(lambda x: 1j * x, lambda y: 1j * y)
    (bar,) = jax.vjp(turned, jnp.array(1 + 2j))[1](jnp.array(1.0 + 0j))
    assert bar == 1j


def test_integers_scalars_and_numpy():
    blurred, _ = linear_pair(blur, blur_transpose)
    np.testing.assert_array_equal(blurred(np.array([0, 2, 4])), [1, 3])
    x = jnp.arange(3)
    assert jax.grad(lambda x: blurred(x).sum(), allow_int=True)(x).dtype == jax.dtypes.float0
    double, _ = linear_pair(lambda x: 2 * x, lambda y: 2 * y)
    assert double(1.5) == 3
    assert (double(1.5) * jnp.ones((), jnp.bfloat16)).dtype == jnp.bfloat16  # still weakly typed
    assert jax.grad(double)(1.5) == 2
    assert double(jnp.ones((0,))).shape == (0,)
    with jax.disable_jit():
        assert double(2.0) == 4


@pytest.mark.parametrize("kind", [float, np.float64, np.array])
def test_tangents_may_be_numbers_of_python(kind):
    """`jax.jvp` passes them on as they are, to each kind of operation."""
    double, _ = linear_pair(lambda x: 2 * x, lambda y: 2 * y)
    tripled, _ = chosen(
        lambda x: (3 * x, x), linear_pair(lambda x, m: 3 * x, lambda y, m: 3 * y)[0]
    )
    squared = elementwise(lambda x: x * x, lambda x: 2 * x)
    point, tangent = kind(3.0), kind(5.0)
    for f, y, y_dot in ((double, 6, 10), (tripled, 9, 15), (squared, 9, 30)):
        assert jax.jvp(f, (point,), (tangent,)) == (y, y_dot)
    assert jax.jvp(jax.grad(double), (point,), (tangent,)) == (2, 0)


def test_a_weight_without_a_batch_gets_the_sum_over_the_batch(normal):
    """The cotangent of a shared operand is summed by the batched form itself."""
    *_, product = multilinear_form(
        {"w": lambda x, y: jnp.outer(x, y), "x": lambda w, y: w @ y, "y": lambda w, x: w.T @ x}
    )
    w, xs = normal((3, 2)), normal((7, 3))

    def loss(f):
        return lambda w: jnp.sum(jax.vmap(f, (None, 0))(w, xs) ** 2)

    assert_same(jax.grad(loss(product))(w), jax.grad(loss(lambda w, x: w.T @ x))(w))
    largest = [
        v.aval.size for eq in jax.make_jaxpr(jax.grad(loss(product)))(w).eqns for v in eq.outvars
    ]
    assert max(largest) < 7 * w.size  # no array holds a gradient for each example


# Calls.


TREES = tuple(map(jax.tree.structure, ({"a": 0, "b": 0}, 0, (), (0, 0, 0))))


def test_a_call_groups_the_flat_operands():
    call = Call(TREES)
    assert call.split("abcdef") == [["a", "b"], ["c"], [], ["d", "e", "f"]]
    assert call.join("abcdef") == [{"a": "a", "b": "b"}, "c", (), ("d", "e", "f")]
    level = Level((True, False, True), (False, True, False))  # the last slot is the result
    of_two = Call((TREES[0], TREES[1], TREES[3]))
    assert of_two.flags(level) == [True, True, False, False, True, False]


def test_only_arrays_without_a_batch_are_plain():
    assert Call((LEAF, LEAF)).is_plain()
    assert not Call((LEAF, PAIR)).is_plain()
    assert not Call((LEAF,), (Level((True, True), ()),)).is_plain()


@pytest.mark.parametrize("is_summed", [True, False])
def test_a_map_over_a_batch(is_summed):
    x, k = np.arange(6.0).reshape(3, 2), np.arange(2.0)
    f = _over(lambda x, k: (x * k, x[0]), (True, False), is_summed=is_summed)
    product, first = jax.jit(f)(x, k)
    np.testing.assert_array_equal(product, (x * k).sum(0) if is_summed else x * k)
    np.testing.assert_array_equal(first, x[:, 0].sum(0) if is_summed else x[:, 0])


def test_a_sum_over_a_batch_keeps_the_dtype():
    f = _over(lambda n: n, (True,), is_summed=True)
    assert jax.eval_shape(f, jax.ShapeDtypeStruct((3,), jnp.int8)).dtype == jnp.int8


def test_what_an_operation_is_by_default():
    plain = Operation("n", blur, {})
    assert (plain.linear, list(plain.differentiable), list(plain.linear_slots)) == (1, [0], [])
    assert list(plain.transposes()) == []
    two = Operation("n", blur, {}, linear=2)
    assert list(two.differentiable) == [0, 1]
    with pytest.raises(TypeError, match=r"^n: it takes 2 linear operands, got 1"):
        two(1.0)


def test_a_result_is_traced_once_and_one_that_is_stated_is_not_traced():
    traced, stated = [], []

    def double(x, *, k=2):
        traced.append(k)
        return k * x

    def result(slot, x, *, k=2):
        stated.append(slot)
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    x = jax.ShapeDtypeStruct((3,), jnp.float64)
    ours, _ = linear_pair(double, double, name="test_traced")
    for _ in range(3):
        assert jax.eval_shape(ours, x).shape == (3,)
    assert traced == [2]
    traced.clear()
    ours, back = linear_pair(double, double, name="test_stated", result=result)
    assert jax.eval_shape(ours, x).shape == jax.eval_shape(partial(back, k=3), x).shape == (3,)
    assert (traced, stated) == ([], ["out", "in"])
    jax.eval_shape(jax.vmap(ours), jax.ShapeDtypeStruct((2, 3), jnp.float64))  # traced for a batch
    assert traced == [2]


def test_parameters_of_other_kinds_are_other_programs():
    ours, _ = linear_pair(lambda x, *, k: x * k, lambda y, *, k: y * k, name="test_kinds")
    x = jax.ShapeDtypeStruct((3,), jnp.int32)
    assert [jax.eval_shape(partial(ours, k=k), x).dtype for k in (1, 1.0, True, 1)] == [
        *("int32", "float64", "int32", "int32")
    ]


def test_the_order_of_parameters_does_not_matter():
    ours, _ = linear_pair(lambda x, *, a, b: x * a - b * x, lambda y, *, a, b: y, name="test_two")
    assert ours(1.0, a=5, b=3) == ours(1.0, b=3, a=5) == 2


def test_stated_results_compile_with_the_settings_of_jax():
    """The maps of an author who states results may promote as JAX does by default."""
    ours, _ = linear_pair(
        lambda x: x * np.ones((1, 3)) * np.int32(2),
        lambda y: y.sum(0),
        name="test_settings",
        result=lambda slot, x: jax.ShapeDtypeStruct((1, 3), x.dtype),
    )
    x = jnp.ones(3)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        np.testing.assert_array_equal(ours(x), [[2, 2, 2]])


# Symmetric forms.


def cyclic_difference(x):
    return jnp.roll(x, -1) - jnp.roll(x, 1)


@pytest.mark.parametrize(
    ("f", "slots", "symmetry", "count"),
    [
        (cyclic_difference, 2, "antisymmetric", 1),
        (jnp.cross, 3, "antisymmetric", 2),
        (lambda a, b: a * b, None, "symmetric", 2),
        (lambda a, b, c: a * b * c, None, "symmetric", 3),
        (lambda x: jnp.roll(x, 1) + jnp.roll(x, -1), None, "symmetric", 1),
    ],
)
def test_symmetric_forms(f, slots, symmetry, count, normal):
    ours = multilinear_form(f, symmetry=symmetry, slots=slots, name="test_symmetric")
    xs = [normal((3,)) for _ in range(count)]

    everything, axes = tuple(range(count)), (0,) + (None,) * (count - 1)

    def second(g, *xs):
        inner = lambda *xs: jnp.sum(jnp.sin(g(*xs)))  # noqa: E731
        return jax.jvp(jax.grad(inner, everything), xs, xs), jax.grad(
            lambda *xs: jax.jvp(inner, xs, xs)[1], everything
        )(*xs)

    def of_batch(g, x, *others):
        total = lambda *xs: jnp.sum(jax.vmap(g, axes)(*xs) ** 2)  # noqa: E731
        return jax.grad(total, everything)(jnp.stack([x, jnp.cos(x)]), *others)

    assert_same(*both(lambda g, *xs: (second(g, *xs), of_batch(g, *xs)), ours, f, *xs))


# Bad input: one sentence each.

double, _ = linear_pair(lambda x, *, k=2: k * x, lambda y, *, k=2: k * y, name="double")
wide, _ = linear_pair(blur, lambda y: y, name="wide")
single, _ = linear_pair(lambda x: x.astype(jnp.float32), lambda y: y, name="single")
tree, _ = linear_pair(lambda x: x, lambda y: (y, y), name="tree")
product = multilinear_form(jnp.multiply, symmetry="symmetric", slots=3, name="product")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: linear_pair(2, blur), TypeError, r"linear_pair: .* must be a function, got int"),
        (lambda: linear_pair(blur, blur, lowerings={"gpu": (blur, blur)}), ValueError,
         r"linear_pair: a platform must be one of cpu, cuda, rocm, tpu, got 'gpu'"),
        (lambda: linear_pair(blur, blur, lowerings=[blur]), TypeError,
         r"linear_pair: lowerings must be a mapping from platforms, got list"),
        (lambda: multilinear_form({"a": blur}), ValueError, r"at least two slots, got 1"),
        (lambda: multilinear_form(blur), TypeError, r"a single map needs a symmetry"),
        (lambda: multilinear_form(blur, symmetry="odd"), ValueError, r"symmetry must be None, "),
        (lambda: multilinear_form(jnp.add, symmetry="symmetric", slots=1), ValueError, "two slots"),
        (lambda: multilinear_form(lambda *x: x, symmetry="symmetric"), TypeError, "number of slo"),
        (lambda: chosen(blur, blur), TypeError, r"gather must be an operation, got function"),
        (lambda: double(), TypeError, r"double_out: it takes 1 linear operands, got 0"),
        (lambda: double("x"), TypeError, r"double_out: an operand must be an array .* got str"),
        (lambda: double(1.0, k=[2]), TypeError, r"double_out: the parameter k is static .* list"),
        (lambda: jax.jit(lambda k: double(1.0, k=k))(2.0), TypeError, "the parameter k is static"),
        (lambda: jax.grad(lambda x: wide(x).sum())(jnp.ones(3)), TypeError,
         r"wide_out: its transpose wide_in must return float64\[3\], .* returned float64\[2\]"),
        (lambda: jax.grad(lambda x: single(x).sum())(jnp.ones(3)), TypeError,
         r"single_out: its transpose single_in must return float64\[3\], .* returned float32\[3\]"),
        (lambda: jax.grad(lambda x: tree(x).sum())(jnp.ones(3)), TypeError,
         r"tree_out: its transpose tree_in must return the structure of operand 0"),
        (lambda: jax.linear_transpose(lambda x: product(x, x), 1.0)(1.0), TypeError, "alone"),
        (lambda: jax.jit(lambda s: linear_pair(lambda x: s * x, lambda y: s * y)[0](1.0))(2.0),
         TypeError, r"must not close over arrays that JAX is tracing"),
        (lambda: jax.vmap(linear_pair(centred, centred)[0], axis_name="d")(jnp.ones((2, 3))),
         TypeError, r"centred: the map must not communicate over 'd', an axis of vmap"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert str(caught.value).count(". ") == 0  # one sentence
