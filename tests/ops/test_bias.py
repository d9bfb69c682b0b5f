"""The bias: the same number everywhere, and the sum of all errors back."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv import add_bias


@pytest.mark.usefixtures("float64")
def test_value_and_derivatives(normal):
    x, bias, y_bar = normal((2, 3, 4)), normal((4,)), normal((2, 3, 4))

    @jax.jit
    def modes(x, bias, y_bar):
        y, pull_back = jax.vjp(add_bias, x, bias)
        tangent = jax.jvp(add_bias, (x, bias), (y_bar, bias))[1]
        hessian = jax.hessian(lambda bias: jnp.sum(add_bias(x, bias) ** 3))(bias)
        return y, *pull_back(y_bar), tangent, hessian

    y, x_bar, b_bar, tangent, hessian = modes(x, bias, y_bar)
    x, bias, y_bar = map(np.asarray, (x, bias, y_bar))
    chex.assert_trees_all_equal(y, x + bias)
    chex.assert_trees_all_equal(x_bar, y_bar)
    chex.assert_trees_all_close(b_bar, y_bar.sum((0, 1)), rtol=1e-14)
    chex.assert_trees_all_equal(tangent, y_bar + bias)
    chex.assert_trees_all_close(hessian, np.diag(6 * (x + bias).sum((0, 1))), rtol=1e-13)


@pytest.mark.usefixtures("float64")
def test_batches(normal):
    x, bias = normal((5, 2, 3, 4)), normal((5, 4))
    for axes in ((0, 0), (None, 0), (0, None)):
        operands = [a if axis == 0 else a[0] for a, axis in zip((x, bias), axes, strict=True)]
        together = jax.vmap(add_bias, in_axes=axes)(*operands)
        wide = np.broadcast_to(operands[1].reshape(-1, 1, 1, 4), x.shape)
        chex.assert_trees_all_equal(together, operands[0] + wide)
    gradient = jax.vmap(jax.grad(lambda b, x: jnp.sum(add_bias(x, b) ** 2)))(bias, x)
    chex.assert_trees_all_close(gradient, 2 * (x + bias[:, None, None]).sum((1, 2)), rtol=1e-13)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("wide", [False, True], ids=["of x", "float32"])
def test_half_precision_is_added_up_in_single(dtype, wide):
    """Autodiff's sum of 12,000 ones of bfloat16 is 256, or a few times that."""
    x, bias = jnp.zeros((30, 20, 20, 2), dtype), jnp.zeros(2, "float32" if wide else dtype)
    y, pull_back = jax.vjp(add_bias, x, bias)
    assert y.dtype == x.dtype
    _, b_bar = pull_back(np.ones_like(y))
    assert b_bar.dtype == bias.dtype
    chex.assert_trees_all_equal(b_bar, jnp.full(2, 12_000, bias.dtype))


@pytest.mark.usefixtures("no_type_checker")
def test_bad_input():
    x = jnp.zeros((2, 3), jnp.float32)
    with pytest.raises(ValueError, match=r"add_bias: bias must be \(c,\)"):
        add_bias(x, jnp.zeros(4))
    with pytest.raises(TypeError, match="bias must have dtype float32 or a wider one"):
        add_bias(x, jnp.zeros(3, jnp.bfloat16))
    with pytest.raises(TypeError, match="add_bias: x must be an array"):
        add_bias([1.0], jnp.zeros(1))
