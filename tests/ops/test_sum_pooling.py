"""Sum and average pooling: dtypes, modes and counting; `test_windows.py` has many windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import avg_pool, sum_pool
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")


def test_higher_orders_and_batches_equal_flax(normal):
    x = normal((2, 9, 8, 3))
    options = {"strides": (2, 2), "padding": "SAME", "count_include_pad": False}

    def modes(x, pool, window):
        def f(x):
            return jnp.sum(pool(jnp.sin(x), window, **options) ** 3)

        return (
            jax.vmap(jax.grad(f))(jnp.stack([x, jnp.sin(5 * x)])),
            jax.jvp(jax.grad(f), (x,), (jnp.cos(x),)),
            jax.grad(lambda x: jnp.sum(jax.grad(f)(x) ** 2))(x),
            jax.lax.scan(lambda s, a: (s + jax.grad(f)(a * x), None), x, jnp.arange(1.0, 3))[0],
        )

    pools = ((avg_pool, 3), (nnx.avg_pool, (3, 3)))
    calls = [(lambda x, p=pool, w=window: modes(x, p, w), x) for pool, window in pools]
    actual, expected = map(jax.tree.leaves, together(calls))
    for a, b in zip(actual, expected, strict=True):
        assert_within_rounding(a, b, 27 * np.abs(b).max(), 9 * 4)


def test_half_precision_sums_in_float32():
    x = jnp.ones((1, 512, 1), jnp.bfloat16)
    y, pull_back = jax.vjp(lambda x: avg_pool(x, 512), x)
    assert y.dtype == jnp.bfloat16
    assert y[0, 0, 0] == 1  # a bfloat16 sum of ones stops at 256
    assert pull_back(y)[0].dtype == jnp.bfloat16


BAD_CALLS = {
    "too large": (lambda x: sum_pool(x, 9), ValueError, "sum_pool: the window covers 9"),
    "stride": (lambda x: avg_pool(x, 2, 0), ValueError, "avg_pool: strides"),
    "integers": (lambda x: avg_pool(x.astype(int), 2), TypeError, "avg_pool: x must be floating"),
    "count": (
        lambda x: avg_pool(x, 2, count_include_pad=0),
        TypeError,
        "avg_pool: count_include_pad must be a bool",
    ),
}


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    call, error, message = BAD_CALLS[mistake]
    with pytest.raises(error, match=message):
        call(np.ones((2, 7, 6, 4)))
