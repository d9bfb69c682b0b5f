"""The options of convolutions: their definitions, and the call for each library."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

import jaxconv

from .rows import Function, Row

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_NO_PADDING = ((0, 0), (0, 0))
# The names of the padding modes in NumPy and Flax.
_NUMPY = {"circular": "wrap", "reflect": "reflect", "replicate": "edge"}
_FLAX = {"circular": "CIRCULAR", "reflect": "REFLECT"}


def rows() -> list[Row]:
    """All options, each on sizes at which it has an effect."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 7, 6, 4)), rng.normal(size=(3, 3, 4, 4))
    return [*_spacings(x, kernel), *_boundaries(x, kernel), *_transposed(x, kernel)]


def _spacings(x: np.ndarray, kernel: np.ndarray) -> list[Row]:
    def row(name: str, k: np.ndarray = kernel, **options: Any) -> Row:
        return Row(name, _definition(k, **options), x, _libraries(k, **options))

    explicit = ((1, 2), (0, 3))
    return [
        row("convolution"),
        row("convolution, strides", strides=2, padding=explicit),
        row("convolution, kernel dilation", kernel_dilation=2, padding=explicit),
        row("convolution, input dilation", input_dilation=2, padding=explicit),
        row(
            "convolution, strides and both dilations",
            strides=3,
            kernel_dilation=2,
            input_dilation=2,
            padding=explicit,
        ),
        row("convolution, negative padding", padding=((-1, 2), (1, -2))),
        row("convolution, feature groups", kernel[:, :, :2], groups=2),
        row("convolution, depthwise", kernel[:, :, :1], groups=4),
        _in_kernel(x, kernel, strides=2, kernel_dilation=2, padding=explicit),
        _batch_groups(x, kernel),
    ]


def _boundaries(x: np.ndarray, kernel: np.ndarray) -> list[Row]:
    def named(name: str, sides: Sequence[tuple[int, int]], *others: str) -> Row:
        libraries = _libraries(kernel, padding=sides)
        calls = {
            "jaxconv": lambda x: jaxconv.conv(x, kernel, padding=name),
            "lax": lambda x: lax.conv_general_dilated(x, kernel, (1, 1), name, None, None, _LAYOUT),
            "flax": _flax(kernel, padding=name),
            "equinox": libraries.get("equinox"),
            "torch": libraries.get("torch"),
        }
        kept = {library: calls[library] for library in ("jaxconv", *others)}
        return Row(f'convolution, "{name}"', _definition(kernel, padding=sides), x, kept)

    even = kernel[:2, :2]

    def mode(name: str) -> Row:
        sides = ((1, 1), (1, 1))
        libraries: dict[str, Function | None] = {
            "jaxconv": lambda x: jaxconv.conv(x, kernel, padding=1, padding_mode=name),
            "equinox": _equinox(kernel, padding=sides, padding_mode=name.upper()),
            "torch": _torch(kernel, padding=sides, mode=name),
        }
        if name in _FLAX:
            libraries["flax"] = _flax(kernel, padding=_FLAX[name])
        return Row(f"padding, {name}", _definition(kernel, padding=sides, mode=name), x, libraries)

    one = Row(
        'convolution, "SAME_LOWER"',
        _definition(even, padding=((1, 0), (1, 0))),
        x,
        {
            "jaxconv": lambda x: jaxconv.conv(x, even, padding="SAME_LOWER"),
            "lax": lambda x: lax.conv_general_dilated(
                x, even, (1, 1), "SAME_LOWER", None, None, _LAYOUT
            ),
            "flax": _flax(even, padding="SAME_LOWER"),
        },
    )
    return [
        named("SAME", ((1, 1), (1, 1)), "lax", "flax", "equinox", "torch"),
        one,
        named("FULL", ((2, 2), (2, 2))),
        named("CAUSAL", ((2, 0), (2, 0))),
        *map(mode, _NUMPY),
    ]


