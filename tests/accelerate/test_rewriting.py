"""Convolutions are replaced wherever they are, and everything else stays.

Covers jaxconv/_accelerate/_rewriting.py, jaxconv/_accelerate/_jax.py.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import linear_util
from jax.extend.core import Primitive
from jax.extend.core.primitives import conv_general_dilated_p

from jaxconv import accelerate, explain
from jaxconv._accelerate import _choice, _jax, _rewriting
from jaxconv._accelerate._replacement import RULES, Replacement
from jaxconv.ops._form import SLOT_OF
from tests.verify.rules import some

from .programs import FORWARD_ONLY, IMAGES, KERNEL, PROGRAMS, REVERSE_ONLY, UNBATCHED, conv


@pytest.fixture
def operands(normal):
    return normal(KERNEL, "float32") / 4, normal(IMAGES, "float32")


def forget():
    _choice._chosen.cache_clear()
    _rewriting._rewritten.clear()


@pytest.fixture
def without_convolutions(monkeypatch):
    """Replace a convolution by another bilinear map, which compiles to no convolution."""

    def rule(avals, params):
        shape = jax.eval_shape(
            lambda *operands: conv_general_dilated_p.bind(*operands, **params),
            *(jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals),
        ).shape
        return Replacement(
            lambda x, kernel: [jnp.broadcast_to(jnp.sum(x) * jnp.sum(kernel), shape)], "a product"
        )  # fmt: skip

    monkeypatch.setitem(RULES, conv_general_dilated_p, rule)
    forget()
    yield
    forget()


def total(f):
    return lambda kernel, x: jnp.sum(jnp.cos(f(kernel, x)))


def forward(f):
    return lambda *operands: jax.jvp(f, operands, operands)


ORDERS = {
    "value": accelerate,
    "value of jit": lambda f: accelerate(jax.jit(f)),
    "grad of accelerate": lambda f: jax.grad(accelerate(f), (0, 1)),
    "grad of accelerate of jit": lambda f: jax.grad(accelerate(jax.jit(f)), (0, 1)),
    "accelerate of grad": lambda f: accelerate(jax.grad(f, (0, 1))),
    "accelerate of jit of grad": lambda f: accelerate(jax.jit(jax.grad(jax.jit(f), (0, 1)))),
    "jvp of accelerate": lambda f: forward(accelerate(jax.jit(f))),
    "accelerate of jvp": lambda f: accelerate(forward(jax.jit(f))),
    "vmap of accelerate": lambda f: lambda k, x: jax.vmap(accelerate(jax.jit(f)))(k[None], x[None]),
    "accelerate of vmap": lambda f: lambda k, x: accelerate(jax.vmap(jax.jit(f)))(k[None], x[None]),
}


def orders_of(name):
    """The orders in which JAX can transform a program."""
    without = {
        "grad": name in FORWARD_ONLY,
        "jvp": name in REVERSE_ONLY,
        "vmap": name in UNBATCHED,
    }
    return [order for order in ORDERS if not any(without[w] for w in without if w in order)]


def convolutions_in(f, *operands):
    return jax.jit(f).lower(*operands).as_text().count("stablehlo.convolution")


@pytest.mark.usefixtures("without_convolutions")
@pytest.mark.parametrize("name", some(PROGRAMS, [*PROGRAMS][::2]))
def test_no_convolution_is_left(name, operands):
    f = total(PROGRAMS[name])
    assert convolutions_in(f, *operands) > 0
    for order in orders_of(name):
        assert convolutions_in(ORDERS[order](f), *operands) == 0, order


def plain(order, f):
    """The function of an order without `accelerate`."""
    if "grad" in order:
        return jax.grad(f, (0, 1))
    if "jvp" in order:
        return forward(f)
    return (lambda k, x: jax.vmap(f)(k[None], x[None])) if "vmap" in order else f


def check_values(programs, orders, operands):
    """Values of programs in some orders, in one compiled program."""
    cases = {
        (name, order): total(PROGRAMS[name])
        for name in programs
        for order in orders_of(name)
        if order in orders
    }
    want = {case: plain(case[1], f) for case, f in cases.items()}
    ours = {case: ORDERS[case[1]](f) for case, f in cases.items()}

    @jax.jit
    def run(kernel, x):
        return [{case: g(kernel, x) for case, g in side.items()} for side in (want, ours)]

    want, ours = run(*operands)
    for case in cases:
        for a, b in zip(jax.tree.leaves(want[case]), jax.tree.leaves(ours[case]), strict=True):
            assert jax.typeof(a) == jax.typeof(b), case
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=str(case))


def test_gradients_in_both_orders(operands):
    """Of the programs that `test_random_programs.py` does not draw."""
    drawn = {"bare", "pool", "jitted", "scanned", "conditional", "custom_jvp", "custom_vjp"}
    drawn |= {"looped", "batched", "batched_kernels", "mapped", "switched", "inner_gradient"}
    orders = {"grad of accelerate of jit", "accelerate of jit of grad"}
    check_values(set(PROGRAMS) - drawn, orders, operands)


@pytest.mark.exhaustive
@pytest.mark.parametrize("order", ORDERS)
def test_values_in_all_orders(order, operands):
    check_values(PROGRAMS, {order}, operands)


def test_eager_values(operands):
    """Without `jit` around, each operation is computed at once."""
    for name in ("pool", "jitted", "custom_vjp", "scanned"):
        f = PROGRAMS[name]
        np.testing.assert_allclose(accelerate(f)(*operands), f(*operands), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("checking", [lambda: jax.enable_checks(True), jax.checking_leaks])
def test_checked_by_jax(checking, operands):
    """JAX checks the types and effects of every program that it makes, and for leaked tracers."""
    with checking():
        for name in ("pool", "scanned", "conditional", "custom_jvp", "custom_vjp"):
            f = total(PROGRAMS[name])
            jax.make_jaxpr(jax.grad(accelerate(jax.jit(f))))(*operands)
            jax.make_jaxpr(accelerate(jax.jit(jax.grad(f))))(*operands)


# Where each was met.


AROUND = {
    "jitted": [("jit",)],
    "scanned": [("scan",)],
    "looped": [("scan",)],
    "conditional": [("cond",)],
    "custom_jvp": [("custom_jvp_call",)],
    "custom_vjp": [("custom_vjp_call",)],
    "sharded": [("shard_map",)],
    "linear": [("linear_call",)],
    "custom_batching": [("scan", "custom_vmap_call")],
    "solved": [("custom_linear_solve",), ("custom_linear_solve", "scan")],
}
CONV = "conv_general_dilated"


def paths(f, *operands):
    return list(dict.fromkeys(row.path for row in explain(f, *operands).accelerated))


@pytest.mark.parametrize("name", AROUND)
def test_a_primitive_is_listed_with_the_operations_around_it(name, operands):
    f, around = PROGRAMS[name], AROUND[name]
    assert paths(accelerate(f), *operands) == [(*path, CONV) for path in around]
    assert paths(accelerate(jax.jit(f)), *operands) == [("jit", *path, CONV) for path in around]


def test_the_path_of_a_rule_starts_at_its_operation(operands):
    for name, inside in (("custom_jvp", 2), ("custom_vjp", 1)):
        f, rule = total(PROGRAMS[name]), f"{name}_call"
        # The rule of `custom_jvp` calls the operation once more.
        of_rule = [(*(rule,) * length, CONV) for length in range(inside, 0, -1)]
        assert paths(jax.grad(accelerate(f)), *operands) == of_rule
        assert paths(jax.grad(accelerate(jax.jit(f))), *operands) == [("jit", rule, CONV), *of_rule]


# The parts of a rewritten program.


def test_which_scalars_are_known_to_be_zero():
    """A tracer of a known value shows it; what only the running program knows does not."""
    for zero in (0.0, -0.0, 0, False, np.float32(0), np.zeros(()), jnp.zeros(())):
        assert _jax.is_zero(zero)
    for other in (1.0, -1, True, np.nan, np.asarray(1), jnp.ones(())):
        assert not _jax.is_zero(other)

    class OfOtherProcesses:
        is_fully_addressable = False

        def __array__(self, *_, **__):
            raise RuntimeError("its value is elsewhere")

    assert not _jax.is_zero(OfOtherProcesses())
    program = jax.make_jaxpr(lambda x: [x + 0.0, x + 1.0])(1.0)
    assert [_jax.is_zero(atom) for e in program.eqns for atom in e.invars] == [
        *(False, True),
        *(False, False),
    ]
    seen = []
    jax.make_jaxpr(lambda x: seen.append(_jax.is_zero(x)))(0.0)
    assert seen == [False]


def test_an_equation_gives_way_to_those_of_its_replacement():
    """Each has new variables, the scope of the equation, and only results that are used."""

    def f(x, y):
        with jax.named_scope("here"):
            return lax.mul(x, y)

    def replacement(x, y):
        lax.cond(True, lambda x: x, lambda x: x, x)  # its result is not used
        return lax.neg(lax.add(lax.sub(x, y), 1.0)), y, 2.0

    program = _jax.program_of(replacement, [jax.typeof(1.0)] * 2)
    jaxpr = jax.make_jaxpr(f)(1.0, 2.0).jaxpr
    (equation,) = jaxpr.eqns
    one, two = jaxpr.invars
    equations, results = _jax.inlined(program, equation, [two, one])
    again, others = _jax.inlined(program, equation, [two, one])
    assert [e.primitive.name for e in equations[-3:]] == ["sub", "add", "neg"]
    sub, add, neg = equations[-3:]
    assert sub.invars == [two, one]
    assert (add.invars[0], neg.invars[0]) == (sub.outvars[0], add.outvars[0])
    assert results[:2] == [neg.outvars[0], one]
    assert results[2].val == 2
    own = [v for e in [*equations, *again] for v in e.outvars if not isinstance(v, _jax.DropVar)]
    assert len(set(map(id, own))) == len(own)
    assert others[0] is again[-1].outvars[0]
    for inner in equations:
        assert inner.source_info is equation.source_info
        assert inner.ctx is equation.ctx


def test_constants_of_a_replacement_are_inside_its_program():
    table = jnp.arange(3.0)
    program = _jax.program_of(lambda x: table * x, [jax.typeof(table)])
    assert not program.consts
    np.testing.assert_array_equal(
        jax.jit(jax.extend.core.jaxpr_as_fun(program))(table)[0], [0, 1, 4]
    )


def test_the_methods_of_an_operation_that_compute():
    """Those which its class has from the class that says what a method does by default stay."""

    class Default:
        def expand(self): ...
        def jvp(self): ...
        def batch(self): ...

    class Between(Default):
        def jvp(self): ...

    class Operation(Between):
        def expand(self): ...
        def transpose(self): ...
        def other(self): ...

    assert _jax.own_methods(Operation) == ["expand", "jvp", "transpose"]


def test_the_programs_in_parameters_are_replaced_in_their_places(operands):
    """Alone, in a tuple, a list or a named tuple. Other parameters stay the same objects."""
    kernel, x = operands

    class Two(NamedTuple):
        first: Any
        second: Any

    with_conv = jax.make_jaxpr(conv)(x, kernel)
    without = jax.make_jaxpr(jnp.sin)(x)
    new = _rewriting.rewritten(with_conv).program
    assert "conv_general_dilated[" not in str(new)
    given = {
        "alone": with_conv,
        "tuple": (without, with_conv),
        "list": [with_conv, 3],
        "named": Two(without, with_conv),
        "same": (without, without),
        "none": None,
        "number": (1, 2),
        "policy": lambda primitive, *_, **__: primitive,
    }
    params, met = _rewriting.rewritten_params(lax.sin_p, given)
    assert [row.path for row in met] == 4 * [("sin", CONV)]
    assert params["alone"] is new
    for name, place in (("tuple", 1), ("list", 0), ("named", 1)):
        assert type(params[name]) is type(given[name])
        assert params[name][place] is new
        assert params[name][1 - place] is given[name][1 - place]
    for name in ("same", "none", "number"):
        assert params[name] is given[name]
    # The policy is asked about a convolution in place of a contraction.
    policy = params["policy"]
    for slot in SLOT_OF:
        assert policy(slot) is conv_general_dilated_p
    assert policy(lax.sin_p) is lax.sin_p

    stays = {name: given[name] for name in ("same", "none", "number", "policy")}
    params, met = _rewriting.rewritten_params(lax.sin_p, stays)
    assert params is stays
    assert not met


def test_functions_in_parameters_belong_to_their_primitives(operands):
    """Other primitives use the same words for other things, and keep theirs."""
    kernel, x = operands

    def names(primitive, name):
        found = _rewriting.rewritten_params(primitive, {name: conv})[0][name]
        return [e.primitive.name for e in jax.make_jaxpr(found)(x, kernel).eqns]

    for primitive, word in (("custom_vjp_call", "bwd"), ("custom_vmap_call", "rule")):
        assert names(Primitive(primitive), word) == ["jaxconv_y"]
        assert names(Primitive("another"), word) == [CONV]
        assert names(Primitive(primitive), "another") == [CONV]

    def thunk():
        return jax.make_jaxpr(conv)(x, kernel), "more"

    for word in _jax.THUNKS:
        later = _rewriting.rewritten_params(lax.sin_p, {word: thunk})[0][word]
        program, more = later()
        assert [e.primitive.name for e in program.eqns] == ["jaxconv_y"]
        assert more == "more"


# What stays.


def params_of(f, *operands):
    """The parameters of the equations of a program that are not programs themselves."""
    return [
        (e.primitive, {k: v for k, v in e.params.items() if "jaxpr" not in k and k != "branches"})
        for e in jax.make_jaxpr(f)(*operands).eqns
    ]


def test_parameters_stay(operands):
    def named(kernel, x):
        return conv(x, kernel)

    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    programs = (
        jax.jit(named, donate_argnums=1, keep_unused=True, inline=False),
        jax.jit(named, in_shardings=device, out_shardings=device),
        lambda kernel, x: lax.scan(
            lambda c, y: (conv(c, kernel), y), x, jnp.arange(4), reverse=True, unroll=2
        ),
        lambda kernel, x: lax.while_loop(lambda x: x.sum() > 0, lambda x: conv(x, kernel), x),
        lambda kernel, x: jax.checkpoint(conv, prevent_cse=False)(x, kernel),
    )
    for program in programs:
        before, after = params_of(program, *operands), params_of(accelerate(program), *operands)
        assert before == after
        assert "conv_general_dilated[" not in str(jax.make_jaxpr(accelerate(program))(*operands))
    assert dict(params_of(accelerate(programs[0]), *operands)[0][1])["name"] == "named"


@pytest.mark.parametrize("name", ["root", "solved", "custom_jvp", "custom_vjp", "linear"])
def test_operations_with_rules_keep_them(name, operands):
    """They are not expanded, so that a derivative still finds their rules."""
    f = PROGRAMS[name]
    for g in (f, jax.jit(f)):
        before, after = (jax.make_jaxpr(h)(*operands) for h in (g, accelerate(g)))
        assert [e.primitive for e in before.eqns] == [e.primitive for e in after.eqns]


def test_a_program_with_nothing_to_replace_stays_the_same_object(operands):
    @jax.jit
    def inner(x):
        return lax.scan(lambda c, _: (jnp.sin(c), None), x, length=3)[0]

    def f(kernel, x):
        return inner(x) + jax.nn.relu(x)

    assert str(jax.make_jaxpr(accelerate(f))(*operands)) == str(jax.make_jaxpr(f)(*operands))
    programs = [jax.make_jaxpr(g)(*operands).eqns[0].params["jaxpr"] for g in (f, accelerate(f))]
    assert programs[0] is programs[1]


def test_kernels_of_pallas_are_not_looked_into(operands):
    from jax.experimental import pallas

    def kernel(kernel_ref, x_ref, y_ref):
        y_ref[...] = conv(x_ref[...], kernel_ref[...])

    def f(kernel_, x):
        return pallas.pallas_call(kernel, out_shape=x, interpret=True)(kernel_, x)

    before, after = (jax.make_jaxpr(g)(*operands) for g in (f, accelerate(f)))
    assert "conv_general_dilated[" in str(after)
    assert str(before) == str(after)


def test_named_scopes_stay(operands):
    @jax.jit
    def inner(kernel, x):
        with jax.named_scope("encoder"):
            return conv(x, kernel)

    def f(kernel, x):
        with jax.named_scope("decoder"):
            y = conv(x, kernel)
        return inner(kernel, y)

    text = jax.jit(accelerate(f)).lower(*operands).as_text(debug_info=True)
    assert "decoder/jaxconv_y" in text
    assert "encoder/jaxconv_y" in text


def test_effects_stay_in_order(operands):
    """Callbacks, the writes of references, and what Python does while it traces."""
    told = []

    def tell(i):
        jax.debug.callback(lambda i: told.append(int(i)), i, ordered=True)

    def f(kernel, x):
        told.append("traced")
        tell(1)
        ref = jax.new_ref(x)

        def body(i, _):
            tell(10 + i)
            ref[...] = conv(ref[...], kernel)

        lax.fori_loop(0, 2, body, None)
        y = jax.jit(conv)(ref[...], kernel)
        tell(2)
        return lax.cond(y.sum() < jnp.inf, lambda y: (tell(3), conv(y, kernel))[1], jnp.sin, y)

    both = []
    for g in (f, accelerate(f)):
        told.clear()
        y = jax.jit(g)(*operands)
        jax.effects_barrier()
        both.append((list(told), y))
    (before, want), (after, y) = both
    assert before == after == ["traced", 1, 10, 11, 2, 3]
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


def test_checkpoint_saves_what_its_policy_says():
    """A policy that saves convolutions finds their replacements."""
    kernel, x = jnp.ones(KERNEL), jnp.ones(IMAGES)

    def contractions(policy):
        def f(x):
            return jnp.sum(jnp.sin(conv(jnp.sin(x), kernel)))

        checkpointed = jax.checkpoint(f, policy=policy)
        program = jax.make_jaxpr(jax.grad(accelerate(jax.jit(checkpointed))))(x)
        return str(program).count("jaxconv_y[")

    policies = jax.checkpoint_policies
    assert contractions(policies.dots_saveable) == contractions(policies.nothing_saveable) - 1


def test_values_at_compile_time_stay_values(operands):
    def f(kernel, x):
        with jax.ensure_compile_time_eval():
            scale = conv(jnp.ones(IMAGES), jnp.ones(KERNEL)).max()
        return conv(x, kernel) / float(scale)

    np.testing.assert_allclose(
        jax.jit(accelerate(f))(*operands), f(*operands), rtol=1e-5, atol=1e-6
    )


def test_without_jit(operands):
    for name in ("scanned", "conditional", "jitted"):
        with jax.disable_jit():
            y, want = accelerate(PROGRAMS[name])(*operands), PROGRAMS[name](*operands)
        np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


def test_exported_programs(operands):
    pytest.importorskip("flatbuffers")
    step = jax.grad(total(PROGRAMS["scanned"]))
    exported = jax.export.export(jax.jit(accelerate(step)))(*operands)
    np.testing.assert_allclose(exported.call(*operands), step(*operands), rtol=1e-4, atol=1e-5)


def test_one_program_on_several_devices(operands):
    kernel, x = operands
    f = jax.pmap(lambda x: lax.psum(conv(x, kernel), "d"), axis_name="d")
    want = f(x[:, None])
    for g in (accelerate(f), jax.pmap(accelerate(lambda x: lax.psum(conv(x, kernel), "d")), "d")):
        np.testing.assert_allclose(g(x[:, None]), want, rtol=1e-5, atol=1e-5)
    assert "conv_general_dilated[" not in str(jax.make_jaxpr(accelerate(f))(x[:, None]))


@pytest.mark.skipif(not hasattr(jax.extend.core, "CallPrimitive"), reason="JAX has no such calls")
def test_calls_of_jax_0_10(operands):
    call = jax.extend.core.CallPrimitive("own_call")
    call.def_impl(jax.extend.core.call_impl)
    names = jax.make_jaxpr(conv)(*operands[::-1]).jaxpr.debug_info

    def f(kernel, x):
        function = linear_util.wrap_init(lambda *a: [conv(*a)], debug_info=names)
        return call.bind(x, kernel, subfuns=(function,))[0]

    np.testing.assert_allclose(accelerate(f)(*operands), f(*operands), rtol=1e-5, atol=1e-5)
    (equation,) = jax.make_jaxpr(accelerate(f))(*operands).eqns
    assert equation.primitive is call
    assert [e.primitive.name for e in equation.params["call_jaxpr"].eqns] == ["jaxconv_y"]
