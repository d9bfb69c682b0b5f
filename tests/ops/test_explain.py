"""explain, and `impl` with the name of an algorithm: what they say is what is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import (
    accelerate,
    algorithms,
    conv,
    conv_input_vjp,
    conv_kernel_vjp,
    conv_transpose,
    explain,
)
from jaxconv._spec import Slot

X, KERNEL = jnp.ones((50, 12, 12, 32)), jnp.ones((5, 5, 32, 32))


def loss(x, kernel, **options):
    return jnp.sum(conv(x, kernel, **options) ** 2)


def test_finds_the_three_contractions():
    found = explain(jax.grad(loss, (0, 1)), X, KERNEL, platform="cpu").convolutions
    assert [contraction.function for contraction in found] == [
        "conv",
        "conv_kernel_vjp",
        "conv_input_vjp",
    ]
    for contraction in found:
        assert contraction.x_shape == X.shape
        assert contraction.kernel_shape == KERNEL.shape
        assert contraction.y_shape == (50, 8, 8, 32)
        assert min(contraction.considered.values()) == 1
        assert contraction.algorithm == min(
            contraction.considered, key=lambda name: contraction.considered[name]
        )
        named = {plan.split(" > ")[0] for plan in contraction.considered}
        assert named | set(contraction.refused) == set(algorithms.ALGORITHMS)
        assert named.isdisjoint(contraction.refused)


@pytest.mark.parametrize(
    "program",
    [
        lambda x, k: jax.lax.scan(lambda s, _: (s + loss(x, k), None), 0.0, length=3),
        lambda x, k: jax.lax.cond(x[0, 0, 0, 0] > 0, loss, lambda x, k: 0.0, x, k),
        lambda x, k: jax.jit(jax.checkpoint(loss))(x, k),
        lambda x, k: jax.lax.fori_loop(0, 3, lambda i, s: s + loss(x, k), 0.0),
    ],
)
def test_looks_into_inner_programs(program):
    (contraction,) = explain(program, X, KERNEL).convolutions
    assert (contraction.function, contraction.times) == ("conv", 1)


def test_equal_contractions_are_listed_once():
    (contraction,) = explain(lambda x, k: conv(x, k) + conv(2 * x, k), X, KERNEL).convolutions
    assert contraction.times == 2
    assert "(2 times)" in str(contraction)


def test_takes_shapes_without_arrays():
    x, kernel = jax.eval_shape(lambda: (X, KERNEL))
    assert str(explain(loss, x, kernel)) == str(explain(loss, X, KERNEL))


@pytest.mark.parametrize(
    ("program", "platform", "runs", "reason"),
    [
        (lambda x, k: conv(x, k, impl="fourier"), "cpu", "fourier", "asked for by impl"),
        (lambda x, k: conv(x, k, impl="textbook"), "cpu", "textbook", "formula"),
        (lambda x, k: conv(x, k), "tpu", "direct", "XLA knows best on tpu"),
        (
            lambda x, k: conv(x.astype(jnp.complex64), k.astype(jnp.complex64)),
            "cpu",
            "direct",
            "floating-point dtypes of 16 to 64 bits",
        ),
    ],
)
def test_reasons(program, platform, runs, reason):
    (contraction,) = explain(program, X, KERNEL, platform=platform).convolutions
    assert contraction.algorithm == runs
    assert reason in contraction.reason
    assert f"runs      {runs}: " in str(contraction)


def test_a_basis_in_which_all_pixels_meet_is_refused_unless_asked_for():
    x = jax.ShapeDtypeStruct((500, *X.shape[1:]), X.dtype)
    for contraction in explain(jax.grad(loss, (0, 1)), x, KERNEL, platform="cpu").convolutions:
        assert not any("fourier" in plan for plan in contraction.considered)
        assert "impl='fourier' asks for it" in contraction.refused["fourier"]


def test_zeros_that_spread_an_infinity_are_kept_out_of_forward_passes():
    y, kernel = jnp.ones((2, 12, 12, 4)), jnp.ones((5, 5, 1, 4))

    def refused(program, function):
        found = explain(jax.grad(program), y, platform="cpu").convolutions
        return next(c.refused for c in found if c.function == function)

    def transposed(y):
        return jnp.sum(conv_transpose(y, kernel) ** 2)

    def gradient(y):
        return jnp.sum(conv_input_vjp(y, kernel, (2, 16, 16, 1)) ** 2)

    assert "infinity" in refused(transposed, "conv_input_vjp")["strips"]
    assert "strips" not in refused(gradient, "conv_input_vjp")


def test_nothing_to_compute():
    (contraction,) = explain(conv, X, KERNEL[..., :0]).convolutions
    assert (contraction.algorithm, contraction.considered) == ("zeros", {})


def test_unknown_platform():
    with pytest.raises(ValueError, match="platform must be one of"):
        explain(loss, X, KERNEL, platform="abacus")


@pytest.mark.parametrize("impl", sorted(algorithms.ALGORITHMS))
def test_impl_runs_the_algorithm_or_says_why_not(impl, normal):
    shapes = (2, 6, 5, 3), (3, 2, 3, 4), (2, 4, 4, 4)
    x, kernel, y = (normal(shape, "float32") for shape in shapes)
    contractions = {
        "y": lambda: conv(x, kernel, impl=impl),
        "x": lambda: conv_input_vjp(y, kernel, x.shape, impl=impl),
        "k": lambda: conv_kernel_vjp(x, y, kernel.shape, impl=impl),
    }
    default = {
        "y": lambda: conv(x, kernel),
        "x": lambda: conv_input_vjp(y, kernel, x.shape),
        "k": lambda: conv_kernel_vjp(x, y, kernel.shape),
    }
    for slot, contraction in contractions.items():
        geometry = next(iter(jax.make_jaxpr(default["y"])().eqns)).params["spec"].geometry
        problem = algorithms.Problem(Slot(slot), geometry, 2, 3, 4)
        if why := algorithms.why_not(impl, problem):
            with pytest.raises(ValueError, match=f"impl='{impl}' does not apply.*: {why}"):
                contraction()
        else:
            np.testing.assert_allclose(contraction(), default[slot](), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("no_type_checker")
def test_integers_have_no_fourier_transform():
    x, kernel = jnp.ones((2, 6, 5, 3), int), jnp.ones((3, 2, 3, 4), int)
    with pytest.raises(ValueError, match=r"conv: impl='fourier' does not apply.*integers"):
        conv(x, kernel, impl="fourier")


def test_derivatives_use_the_named_algorithm_where_it_applies():
    program = jax.grad(lambda x, k: loss(x, k, impl="split_patches"), (0, 1))
    found = explain(program, X, KERNEL).convolutions
    assert {contraction.function: contraction.algorithm for contraction in found} == {
        "conv": "split_patches > direct",
        "conv_input_vjp": "split_patches > direct",
        "conv_kernel_vjp": "split_patches > two_products",
    }


# Programs with `accelerate` in them.


def lax_loss(x, kernel):
    numbers = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)
    return jnp.sum(y**2)


def in_a_loop(x, kernel):
    @jax.jit
    def body(x, _):
        return x + lax_loss(x, kernel), None

    return jax.lax.scan(body, x, length=2)[0]


def test_lists_what_accelerate_replaces():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    explanation = explain(jax.jit(accelerate(in_a_loop)), x, kernel, platform="cpu")
    (row,) = explanation.accelerated
    assert row.path == ("scan", "jit", "conv_general_dilated")
    assert (row.operands, row.results) == (((2, 8, 8, 3), (3, 3, 3, 4)), ((2, 6, 6, 4),))
    assert (row.dtypes, row.reason, row.times) == (("float32", "float32"), None, 1)
    assert row.runs.startswith("jaxconv.")
    assert [contraction.function for contraction in explanation.convolutions] == ["conv"]
    assert str(explanation).splitlines()[-3:] == [
        "accelerate replaces 1 of 1 convolutions and pools of lax",
        "scan > jit > conv_general_dilated  (2, 8, 8, 3), (3, 3, 3, 4) -> (2, 6, 6, 4)  float32",
        f"  runs      {row.runs}",
    ]


def test_a_function_that_is_traced_already_is_explained_again():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    step = jax.jit(accelerate(jax.jit(lax_loss)))
    step(x, kernel)
    first, second = (explain(step, x, kernel).accelerated for _ in range(2))
    assert first == second
    assert [row.path for row in first] == [("jit", "conv_general_dilated")]
    before = step._cache_size()
    step(x, kernel)
    assert step._cache_size() == before  # The function itself is not traced again.


def test_lists_gradients_in_both_orders():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    after = explain(accelerate(jax.grad(lax_loss, 1)), x, kernel).accelerated
    assert [row.results[0] for row in after] == [(2, 6, 6, 4), kernel.shape]
    before = explain(jax.grad(accelerate(lax_loss), 1), x, kernel)
    assert [row.results[0] for row in before.accelerated] == [(2, 6, 6, 4)]
    assert {c.function for c in before.convolutions} == {"conv", "conv_kernel_vjp"}


def test_equal_primitives_are_listed_once():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 4))
    explanation = explain(accelerate(lambda: lax_loss(x, kernel) + lax_loss(2 * x, kernel)))
    assert [row.times for row in explanation.accelerated] == [2]
    assert "replaces 2 of 2" in str(explanation)
    assert "float32  (2 times)" in str(explanation)


def test_programs_without_accelerate_have_no_such_list():
    explanation = explain(lax_loss, X, KERNEL)
    assert explanation.accelerated == ()
    assert "accelerate" not in str(explanation)
