"""The options of pooling and upscaling: their definitions, and the call for each library."""

from collections.abc import Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

import jaxconv
from jaxconv import reference

from .rows import Function, Row


def rows() -> list[Row]:
    """All options, each on data on which it has an effect."""
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 2))
    return [*_maxima(x), *_sums(x), *_sizes(x), *_upscalings(x)]


def _maxima(x: np.ndarray) -> list[Row]:
    with_nan, ties, low = x.copy(), np.round(x), np.full((1, 4, 1), -np.inf)
    with_nan[0, 2, 3] = np.nan
    same = {"window_shape": 3, "strides": 2, "padding": "SAME"}
    dilated = {"window_shape": 3, "strides": 1, "window_dilation": 2}
    overlapping = {"window_shape": 3, "strides": 1}
    half = {"window_shape": 4, "strides": 1, "padding": ((2, 2),)}
    halves = {"window_shape": 3, "strides": 2, "padding": ((0, 0), (1, 1))}
    torch_halves = {"stride": 2, "padding": (0, 1), "ceil_mode": True}

    def row(name, x, options, torch_options, pool="max", ties="first", others=True):
        extra = {} if ties == "first" else {"ties": ties}
        libraries = {"jaxconv": partial(getattr(jaxconv, f"{pool}_pool"), **options, **extra)}
        if others and "ceil_mode" in options:
            libraries["torch"] = _torch_pool("max_pool", torch_options, x.ndim - 2)
        elif others:
            libraries |= {
                "lax": _lax_pool(lax.max if pool == "max" else lax.min, options, x.ndim - 2),
                "equinox": _equinox_pool(f"{pool.title()}Pool", options, x.ndim - 2),
                "torch": _torch_pool(
                    "max_pool", torch_options, x.ndim - 2, -1 if pool == "min" else 1
                ),
            }
            if "window_dilation" not in options:
                libraries["flax"] = _flax_pool(f"{pool}_pool", options, x.ndim - 2)
        return Row(name, _fixed_choice(x, options, pool, ties), x, libraries)

    return [
        row("max pool", x, overlapping, {"stride": 1}),
        row("min pool", x, overlapping, {"stride": 1}, pool="min"),
        row("max pool, SAME padding", x[:, :, :5], same, {"stride": 2, "padding": 1}),
        row("max pool, window dilation", x, dilated, {"stride": 1, "dilation": 2}),
        row("max pool, NaN in a window", with_nan, overlapping, {"stride": 1}),
        row(
            "max pool, windows of -inf, padded",
            low,
            half,
            {"stride": 1, "padding": 2, "kernel_size": 4},
        ),
        row("max pool, ceil mode", x, halves | {"ceil_mode": True}, torch_halves),
        row("max pool, ties: first", ties, overlapping, {"stride": 1}),
        row("max pool, ties: split", ties, overlapping, {}, ties="split", others=False),
        row("max pool, ties: all", ties, overlapping, {}, ties="all", others=False),
        _argmax(x),
        _unpool(x),
    ]


def _fixed_choice(x, options, pool, ties) -> Function:
    """The pool as a linear function, with the maxima chosen at x."""
    sign = -1 if pool == "min" else 1
    window = options["window_shape"]
    others = {k: v for k, v in options.items() if k != "window_shape"}

    @cache  # computed only for rows that are tried
    def pooled():
        value = sign * reference.max_pool(sign * x, window, **others)
        matrix = np.zeros((*value.shape, *x.shape))
        for index in np.ndindex(value.shape):
            one = np.zeros(value.shape)
            one[index] = 1
            matrix[index] = reference.max_pool_vjp(sign * x, one, window, ties=ties, **others)
        return value, matrix

    @jax.custom_jvp
    def choice(a):  # called at x only
        return jnp.asarray(pooled()[0]) + 0 * jnp.sum(jnp.zeros_like(a))

    @choice.defjvp
    def _(primals, tangents):
        matrix = pooled()[1]
        terms = jnp.where(matrix == 0, 0, matrix * tangents[0])  # without 0·∞
        return choice(*primals), terms.sum(tuple(range(-x.ndim, 0)))

    return choice


def _argmax(x: np.ndarray) -> Row:
    def pool(x):
        return jaxconv.max_pool_with_argmax(x, 2)[0]

    libraries = {"jaxconv": pool}
    if find_spec("torch"):
        import torch

        libraries["torch"] = lambda t: torch.nn.functional.max_pool2d(t, 2, return_indices=True)[0]
    return Row(
        "max pool with argmax", _fixed_choice(x, {"window_shape": 2}, "max", "first"), x, libraries
    )


