"""What XLA compiles on a CPU: no convolution that it would run as a plain loop, and no scatter.

Covers jaxconv/algorithms/cpu/_hints.py.
"""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxconv
from jaxconv import conv, max_pool, relu

# What a pool's gradient becomes in XLA's hands; on a CPU it may expand the first to the others.
SLOW = ("select-and-scatter", " scatter(", "reduce-window")
CANONICAL = {1: "b0f_0io->b0f", 2: "b01f_01io->b01f", 3: "b012f_012io->b012f"}


def network(x, kernels):
    for kernel in kernels:
        x = max_pool(relu(conv(x, kernel, padding="SAME")), 2)
    return jnp.sum(x**2)


def compiled_text(f, *args):
    return jax.jit(f).lower(*args).compile().as_text()


@pytest.fixture
def operands(normal):
    x = normal((4, 24, 24, 8), jnp.float32)
    return x, [normal((3, 3, 8, 16), jnp.float32), normal((3, 3, 16, 8), jnp.float32)]


LOOPS = {
    "entry": lambda x, ks: jax.grad(network, (0, 1))(x, ks),
    "scan": lambda x, ks: jax.lax.scan(
        lambda total, s: (total + jax.grad(network, 1)(s * x, ks)[0], None), ks[0], jnp.ones(3)
    ),
    "fori_loop": lambda x, ks: jax.lax.fori_loop(
        0, 3, lambda i, x: x - jax.grad(network)(x, ks), x
    ),
    "cond": lambda x, ks: jax.lax.cond(
        x[0, 0, 0, 0] > 0, jax.grad(network), lambda x, ks: x, x, ks
    ),
    "vmap": lambda x, ks: jax.vmap(lambda x: jax.grad(network, 1)(x[None], ks))(x),
    "checkpoint": lambda x, ks: jax.grad(jax.checkpoint(network), (0, 1))(x, ks),
}


@pytest.mark.parametrize("where", LOOPS)
def test_convolutions_are_canonical_and_nothing_scatters(where, operands):
    text = compiled_text(LOOPS[where], *operands)
    labels = set(re.findall(r"dim_labels=([\w>\-]+)", text))
    assert labels <= {CANONICAL[2]}, labels
    assert not [slow for slow in SLOW if slow in text]


def test_the_check_sees_what_autodiff_does(operands):
    """Plain lax, differentiated by JAX, has both faults; so the test above can fail."""
    x, (kernel, _) = operands

    def theirs(x, kernel):
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jnp.sum(
            jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            ** 2
        )

    def in_a_loop(x, kernel):
        return jax.lax.fori_loop(0, 3, lambda i, k: k - jax.grad(theirs, 1)(x, k), kernel)

    text = compiled_text(in_a_loop, x, kernel)
    assert set(re.findall(r"dim_labels=([\w>\-]+)", text)) - {CANONICAL[2]}
    assert [slow for slow in SLOW if slow in text]


def test_three_dimensions(normal):
    x, kernel = normal((2, 8, 8, 8, 8), jnp.float32), normal((3, 3, 3, 8, 16), jnp.float32)
    grads = jax.grad(lambda x, k: jnp.sum(jaxconv.conv(x, k, 2) ** 2), (0, 1))
    text = compiled_text(grads, x, kernel)
    assert set(re.findall(r"dim_labels=([\w>\-]+)", text)) <= set(CANONICAL.values())


def test_a_sum_over_a_depthwise_layer_writes_out_no_slices(normal):
    """As a bias's gradient and batch normalization take it: a slice for each tap is nine maps."""
    x, kernel = normal((4, 32, 32, 32), jnp.float32), normal((3, 3, 1, 32), jnp.float32)

    def mean(x, kernel):
        return relu(conv(x, kernel, padding="SAME", feature_group_count=32)).mean((0, 1, 2))

    used = jax.jit(mean).lower(x, kernel).compile().memory_analysis()
    assert used.temp_size_in_bytes < 4 * x.nbytes


@pytest.mark.parametrize("window", [3, 7])
def test_a_depthwise_kernel_gradient_is_one_loop_for_all_taps(window, normal):
    """One for each tap would take a second to compile where windows are large."""
    x, y = normal((4, 32, 32, 32), jnp.float32), normal((4, 32, 32, 32), jnp.float32)
    kernel = normal((window, window, 1, 32), jnp.float32)

    def kernel_vjp(x, y):
        return jaxconv.conv_kernel_vjp(x, y, kernel.shape, padding="SAME", feature_group_count=32)

    assert compiled_text(kernel_vjp, x, y).count(" fusion(") < 12


@pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="XLA drops the barriers")
def test_a_depthwise_layer_is_computed_once_for_all_that_reads_it(normal):
    """Its input for all taps, and its output for the loops of batch normalization."""
    x, kernel = normal((4, 16, 16, 32), jnp.float32), normal((3, 3, 1, 32), jnp.float32)

    def normalised(x, kernel):
        x = jax.nn.relu6(x * jnp.abs(kernel[0, 0]) + kernel[1, 1])
        y = conv(x, kernel, padding="SAME", feature_group_count=32)
        y -= y.mean((0, 1, 2))
        return y / jnp.sqrt((y**2).mean((0, 1, 2)))

    text = compiled_text(normalised, x, kernel)
    assert text.count(" clamp(") == 1
    assert len(re.findall(r"= f32\[4,\S+ slice\(", text)) <= 9  # one for each tap
