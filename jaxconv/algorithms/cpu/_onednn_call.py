"""The custom call by which XLA for CPUs runs oneDNN's convolution.

The call is XLA's own (`xla/service/cpu/onednn_convolution.cc`). Its options are the message
`OneDnnConvolutionConfig` of `xla/service/cpu/onednn_config.proto`, as JSON. A wrong option, or a
dtype that the processor lacks, ends the process. So `_onednn_support.py` says where it is called.
"""

import json
from collections.abc import Iterable
from typing import Any

import jax

from ..._geometry import Geometry
from ..._typing import Input, Kernel, Output
from ..shared._kernels import varying_like

MAX_RANK = 3

_TARGET = "__onednn$convolution"
# XLA's number for calls whose options are one text.
_API_VERSION = 2


def convolve(x: Input, kernel: Kernel, geometry: Geometry, *, target: str = _TARGET) -> Output:
    """The convolution, by oneDNN. Input dilation and negative padding must have been applied.

    Args:
      x: Input `(n, *spatial, c)`.
      kernel: Kernel `(*window, c / groups, o)`, of the same dtype.
      geometry: Strides, padding, kernel dilation and groups.
      target: The name of the call.

    Returns:
      The output `(n, *output, o)`, of the same dtype.
    """
    assert _is_consistent(x, kernel, geometry), "oneDNN would end the process"
    shape = (x.shape[0], *geometry.output_size, kernel.shape[-1])
    call = jax.ffi.ffi_call(
        target,
        jax.ShapeDtypeStruct(shape, x.dtype),
        custom_call_api_version=_API_VERSION,
        legacy_backend_config=json.dumps(config(geometry)),
    )
    return varying_like(call(x, kernel), x, kernel)


def config(geometry: Geometry) -> dict[str, Any]:
    """The call's options. Protocol buffers write 64-bit numbers as text."""
    rank = geometry.rank
    dims, spatial = str(rank + 2), range(rank)
    before, behind = zip(*geometry.padding, strict=True)
    feature_map = {
        "dims": dims,
        "data": {
            "batch_dim": "0",
            "feature_dim": str(rank + 1),
            "spatial_dims": _texts(axis + 1 for axis in spatial),
        },
    }
    kernel = {
        "input_feature_dim": str(rank),
        "output_feature_dim": str(rank + 1),
        "spatial_dims": _texts(spatial),
    }
    window = {
        "size": _texts(geometry.window),
        "pad_left": _texts(before),
        "pad_right": _texts(behind),
        "strides": _texts(geometry.strides),
        "window_dilations": _texts(geometry.kernel_dilation),
    }
    options = {
        "dims": dims,
        "input": feature_map,
        "kernel": {"dims": dims, "filter": kernel},
        "output": feature_map,
        "window": window,
        "feature_groups": str(geometry.groups),
    }
    return {"onednn_conv_config": options}


def _is_consistent(x: Input, kernel: Kernel, geometry: Geometry) -> bool:
    """Whether the call is one that oneDNN accepts: it computes the sizes again."""
    c, o, groups = x.shape[-1], kernel.shape[-1], geometry.groups
    channels = x.dtype == kernel.dtype and kernel.shape[-2] * groups == c and o % groups == 0
    return channels and all(
        axis.e == 1
        and min(pads) >= 0
        and axis.p == (axis.i + sum(pads) - axis.d * (axis.r - 1) - 1) // axis.s + 1 > 0
        for axis, pads in zip(geometry.axes(), geometry.padding, strict=True)
    )


def _texts(numbers: Iterable[int]) -> list[str]:
    return [str(number) for number in numbers]