def _unpool(x: np.ndarray) -> Row:
    pooled, argmax = reference.max_pool_with_argmax(x, 2)

    def definition(y):
        # equation (1) of max_unpool
        spatial = x.shape[1] * x.shape[2]
        n, c = np.arange(len(y))[:, None, None, None], np.arange(y.shape[-1])
        flat = jnp.zeros((len(y), spatial, y.shape[-1]), y.dtype).at[n, argmax, c].add(y)
        return flat.reshape(x.shape)

    def ours(y):
        return jaxconv.max_unpool(y, argmax, 2, output_size=x.shape[1:-1])

    libraries = {"jaxconv": ours}
    if find_spec("torch"):
        import torch

        where = torch.tensor(np.moveaxis(argmax, -1, 1).copy())
        libraries["torch"] = lambda t: torch.nn.functional.max_unpool2d(
            t, where, 2, output_size=x.shape[1:-1]
        )
    return Row("max unpool", definition, pooled, libraries)


def _sums(x: np.ndarray) -> list[Row]:
    padded = {"window_shape": 3, "strides": 2, "padding": ((1, 1), (1, 1))}
    dilated = {"window_shape": 2, "strides": 1, "window_dilation": 2}
    zeros = x.copy()
    zeros[:, :3, :3] = 0
    inside = np.maximum(
        reference.sum_pool(np.ones((1, *x.shape[1:-1], 1)), 3, 2, padded["padding"]), 1
    )
    torch_padded = {"kernel_size": 3, "stride": 2, "padding": 1}
    # Along the columns, a fourth window reaches one position beyond the padding.
    to_the_end = padded | {"padding": ((1, 1), (1, 2))}
    on_padded = 3 * np.array([3, 3, 3, 2])[:, None]
    lax_sum = _lax_pool(lax.add, padded, 2)
    return [
        Row(
            "average pool",
            lambda x: _plain_sum(x, **padded) / 9,
            x,
            {
                "jaxconv": partial(jaxconv.avg_pool, **padded),
                "lax": lambda x: lax_sum(x) / 9,
                "flax": _flax_pool("avg_pool", padded, 2),
                "equinox": _equinox_pool("AvgPool", padded, 2),
                "torch": _torch_pool("avg_pool", torch_padded, 2),
            },
        ),
        Row(
            "average pool, padding not counted",
            lambda x: _plain_sum(x, **padded) / inside,
            x,
            {
                "jaxconv": partial(jaxconv.avg_pool, **padded, count_include_pad=False),
                "flax": _flax_pool("avg_pool", padded, 2, count_include_pad=False),
                "torch": _torch_pool("avg_pool", torch_padded | {"count_include_pad": False}, 2),
            },
        ),
        Row(
            "average pool, ceil mode",
            lambda x: _plain_sum(x, **to_the_end) / on_padded,
            x,
            {
                "jaxconv": partial(jaxconv.avg_pool, **padded, ceil_mode=True),
                "torch": _torch_pool("avg_pool", torch_padded | {"ceil_mode": True}, 2),
            },
        ),
        Row(
            "sum pool, window dilation",
            lambda x: _plain_sum(x, **dilated),
            x,
            {
                "jaxconv": partial(jaxconv.sum_pool, **dilated),
                "lax": _lax_pool(lax.add, dilated, 2),
            },
        ),
        Row(
            "L2 pool",
            lambda x: jnp.sqrt(_plain_sum(x**2, 2, 2)),
            x[:, :6],
            {
                "jaxconv": lambda x: jaxconv.lp_pool(x, 2, 2),
                "torch": _torch_call("lp_pool2d", norm_type=2, kernel_size=2),
            },
        ),
        Row(
            "L2 pool, a window of zeros",
            lambda x: _safe_norm(_plain_sum(x**2, 3, 3)),
            zeros[:, :6],
            {
                "jaxconv": lambda x: jaxconv.lp_pool(x, 2, 3),
                "torch": _torch_call("lp_pool2d", norm_type=2, kernel_size=3),
            },
        ),
    ]


def _sizes(x: np.ndarray) -> list[Row]:
    torch = _torch_call  # Equinox's parts do not overlap, so that they differ from PyTorch's
    return [
        Row(
            "global average pool",
            lambda x: x.mean((1, 2)),
            x,
            {"jaxconv": jaxconv.global_avg_pool},
        ),
        Row(
            "adaptive average pool",
            partial(_plain_adaptive, jnp.mean),
            x,
            {
                "jaxconv": lambda x: jaxconv.adaptive_avg_pool(x, (3, 4)),
                "torch": torch("adaptive_avg_pool2d", output_size=(3, 4)),
            },
        ),
        Row(
            "adaptive max pool",
            partial(_plain_adaptive, jnp.max),
            x,
            {
                "jaxconv": lambda x: jaxconv.adaptive_max_pool(x, (3, 4)),
                "torch": torch("adaptive_max_pool2d", output_size=(3, 4)),
            },
        ),
    ]


