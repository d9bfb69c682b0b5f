"""Padding that holds pixels of the map itself: circular, reflected, replicated."""

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
from jaxconv._geometry import convolution_geometry
from jaxconv.ops._boundary import _pad, _sum
from tests.oracles import assert_within_rounding, lax_conv, three_corners, with_magnitudes

pytestmark = pytest.mark.usefixtures("float64")

# What numpy calls them.
MODES = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}

# Spatial size, window and options; explicit sides, so that numpy can pad first.
CASES = [
    ((5,), (3,), {"padding": ((2, 1),)}),
    ((6, 5), (3, 2), {"padding": ((1, 2), (4, 0)), "strides": (2, 1)}),
    ((6, 5), (3, 3), {"padding": ((5, 5), (0, 3)), "kernel_dilation": (1, 2)}),
    ((6, 5), (2, 3), {"padding": ((-2, 3), (2, -1)), "feature_group_count": 2}),
    ((3, 4, 5), (2, 3, 2), {"padding": ((1, 0), (1, 1), (0, 2)), "flip_kernel": True}),
    # Wider than the map, and maps of one and of two pixels.
    ((5, 1), (3, 2), {"padding": ((17, 4), (3, 5)), "strides": (2, 1)}),
    ((2, 4), (3, 3), {"padding": ((1, 11), (9, -2)), "kernel_dilation": (2, 1)}),
]


def padded_first(x, kernel, *, padding, mode, flip_kernel=False, **options):
    """jnp pads, lax convolves and JAX differentiates."""
    wide = [(max(lo, 0), max(hi, 0)) for lo, hi in padding]
    x = jnp.pad(x, [(0, 0), *wide, (0, 0)], mode=MODES[mode])
    crop = [
        slice(max(-lo, 0), size - max(-hi, 0))
        for (lo, hi), size in zip(padding, x.shape[1:-1], strict=True)
    ]
    kernel = kernel[(slice(None, None, -1),) * (kernel.ndim - 2)] if flip_kernel else kernel
    groups = options.pop("feature_group_count", 1)
    return lax_conv(
        x[:, *crop],
        kernel,
        options.pop("strides", 1),
        "VALID",
        kernel_dilation=options.pop("kernel_dilation", (1,) * len(padding)),
        groups=groups,
    )


