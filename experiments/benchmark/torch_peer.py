"""The contractions of a case with PyTorch: eager, channels last, on all cores."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .cases import Case, Conv, Pool
from .machine import cores
from .peers import CONTRACTIONS, Operands
from .timing import Program


def supports(case: Case) -> bool:
    """Whether PyTorch has the options of a case."""
    return isinstance(case, Pool) or set(case.input_dilation) == {1}


def torch_programs(case: Case, given: Operands, dtype: str) -> Callable[[str, str], Program]:
    """A function from a contraction and a mode to PyTorch's `Program`, the same in each mode."""
    import torch

    torch.set_num_threads(cores())
    make = _convolution if isinstance(case, Conv) else _pool
    with torch.no_grad():
        fill = make(case, given, getattr(torch, dtype))

    def program(contraction: str, mode: str) -> Program:
        def run():
            with torch.no_grad():
                return fill[contraction]()

        return Program(run, partial(_to_channels_last, case, CONTRACTIONS[contraction]))

    return program


def _convolution(case: Conv, given: Operands, dtype) -> dict[str, Callable[[], Any]]:
    import torch

    low = [lo for lo, _ in case.pads]
    # PyTorch pads both sides alike. Other padding is added here and is not timed. The gradient is
    # then that of the padded input.
    uneven = any(lo != hi for lo, hi in case.pads)
    x = np.pad(given.x, ((0, 0), *case.pads, (0, 0))) if uneven else given.x
    padding = [0] * len(low) if uneven else low
    x, y = (_from_channels_last(array, dtype) for array in (x, given.y))
    rank = len(case.spatial)
    kernel = given.k.transpose(rank + 1, rank, *range(rank))
    kernel = torch.from_numpy(np.ascontiguousarray(kernel)).to(dtype)
    kernel = kernel.contiguous(memory_format=_layout(kernel))
    strides, dilation = list(case.strides), list(case.kernel_dilation)
    convolve = getattr(torch.nn.functional, f"conv{rank}d")
    # No bias; not transposed, no output padding.
    options = (None, strides, padding, dilation, False, [0] * rank, case.groups)

    def forward():
        return convolve(x, kernel, None, strides, padding, dilation, case.groups)

    def backward(*mask):
        back = torch.ops.aten.convolution_backward(y, x, kernel, *options, [*mask, False])
        return tuple(array for array in back if array is not None)

    return {
        "F": lambda: (forward(),),
        "DX": lambda: backward(True, False),
        "DW": lambda: backward(False, True),
        "DX+DW": lambda: backward(True, True),
        "F+DX+DW": lambda: (forward(), *backward(True, True)),
    }


def _pool(case: Pool, given: Operands, dtype) -> dict[str, Callable[[], Any]]:
    import torch

    aten = torch.ops.aten
    x, y = (_from_channels_last(array, dtype) for array in (given.x, given.y))
    window, strides, low = list(case.window), list(case.strides), [lo for lo, _ in case.pads]
    if case.kind == "max":
        options = (window, strides, low, [1, 1], False)

        def forward():
            return torch.nn.functional.max_pool2d(x, *options)

        def remembering():
            return aten.max_pool2d_with_indices(x, *options)

        def backward(remembered):
            return aten.max_pool2d_with_indices_backward(y, x, *options, remembered[1])

    elif case.kind == "avg":
        options = (window, strides, low, False, True, None)

        def forward():
            return torch.nn.functional.avg_pool2d(x, window, strides, low)

        def remembering():
            return (forward(),)

        def backward(_):
            return aten.avg_pool2d_backward(y, x, *options)

    else:
        sizes = list(y.shape[2:]), list(x.shape)

        def forward():
            return aten.upsample_nearest2d(x, sizes[0])

        def remembering():
            return (forward(),)

        def backward(_):
            return aten.upsample_nearest2d_backward(y, *sizes)

    remembered = remembering()

    def both():
        remembered = remembering()
        return remembered[0], backward(remembered)

    return {"F": lambda: (forward(),), "DX": lambda: (backward(remembered),), "F+DX": both}


def _layout(tensor):
    import torch

    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    return layouts.get(tensor.ndim, torch.contiguous_format)


def _from_channels_last(array: np.ndarray, dtype):
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1))).to(dtype)
    return tensor.contiguous(memory_format=_layout(tensor))


def _to_channels_last(case: Case, slots: str, result) -> list[np.ndarray]:
    arrays = []
    for slot, tensor in zip(slots, result, strict=True):
        array = tensor.double().numpy()
        if slot == "k":
            array = array.transpose(*range(2, array.ndim), 1, 0)
        else:
            array = np.moveaxis(array, 1, -1)
        if slot == "x" and array.shape != case.x_shape:  # the gradient of a padded input
            inner = (slice(lo, lo + i) for (lo, _), i in zip(case.pads, case.spatial, strict=True))
            array = array[:, *inner]
        arrays.append(array)
    return arrays