def _transposed(x: np.ndarray, kernel: np.ndarray) -> list[Row]:
    """Transposed convolutions. Their definition is the transposed matrix of the convolution."""
    y = x[:, :4, :3]

    def row(name: str, size: tuple[int, int], ours: dict, others: dict, **options: Any) -> Row:
        forward, shape = _definition(kernel, **options), (2, *size, 4)

        @cache  # computed only for rows that are tried
        def matrix():
            with jax.ensure_compile_time_eval():
                return np.asarray(jax.jacobian(forward)(np.zeros(shape)))

        def definition(y):
            axes = tuple(range(y.ndim))
            return jnp.tensordot(y, matrix(), axes=(axes, axes))

        libraries = {"jaxconv": lambda y: jaxconv.conv_transpose(y, kernel, **ours)}
        return Row(name, definition, y, libraries | others)

    def lax_call(*args, **kwargs) -> Function:
        return lambda y: lax.conv_transpose(y, kernel, *args, **kwargs)

    torch_kernel = kernel.transpose(3, 2, 0, 1)
    return [
        row(
            "transposed convolution",
            (9, 7),
            {"strides": 2},
            {
                "lax": lax_call((2, 2), "VALID", transpose_kernel=True),
                "flax": _flax(kernel, transpose=True, strides=2, padding="VALID"),
                "equinox": _equinox(kernel, transpose=True, stride=2),
                "torch": _torch_transposed(torch_kernel, stride=2),
            },
            strides=2,
        ),
        row(
            "transposed convolution, output padding",
            (8, 6),
            {"strides": 2, "padding": 1, "output_padding": 1},
            {
                "lax": lax_call((2, 2), ((1, 2), (1, 2)), transpose_kernel=True),
                "equinox": _equinox(kernel, transpose=True, stride=2, padding=1, output_padding=1),
                "torch": _torch_transposed(torch_kernel, stride=2, padding=1, output_padding=1),
            },
            strides=2,
            padding=((1, 0), (1, 0)),
        ),
        row(
            "transposed convolution, output shape",
            (10, 8),
            {"strides": 2, "output_shape": (10, 8)},
            {},
            strides=2,
        ),
        row(
            "transposed convolution, circular",
            (8, 6),
            {"strides": 2, "padding": "SAME", "padding_mode": "circular"},
            {},
            strides=2,
            padding=((0, 1), (0, 1)),
            mode="circular",
        ),
    ]


def _in_kernel(x: np.ndarray, kernel: np.ndarray, **options: Any) -> Row:
    """A convolution as a function of its kernel."""

    def of_kernel(build: Callable[..., Function | None]) -> Function:
        return lambda k: build(k, **options)(x)

    libraries: dict[str, Function] = {
        name: of_kernel(partial(_library, name)) for name in ("jaxconv", "lax")
    }
    if find_spec("torch"):
        import torch

        images = torch.tensor(np.moveaxis(x, -1, 1).copy())

        def torch_of_kernel(k):  # `modes` moves the last axis, as of a feature map: (kh, o, kw, c)
            return _library("torch", k.permute(1, 3, 0, 2), **options)(images)

        libraries["torch"] = torch_of_kernel
    return Row("convolution, in its kernel", of_kernel(_definition), kernel, libraries)


def _batch_groups(x: np.ndarray, kernel: np.ndarray) -> Row:
    def call(module: Any) -> Function:
        return lambda x: module.conv_general_dilated(
            x, kernel, (1, 1), "VALID", None, None, _LAYOUT, 1, 2
        )

    def definition(x):
        halves = zip((x[:1], x[1:]), (kernel[..., :2], kernel[..., 2:]), strict=True)
        return jnp.concatenate([_definition(k)(part) for part, k in halves], -1)

    return Row(
        "convolution, batch groups", definition, x, {"jaxconv": call(jaxconv), "lax": call(lax)}
    )


# ---- the definition --------------------------------------------------------------------------


def _definition(
    kernel: Any,
    strides: int = 1,
    padding: Sequence[tuple[int, int]] = _NO_PADDING,
    input_dilation: int = 1,
    kernel_dilation: int = 1,
    groups: int = 1,
    mode: str = "zeros",
) -> Function:
    """y[p] = Σ_r x[s·p + d·r] k[r] of the dilated and padded x, tap by tap."""

    def definition(x):
        n, *size, c = x.shape
        e, d, s = input_dilation, kernel_dilation, strides
        wide = jnp.zeros((n, *(e * (i - 1) + 1 for i in size), c), x.dtype)
        wide = wide.at[:, ::e, ::e].set(x)
        sides = [(max(lo, 0), max(hi, 0)) for lo, hi in padding]
        wide = jnp.pad(wide, ((0, 0), *sides, (0, 0)), mode=_NUMPY.get(mode, "constant"))
        (a, b), (f, g) = ((max(-lo, 0), max(-hi, 0)) for lo, hi in padding)
        wide = wide[:, a : wide.shape[1] - b, f : wide.shape[2] - g]
        h, w = (
            (i - d * (r - 1) - 1) // s * s + 1
            for i, r in zip(wide.shape[1:3], kernel.shape[:2], strict=True)
        )
        total = 0.0
        for row in range(kernel.shape[0]):
            for column in range(kernel.shape[1]):
                seen = wide[:, d * row : d * row + h : s, d * column : d * column + w : s]
                parts = jnp.split(seen, groups, -1)
                taps = jnp.split(jnp.asarray(kernel[row, column]), groups, -1)
                total += jnp.concatenate(
                    [part @ tap for part, tap in zip(parts, taps, strict=True)], -1
                )
        return total

    return definition