@pytest.fixture(params=[(mode, *case) for mode in MODES for case in CASES], ids=str)
def case(request, normal):
    mode, spatial, window, options = request.param
    groups = options.get("feature_group_count", 1)
    x, kernel = normal((2, *spatial, 4)), normal((*window, 4 // groups, 6))
    ours = partial(conv, **options, padding_mode=mode)
    theirs = partial(padded_first, **options, mode=mode)
    y_bar = normal(jax.eval_shape(ours, x, kernel).shape)
    return ours, theirs, (x, kernel, y_bar), {**options, "padding_mode": mode}


def test_equals_padding_first(case):
    ours, theirs, operands, _ = case
    actual = jax.jit(partial(three_corners, ours))(*operands)
    expected = with_magnitudes(partial(three_corners, theirs), *operands)
    terms = sum(a.size for a in operands)
    for name, *results in zip(("y", "x_bar", "k_bar"), actual, *expected, strict=True):
        assert_within_rounding(*results, terms, name)


@pytest.mark.parametrize(
    "case",  # the options in one mode, the modes with one of the options
    [("reflect", *case) for case in CASES] + [(mode, *CASES[1]) for mode in MODES],
    ids=str,
    indirect=True,
)
def test_corners_are_each_others_transposes(case):
    """The gradients by name, and the transposed convolution, in the same mode."""
    ours, _, (x, kernel, y_bar), options = case
    _, x_bar, k_bar = jax.jit(partial(three_corners, ours))(x, kernel, y_bar)
    chex.assert_trees_all_close(
        [
            conv_input_vjp(y_bar, kernel, x.shape, **options),
            conv_transpose(y_bar, kernel, **options, output_shape=x.shape[1:-1]),
            conv_kernel_vjp(x, y_bar, kernel.shape, **options),
        ],
        [x_bar, x_bar, k_bar],
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("mode", MODES)
def test_every_pixel_is_copied_from_its_place(mode):
    """(1) of `_boundary` against numpy, pixel by pixel, and (2) as its transpose, exactly."""
    sides = ((0, 0), (3, 0), (0, 3), (2, 3), (-1, 3), (3, -3))
    wide = ((4, 4), (9, 2), (2, 13), (50, 7), (-1, 30), (16, -3))
    for size, (lo, hi) in [(4, pair) for pair in sides + wide] + [(1, (0, 4)), (2, (9, 4))]:
        x, geometry = jnp.arange(float(size))[None, :, None], conv_geometry(size, lo, hi)
        y = _pad(x, geometry=geometry, mode=mode)[0, :, 0]
        expected = np.pad(np.arange(size), (max(lo, 0), max(hi, 0)), MODES[mode])
        expected = expected[max(-lo, 0) : len(expected) - max(-hi, 0)]
        np.testing.assert_array_equal(y, expected)
        errors = np.random.default_rng(0).integers(1, 2**40, len(expected)).astype(float)
        back = _sum(jnp.asarray(errors)[None, :, None], geometry=geometry, mode=mode)
        origin = [errors[expected == i].sum() for i in range(size)]
        np.testing.assert_array_equal(back[0, :, 0], origin)


def conv_geometry(size, lo, hi):
    return convolution_geometry("test", (size,), (1,), 1, ((lo, hi),), 1, 1, 1)


@pytest.mark.parametrize("mode", MODES)
def test_higher_derivatives_and_batches(mode, normal):
    x, kernel = normal((3, 5, 1)), normal((3, 1, 2))

    def energy(x, kernel):
        return jnp.sum(conv(x[None], kernel, padding="SAME", padding_mode=mode) ** 3)

    def plain(x, kernel):
        options = {"padding": ((1, 1),), "mode": mode}
        return jnp.sum(padded_first(x[None], kernel, **options) ** 3)

    for transform in (jax.hessian, lambda f: jax.jacfwd(jax.grad(f, argnums=1))):
        ours, theirs = (
            jax.jit(jax.vmap(transform(f), in_axes=(0, None)))(x[..., :4, :], kernel)
            for f in (energy, plain)
        )
        chex.assert_trees_all_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_block_takes_the_mode(normal):
    x, kernel = normal((2, 7, 6, 3)), normal((3, 3, 3, 4))
    options = {"padding": "SAME", "padding_mode": "circular"}
    block = partial(conv_block, window_shape=2, activation=None, **options)
    chex.assert_trees_all_close(
        block(x, kernel), max_pool(conv(x, kernel, **options), 2), rtol=1e-13
    )


@pytest.mark.parametrize("mode", MODES)
def test_equals_torch(mode, normal):
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    x, kernel = normal((2, 6, 5, 3)), normal((3, 5, 3, 4))
    layer = torch.nn.Conv2d(3, 4, (3, 5), padding=(1, 2), padding_mode=mode, bias=False)
    layer = layer.double()
    layer.weight.data = torch.tensor(np.asarray(kernel.transpose(3, 2, 0, 1)))
    their_x = torch.tensor(np.asarray(x.transpose(0, 3, 1, 2)), requires_grad=True)
    theirs = layer(their_x)
    ours, pull_back = jax.vjp(partial(conv, padding=(1, 2), padding_mode=mode), x, kernel)
    y_bar = normal(ours.shape)
    theirs.backward(torch.tensor(np.asarray(y_bar.transpose(0, 3, 1, 2))))
    for actual, expected, axes in (
        (ours, theirs.detach(), (0, 2, 3, 1)),
        (pull_back(y_bar)[0], their_x.grad, (0, 2, 3, 1)),
        (pull_back(y_bar)[1], layer.weight.grad, (2, 3, 1, 0)),
    ):
        np.testing.assert_allclose(actual, expected.numpy().transpose(axes), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_equals_the_definition_however_wide(mode, normal):
    """Three corners and the transpose, against loops; a window dilated beyond the map, too."""
    x, kernel = np.array(normal((1, 4, 3, 2))), np.array(normal((3, 2, 2, 2)))
    options = {"padding": ((15, 6), (0, 9)), "kernel_dilation": (7, 2), "padding_mode": mode}
    options["strides"] = (2, 3)
    y = reference.conv(x, kernel, **options)
    y_bar = np.array(normal(y.shape))
    actual = jax.jit(partial(three_corners, partial(conv, **options)))(x, kernel, y_bar)
    expected = (
        y,
        reference.conv_input_vjp(y_bar, kernel, x.shape, **options),
        reference.conv_kernel_vjp(x, y_bar, kernel.shape, **options),
    )
    chex.assert_trees_all_close(actual, expected, rtol=0, atol=1e-11)
    back = conv_transpose(y_bar, kernel, **options, output_shape=(4, 3))
    again = reference.conv_transpose(y_bar, kernel, **options, output_shape=(4, 3))
    chex.assert_trees_all_close(back, again, rtol=0, atol=1e-11)


def test_goes_round_as_flax_does(normal):
    """The convolution of the report: windows of three, dilated to 31, of a map of ten."""
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


def test_errors_of_wide_padding_are_added_up_in_float32():
    """One pixel of a map, copied 600 times: a bfloat16 sum of ones ends at 256."""
    for mode in MODES:
        geometry = conv_geometry(1, 300, 300)
        (total,) = _sum(jnp.ones((1, 601, 1), jnp.bfloat16), geometry=geometry, mode=mode).ravel()
        assert total == jnp.bfloat16(601)


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


@pytest.mark.parametrize("mistake", BAD_CALLS)
@pytest.mark.usefixtures("no_type_checker")
def test_bad_input(mistake, normal):
    options, message = BAD_CALLS[mistake]
    with pytest.raises(ValueError, match=message) as caught:
        conv(np.asarray(normal((2, 6, 5, 3))), np.asarray(normal((3, 3, 3, 4))), **options)
    assert str(caught.value).startswith("conv: ")
