"""jaxconv: convolution gradients in JAX that you can read, check, and that run fast.

The functions are pure and differentiable in every mode; each has its derivative written by hand,
with the derivation in its docstring. They are loaded on first use, and so are the packages:
`backprop`, `derivations`, `lax`, `nn` (Flax NNX modules on top), `reference` and `verify`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import algorithms as algorithms
    from . import backprop as backprop
    from . import derivations as derivations
    from . import lax as lax
    from . import nn as nn
    from . import ops as ops
    from . import reference as reference
    from . import verify as verify
    from .ops import adaptive_avg_pool as adaptive_avg_pool
    from .ops import adaptive_max_pool as adaptive_max_pool
    from .ops import add_bias as add_bias
    from .ops import avg_pool as avg_pool
    from .ops import conv as conv
    from .ops import conv_block as conv_block
    from .ops import conv_general_dilated as conv_general_dilated
    from .ops import conv_input_vjp as conv_input_vjp
    from .ops import conv_kernel_vjp as conv_kernel_vjp
    from .ops import conv_transpose as conv_transpose
    from .ops import dense as dense
    from .ops import dropout as dropout
    from .ops import explain as explain
    from .ops import global_avg_pool as global_avg_pool
    from .ops import global_max_pool as global_max_pool
    from .ops import lp_pool as lp_pool
    from .ops import max_pool as max_pool
    from .ops import max_pool_with_argmax as max_pool_with_argmax
    from .ops import max_unpool as max_unpool
    from .ops import min_pool as min_pool
    from .ops import pixel_shuffle as pixel_shuffle
    from .ops import pixel_unshuffle as pixel_unshuffle
    from .ops import relu as relu
    from .ops import rotate_kernel as rotate_kernel
    from .ops import softmax as softmax
    from .ops import softmax_cross_entropy as softmax_cross_entropy
    from .ops import squared_error as squared_error
    from .ops import sum_pool as sum_pool
    from .ops import tanh as tanh
    from .ops import upscale as upscale

__version__ = "0.1.0"

_PACKAGES = ("algorithms", "backprop", "derivations", "lax", "nn", "ops", "reference", "verify")

if not TYPE_CHECKING:  # to a type checker it would say that every name is found

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return import_module(f"{__name__}.{name}")  # which binds the name here
        if name == "__all__":  # for `from jaxconv import *`
            return _functions()
        if name in _functions():
            value = globals()[name] = getattr(import_module(f"{__name__}.ops"), name)
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    dunder = (name for name in globals() if name.startswith("__"))
    installed = (name for name in _PACKAGES if name != "nn" or find_spec("flax"))
    return sorted({*dunder, *_functions(), *installed})


def _functions() -> list[str]:
    """The functions of `ops`, each of which is found here, too."""
    ops = import_module(f"{__name__}.ops")
    return [name for name, thing in vars(ops).items() if name[0] != "_" and callable(thing)]