# ---- the libraries' calls --------------------------------------------------------------------


def _libraries(kernel: np.ndarray, **options: Any) -> dict[str, Function | None]:
    names = ("jaxconv", "lax", "flax", "equinox", "torch")
    return {name: _library(name, kernel, **options) for name in names}


def _library(
    name: str,
    kernel: Any,
    strides: int = 1,
    padding: Sequence[tuple[int, int]] = _NO_PADDING,
    input_dilation: int = 1,
    kernel_dilation: int = 1,
    groups: int = 1,
) -> Function | None:
    if name == "jaxconv":
        return lambda x: jaxconv.conv(
            x,
            kernel,
            strides,
            padding,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=groups,
        )
    two = {"strides": (strides,) * 2, "e": (input_dilation,) * 2, "d": (kernel_dilation,) * 2}
    if name == "lax":
        return lambda x: lax.conv_general_dilated(
            x, kernel, two["strides"], padding, two["e"], two["d"], _LAYOUT, groups
        )
    if name == "flax":
        return _flax(
            kernel,
            padding=padding,
            strides=strides,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=groups,
        )
    if input_dilation > 1:
        return None
    if name == "equinox":
        return _equinox(
            kernel, padding=padding, stride=strides, dilation=kernel_dilation, groups=groups
        )
    return _torch(kernel, stride=strides, padding=padding, dilation=kernel_dilation, groups=groups)


def _flax(kernel: np.ndarray, *, transpose: bool = False, **options: Any) -> Function:
    *window, c, o = kernel.shape
    options |= {"use_bias": False, "param_dtype": kernel.dtype, "rngs": nnx.Rngs(0)}
    if transpose:
        layer: Any = nnx.ConvTranspose(o, c, window, **options, transpose_kernel=True)
    else:
        layer = nnx.Conv(c * options.get("feature_group_count", 1), o, window, **options)
    layer.kernel[...] = jnp.asarray(kernel)
    return layer


def _equinox(kernel: np.ndarray, *, transpose: bool = False, **options: Any) -> Function | None:
    """Equinox's convolution, which takes one example, channels first."""
    if not find_spec("equinox"):
        return None
    import equinox

    *window, c, o = kernel.shape
    groups = options.get("groups", 1)
    kind, sizes = (
        (equinox.nn.ConvTranspose, (o, c * groups))
        if transpose
        else (equinox.nn.Conv, (c * groups, o))
    )
    layer = kind(2, *sizes, window, **options, use_bias=False, key=jax.random.key(0))
    # Equinox's transposed layer does not rotate its weight.
    rotated = kernel[::-1, ::-1].swapaxes(2, 3) if transpose else kernel
    weight = jnp.asarray(rotated.transpose(3, 2, 0, 1))
    layer = equinox.tree_at(lambda layer: layer.weight, layer, weight)
    return lambda x: jnp.moveaxis(jax.vmap(layer)(jnp.moveaxis(x, -1, 1)), 1, -1)


def _torch(
    kernel: Any,
    *,
    padding: Sequence[tuple[int, int]] = _NO_PADDING,
    mode: str = "constant",
    **options: Any,
) -> Function | None:
    """PyTorch's convolution, with a separate call for padding that may differ between the sides."""
    if not find_spec("torch"):
        return None
    import torch

    if isinstance(kernel, np.ndarray):
        kernel = torch.tensor(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)))
    (top, bottom), (left, right) = padding

    def call(x):
        padded = torch.nn.functional.pad(x, (left, right, top, bottom), mode=mode)
        return torch.nn.functional.conv2d(padded, kernel, **options)

    return call


def _torch_transposed(kernel: np.ndarray, **options: Any) -> Function | None:
    if not find_spec("torch"):
        return None
    import torch

    weight = torch.tensor(np.ascontiguousarray(kernel))
    return lambda x: torch.nn.functional.conv_transpose2d(x, weight, **options)