def _upscalings(x: np.ndarray) -> list[Row]:
    x = x[:, :3, :4]

    def mixed(x, **options):  # by the matrix of the definition, a row for each pixel of an axis
        for axis in (1, 2):
            size = x.shape[axis]
            rows = reference.upscale(np.eye(size)[:, :, None], 2, **options)[..., 0]
            x = jnp.moveaxis(jnp.tensordot(x, rows, axes=(axis, 0)), -1, axis)
        return x

    def row(name, torch_options, resize=None, **options):
        libraries = {"jaxconv": partial(jaxconv.upscale, factor=2, **options)}
        if torch_options:
            libraries["torch"] = _torch_call("interpolate", scale_factor=2, **torch_options)
        if resize:
            libraries["lax"] = lambda x: jax.image.resize(x, (2, 6, 8, 2), resize)
        return Row(name, partial(mixed, **options), x, libraries)

    corners = {"mode": "bilinear", "align_corners": True}
    return [
        row("upscale, nearest", {"mode": "nearest"}, "nearest"),
        row("upscale, bilinear", {"mode": "bilinear"}, "linear", method="bilinear"),
        row("upscale, aligned corners", corners, method="bilinear", align_corners=True),
        row("upscale, zeros", {}, method="zeros"),
        Row(
            "pixel shuffle",
            lambda x: x.reshape(2, 3, 2, 1, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(2, 6, 4, 1),
            x.reshape(2, 3, 2, 4),
            {
                "jaxconv": lambda x: jaxconv.pixel_shuffle(x, 2),
                "torch": _torch_call("pixel_shuffle", upscale_factor=2),
            },
        ),
    ]


# ---- definitions -----------------------------------------------------------------------------


def _plain_sum(x, window_shape, strides, padding=((0, 0), (0, 0)), window_dilation=1):
    """The sum over windows, tap by tap."""
    d, s = window_dilation, strides
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    reach = d * (window_shape - 1)
    h, w = ((size - reach - 1) // s * s + 1 for size in x.shape[1:3])
    taps = [d * r for r in range(window_shape)]
    return sum(x[:, a : a + h : s, b : b + w : s] for a in taps for b in taps)


def _safe_norm(squares):
    """The square root whose derivatives at 0 are 0."""
    return jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares)))


def _plain_adaptive(reduce, x):
    """Pools 7×6 pixels into 3×4 parts."""
    rows, columns = [(0, 3), (2, 5), (4, 7)], [(0, 2), (1, 3), (3, 5), (4, 6)]
    parts = [[reduce(x[:, a:b, c:d], (1, 2)) for c, d in columns] for a, b in rows]
    return jnp.stack([jnp.stack(row, 1) for row in parts], 1)


# ---- the libraries' calls --------------------------------------------------------------------


def _lax_pool(combine, options: Mapping[str, Any], rank: int) -> Function:
    start = {lax.max: -np.inf, lax.min: np.inf, lax.add: 0.0}[combine]
    window, strides = ((1, *[options[k]] * rank, 1) for k in ("window_shape", "strides"))
    dilation = (1, *[options.get("window_dilation", 1)] * rank, 1)
    padding = options.get("padding", "VALID")
    if not isinstance(padding, str):
        padding = ((0, 0), *padding, (0, 0))
    return lambda x: lax.reduce_window(
        x, start, combine, window, strides, padding, window_dilation=dilation
    )


def _flax_pool(name: str, options: Mapping[str, Any], rank: int, **more) -> Function:
    window, strides = ((options[k],) * rank for k in ("window_shape", "strides"))
    pool, padding = getattr(nnx, name), options.get("padding", "VALID")
    return lambda x: pool(x, window, strides, padding, **more)


def _equinox_pool(name: str, options: Mapping[str, Any], rank: int) -> Function | None:
    """Equinox's pool, which takes one example, channels first."""
    padding = options.get("padding", "VALID")
    if not find_spec("equinox") or "window_dilation" in options or name == "MinPool":
        return None
    import equinox

    if isinstance(padding, str):  # for the sizes here, "SAME" is (1, 1)
        padding = (((1, 1) if padding == "SAME" else (0, 0)),) * rank
    pool = getattr(equinox.nn, f"{name}{rank}d")(
        options["window_shape"], options["strides"], padding
    )
    return _one_by_one(pool)


def _one_by_one(layer: Function) -> Function:
    return lambda x: jnp.moveaxis(jax.vmap(layer)(jnp.moveaxis(x, -1, 1)), 1, -1)


def _torch_pool(name: str, options: Mapping[str, Any], rank: int, sign: int = 1) -> Function | None:
    call = _torch_call(f"{name}{rank}d", **{"kernel_size": 3} | dict(options))
    return call and (lambda x: sign * call(sign * x))


def _torch_call(name: str, **options) -> Function | None:
    if not find_spec("torch"):
        return None
    import torch

    return lambda x: getattr(torch.nn.functional, name)(x, **options)
