"""Padding that holds pixels of the map itself: circular, reflected, replicated."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxconv import (
    conv,
    conv_block,
    conv_input_vjp,
    conv_kernel_vjp,
    conv_transpose,
    max_pool,
    nn,
    reference,
)
from tests.oracles import (
    assert_contractions,
    lax_conv,
    three_contractions,
    together,
)

pytestmark = pytest.mark.usefixtures("float64")

# What numpy calls them.
MODES = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}

# Spatial size, window and options.
CASES = [
    ((5,), (3,), {"padding": ((2, 1),)}),
    ((6, 5), (3, 2), {"padding": ((1, 2), (4, 0)), "strides": (2, 1)}),
    ((6, 5), (3, 3), {"padding": ((5, 5), (0, 3)), "kernel_dilation": (1, 2)}),
    ((6, 5), (2, 3), {"padding": ((-2, 3), (2, -1)), "feature_group_count": 2}),
    ((3, 4, 5), (2, 3, 2), {"padding": ((1, 0), (1, 1), (0, 2)), "flip_kernel": True}),
    # Wider than the map, and maps of one and of two pixels.
    ((5, 1), (3, 2), {"padding": ((17, 4), (3, 5)), "strides": (2, 1)}),
    ((2, 4), (3, 3), {"padding": ((1, 11), (9, -2)), "kernel_dilation": (2, 1)}),
    ((4, 3), (3, 2), {"padding": ((15, 6), (0, 9)), "kernel_dilation": (7, 2), "strides": (2, 3)}),
]


def check_against_the_definition(rows):
    """The contractions by `jax.vjp`, the gradients by name, and the transposed convolution."""
    rng, cases, calls = np.random.default_rng(0), [], []
    for mode, (spatial, window, options) in rows:
        options = {**options, "padding_mode": mode}
        kernel_shape = (*window, 4 // options.get("feature_group_count", 1), 6)
        x, kernel = rng.normal(size=(2, *spatial, 4)), rng.normal(size=kernel_shape)
        y_bar = rng.normal(size=reference.conv(x, kernel, **options).shape)

        def of_one(x, kernel, y_bar, options):
            return (
                three_contractions(partial(conv, **options), x, kernel, y_bar),
                conv_input_vjp(y_bar, kernel, x.shape, **options),
                conv_transpose(y_bar, kernel, **options, output_shape=x.shape[1:-1]),
                conv_kernel_vjp(x, y_bar, kernel.shape, **options),
            )

        cases.append((options, x, kernel, y_bar))
        calls.append((partial(of_one, options=options), x, kernel, y_bar))
    for (options, *arrays), (by_vjp, x_bar, transposed, k_bar) in zip(
        cases, together(calls), strict=True
    ):
        assert_contractions(by_vjp, *arrays, **options, name=str(options))
        for actual, expected in ((x_bar, by_vjp[1]), (transposed, x_bar), (k_bar, by_vjp[2])):
            chex.assert_trees_all_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_equals_the_definition():
    """Each mode with one of the cases: cropped, of three axes, wider than the map."""
    check_against_the_definition([*zip(MODES, CASES[3:6], strict=True)])


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_every_case_equals_the_definition(mode):
    check_against_the_definition([(mode, case) for case in CASES])


@pytest.mark.parametrize(
    "every", [2, pytest.param(1, marks=pytest.mark.exhaustive)], ids=["sample", "all"]
)
def test_every_pixel_is_copied_from_its_place(every):
    """Against numpy, pixel by pixel, and exactly: a convolution with one tap of 1 pads.

    Its transpose adds up what came from each pixel. The default run has every second pair of a
    mode and a padding.
    """
    sides = ((0, 0), (3, 0), (0, 3), (2, 3), (-1, 3), (3, -3))
    wide = ((4, 4), (9, 2), (2, 13), (50, 7), (-1, 30), (16, -3))
    pairs = [(4, pair) for pair in sides + wide] + [(1, (0, 4)), (2, (9, 4))]
    rng, kernel, calls, expected = np.random.default_rng(0), np.ones((1, 1, 1)), [], []
    pairs.append((3, (2, 1)))  # an odd number, so that the modes' samples are not of the same pairs
    for mode, (size, (lo, hi)) in [*itertools.product(MODES, pairs)][::every]:
        padded = np.pad(np.arange(size), (max(lo, 0), max(hi, 0)), MODES[mode])
        padded = padded[max(-lo, 0) : len(padded) - max(-hi, 0)]
        y_bar = rng.integers(1, 2**40, len(padded)).astype(float)
        expected.append((padded, [y_bar[padded == i].sum() for i in range(size)]))

        def pad_and_transpose(x, y_bar, padding=((lo, hi),), mode=mode):
            f = partial(conv, kernel=kernel, padding=padding, padding_mode=mode)
            y, pull_back = jax.vjp(f, x)
            return y, pull_back(y_bar)[0]

        x = np.arange(float(size))
        calls.append((pad_and_transpose, x[None, :, None], y_bar[None, :, None]))
    for (y, x_bar), (padded, origin) in zip(together(calls), expected, strict=True):
        np.testing.assert_array_equal(y[0, :, 0], padded)
        np.testing.assert_array_equal(x_bar[0, :, 0], origin)


def test_higher_derivatives_and_batches(normal):
    x, kernel = normal((3, 4, 1)), normal((3, 1, 2))

    def ours(x, kernel, mode):
        return conv(x[None], kernel, padding="SAME", padding_mode=mode)

    def plain(x, kernel, mode):
        """jnp pads, lax convolves and JAX differentiates."""
        padded = jnp.pad(x[None], [(0, 0), (1, 1), (0, 0)], mode=MODES[mode])
        return lax_conv(padded, kernel, 1, "VALID")

    def calls(f):
        for mode in MODES:

            def energy(x, kernel, mode=mode):
                return jnp.sum(f(x, kernel, mode) ** 3)

            for g in (jax.hessian(energy), jax.jacfwd(jax.grad(energy, argnums=1))):
                yield jax.vmap(g, in_axes=(0, None)), x, kernel

    actual, expected = (together(list(calls(f))) for f in (ours, plain))
    chex.assert_trees_all_close(actual, expected, rtol=1e-12, atol=1e-12)


def test_block_takes_the_mode(normal):
    x, kernel = normal((2, 7, 6, 3)), normal((3, 3, 3, 4))
    options = {"padding": "SAME", "padding_mode": "circular"}
    block = partial(conv_block, window_shape=2, activation=None, **options)
    chex.assert_trees_all_close(
        block(x, kernel), max_pool(conv(x, kernel, **options), 2), rtol=1e-13
    )


def test_equals_torch(normal):
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    x, kernel, y_bar = normal((2, 6, 5, 3)), normal((3, 5, 3, 4)), normal((2, 6, 5, 4))
    fs = [partial(conv, padding=(1, 2), padding_mode=mode) for mode in MODES]
    results = together([(partial(three_contractions, f), x, kernel, y_bar) for f in fs])
    for mode, (y, x_bar, k_bar) in zip(MODES, results, strict=True):
        layer = torch.nn.Conv2d(3, 4, (3, 5), padding=(1, 2), padding_mode=mode, bias=False)
        layer = layer.double()
        layer.weight.data = torch.tensor(np.asarray(kernel.transpose(3, 2, 0, 1)))
        their_x = torch.tensor(np.asarray(x.transpose(0, 3, 1, 2)), requires_grad=True)
        theirs = layer(their_x)
        theirs.backward(torch.tensor(np.asarray(y_bar.transpose(0, 3, 1, 2))))
        for actual, expected, axes in (
            (y, theirs.detach(), (0, 2, 3, 1)),
            (x_bar, their_x.grad, (0, 2, 3, 1)),
            (k_bar, layer.weight.grad, (2, 3, 1, 0)),
        ):
            np.testing.assert_allclose(actual, expected.numpy().transpose(axes), rtol=0, atol=1e-12)


def test_goes_round_as_flax_does(normal):
    """Windows of three taps, dilated to 31 pixels, over a map of ten pixels."""
    x, kernel = normal((1, 10, 10, 2)), normal((3, 3, 2, 3))
    layer = nnx.Conv(
        2,
        3,
        (3, 3),
        padding="CIRCULAR",
        kernel_dilation=15,
        use_bias=False,
        param_dtype=jnp.float64,
        rngs=nnx.Rngs(0),
    )
    layer.kernel[...] = kernel
    options = {"padding": 15, "kernel_dilation": 15, "padding_mode": "circular"}
    chex.assert_trees_all_close(conv(x, kernel, **options), layer(x), rtol=0, atol=1e-12)
    ours = nn.Conv(2, 3, (3, 3), **options, use_bias=False, rngs=nnx.Rngs(0))
    assert ours(x.astype(jnp.float32)).shape == (1, 10, 10, 3)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_wide_padding_are_added_up_in_float32(mode):
    """One pixel is copied 600 times. A bfloat16 sum of ones would stop at 256."""
    x, kernel = jnp.ones((1, 1, 1), jnp.bfloat16), jnp.ones((1, 1, 1), jnp.bfloat16)
    f = partial(conv, padding=300, padding_mode=mode)
    (x_bar,) = jax.vjp(lambda x: f(x, kernel), x)[1](jnp.ones((1, 601, 1), jnp.bfloat16))
    assert x_bar.item() == jnp.bfloat16(601)


@pytest.mark.parametrize("padding", [((2, 0),), ((0, 2),), 2], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_integers_are_added_up_exactly(mode, padding):
    """On one side or both. float32 has no odd numbers of this size, and small integers wrap."""
    kernel, large = np.ones((1, 1, 1), np.int32), 2**30 + 1
    for dtype, value in (("int32", large), ("uint8", 201), ("int4", 7), ("uint2", 3)):
        y_bar = np.full((1, 5 + np.sum(padding) * (2 if padding == 2 else 1), 1), value)
        options = {"padding": padding, "padding_mode": mode}
        args = y_bar.astype(dtype), kernel.astype(dtype), (1, 5, 1)
        found = np.asarray(conv_input_vjp(*args, **options)).astype(np.int64)
        expected = reference.conv_input_vjp(
            y_bar.astype(float), kernel.astype(float), args[2], **options
        )
        bits = {"int32": 32, "uint8": 8, "int4": 4, "uint2": 2}[dtype]
        assert ((found - expected.astype(np.int64)) % 2**bits == 0).all(), dtype


BAD_CALLS = {
    "unknown": ({"padding_mode": "mirror"}, "padding_mode must be one of"),
    "dilated": ({"padding": 1, "padding_mode": "circular", "input_dilation": 2}, "input_dilation"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("no_type_checker")
def test_empty_axes_have_nothing_to_pad_with(mode):
    x, kernel = np.ones((2, 0, 5, 3)), np.ones((3, 3, 3, 4))
    with pytest.raises(
        ValueError, match=r"conv: padding \(2, 2\) along spatial axis 0 needs a pix"
    ):
        conv(x, kernel, padding=2, padding_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_empty_stays_empty(mode):
    """An axis without pixels beside a padded one, no example, no channel; both gradients, too."""
    for shape in ((2, 0, 5, 3), (2, 5, 0, 3), (0, 5, 4, 3), (2, 5, 4, 0)):
        sides = [(2, 1) if size else (0, 0) for size in shape[1:-1]]
        operands = jnp.ones(shape), jnp.ones((2, 2, shape[-1], 4))

        @jax.jit
        def value_and_cotangents(*operands, sides=sides):
            f = partial(conv, padding=sides, padding_mode=mode)
            y, pull_back = jax.vjp(f, *operands)
            return y, pull_back(y)

        # Lowering runs the Python code of all maps.
        y, cotangents = value_and_cotangents.lower(*operands).out_info
        assert y.shape == (shape[0], *(size and size + 2 for size in shape[1:-1]), 4)
        assert [bar.shape for bar in cotangents] == [a.shape for a in operands]


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake):
    options, message = BAD_CALLS[mistake]
    with pytest.raises(ValueError, match=message) as caught:
        conv(np.ones((2, 6, 5, 3)), np.ones((3, 3, 3, 4)), **options)
    assert str(caught.value).startswith("conv: ")
