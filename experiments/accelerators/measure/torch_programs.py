"""The contractions of a case with PyTorch on a device: eager, channels last, tuned by cuDNN."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...benchmark.cases import Case, Conv, Pool
from ...benchmark.peers import Operands
from .device import Mode
from .programs import Program


def torch_program(
    case: Case, contraction: str, given: Operands, mode: Mode, device: str
) -> Program | None:
    """The contraction on "cpu" or "cuda"; None if PyTorch is missing or lacks an option."""
    try:
        import torch
    except ImportError:
        return None
    if device == "cuda" and not torch.cuda.is_available():
        return None
    if isinstance(case, Conv) and set(case.input_dilation) > {1}:
        return None
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = mode.precision == "default"  # read when a program runs
    options = {"dtype": getattr(torch, mode.dtype), "device": device}
    make = _convolution if isinstance(case, Conv) else _pool
    call, to_channels_last = make(torch, case, contraction, given, options)

    def run():
        with torch.no_grad():
            return call()

    return Program(
        call=run,
        wait=lambda _: torch.cuda.synchronize() if device == "cuda" else None,
        arrays=lambda tensor: [to_channels_last(tensor.double().cpu().numpy())],
    )


def _convolution(torch, case: Conv, contraction: str, given: Operands, options):
    rank = len(case.spatial)
    # PyTorch pads both sides alike. Other padding is added here and is not timed.
    uneven = any(lo != hi for lo, hi in case.pads)
    x = np.pad(given.x, ((0, 0), *case.pads, (0, 0))) if uneven else given.x
    padding = [0 if uneven else lo for lo, _ in case.pads]
    x, y = (_from_channels_last(torch, array, options) for array in (x, given.y))
    kernel = torch.from_numpy(given.k).to(**options).permute(rank + 1, rank, *range(rank))
    kernel = kernel.contiguous(memory_format=_layout(torch, rank))
    strides, dilation = list(case.strides), list(case.kernel_dilation)
    convolve = getattr(torch.nn.functional, f"conv{rank}d")
    back = torch.ops.aten.convolution_backward
    # No bias; not transposed, no output padding.
    rest = (None, strides, padding, dilation, False, [0] * rank, case.groups)
    inside = [slice(lo, lo + i) for (lo, _), i in zip(case.pads, case.spatial, strict=True)]

    def unpadded(array):
        array = np.moveaxis(array, 1, -1)
        return array[:, *inside] if uneven else array

    def windows_first(array):
        return array.transpose(*range(2, rank + 2), 1, 0)

    return {
        "F": (
            lambda: convolve(x, kernel, None, strides, padding, dilation, case.groups),
            lambda array: np.moveaxis(array, 1, -1),
        ),
        "DX": (lambda: back(y, x, kernel, *rest, [True, False, False])[0], unpadded),
        "DW": (lambda: back(y, x, kernel, *rest, [False, True, False])[1], windows_first),
    }[contraction]


def _pool(torch, case: Pool, contraction: str, given: Operands, options):
    x, y = (_from_channels_last(torch, array, options) for array in (given.x, given.y))
    programs = {"max": _max_pool, "avg": _average_pool, "up": _upscale}[case.kind]
    return programs(torch.ops.aten, case, x, y)[contraction], lambda array: np.moveaxis(
        array, 1, -1
    )


def _max_pool(aten, case: Pool, x, y) -> dict[str, Callable[[], Any]]:
    options = (*_windows(case), [1, 1], False)
    _, index = aten.max_pool2d_with_indices(x, *options)
    return {
        "F": lambda: aten.max_pool2d_with_indices(x, *options)[0],
        "DX": lambda: aten.max_pool2d_with_indices_backward(y, x, *options, index),
    }


def _average_pool(aten, case: Pool, x, y) -> dict[str, Callable[[], Any]]:
    options = (*_windows(case), False, True, None)
    return {
        "F": lambda: aten.avg_pool2d(x, *options),
        "DX": lambda: aten.avg_pool2d_backward(y, x, *options),
    }


def _upscale(aten, case: Pool, x, y) -> dict[str, Callable[[], Any]]:
    large, small = list(y.shape[2:]), list(x.shape)
    return {
        "F": lambda: aten.upsample_nearest2d(x, large),
        "DX": lambda: aten.upsample_nearest2d_backward(y, large, small),
    }


def _windows(case: Pool) -> tuple[list[int], list[int], list[int]]:
    return list(case.window), list(case.strides), [lo for lo, _ in case.pads]


def _layout(torch, rank: int):
    layouts = {2: torch.channels_last, 3: torch.channels_last_3d}
    return layouts.get(rank, torch.contiguous_format)


def _from_channels_last(torch, array: np.ndarray, options):
    """`(n, *spatial, c)` as PyTorch's `(n, c, *spatial)`, with the same order in memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(array)).to(**options).movedim(-1, 1)
    return tensor.contiguous(memory_format=_layout(torch, tensor.ndim - 2))
