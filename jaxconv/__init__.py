"""jaxconv: convolution gradients in JAX that you can read, check, and that run fast.

The functions are pure and differentiable in every mode. Each has a derivative written by hand, with
the derivation in its docstring. This page follows one call through the library.

## The life of a convolution

    y = jaxconv.conv(x, kernel, strides=2, padding="SAME")

1. `ops/_convolution.py`: `conv` states the equation, its derivatives and its options. It puts the
   options into a `ConvOptions` and calls `convolve`.
2. `ops/_options.py`: `ConvOptions` checks the options and the operands, and transposes the operands
   to the library's own layout, channels last. `ConvOptions.spec` works out the geometry and the
   dtypes. The result is a `ConvSpec` (`_spec.py`): all that is static about the convolution, in one
   hashable object.
3. `ops/_form.py`: `contract` binds a primitive (`forms/_operation.py`) to the operands, with the
   `ConvSpec` as its only parameter. There are three primitives, one for each slot of the trilinear
   form T that can be left empty. They are the only operations of a convolution that JAX ever sees:

        jaxconv_y   x, k -> y       the convolution, ∂T/∂y
        jaxconv_x   k, y -> x       the gradient of its input, ∂T/∂x
        jaxconv_k   x, y -> k       the gradient of its kernel, ∂T/∂k

   `jax.grad`, `jax.jvp` and `jax.vmap` exchange one primitive for another
   (`forms/_multilinear.py`, `ops/_batching.py`). Nothing else is needed for derivatives of any
   order.
4. `ops/_compile.py`: when XLA compiles the program, the primitive becomes an algorithm's operations
   for the platform that it is compiled for.
5. `algorithms/`: the platform's folder chooses an algorithm by shape. The algorithm computes the
   contraction with operations of `jax.lax`.

The gradient of a network with a max pool,

    jax.grad(lambda kernel: jaxconv.max_pool(jaxconv.conv(x, kernel), 2).sum())

consists of four primitives of this library: `jaxconv_y`, the choice of the pool
(`jaxconv_window_max_and_choice`, which returns the maxima and which tap holds each), its transpose
for fixed taps (`jaxconv_window_gather_in`), and `jaxconv_k`. `jax.make_jaxpr` prints them, and
`jaxconv.explain` says which algorithms they are compiled to.

## Programs that call `jax.lax`

`jaxconv.accelerate` runs a function with these operations in place of lax's. `_accelerate/` meets
each primitive of lax while JAX traces the function, and says which operation it is.

## Packages

| package | contents |
|---|---|
| `jaxconv.ops` | the functions, each with its derivation; all of them are found here, too |
| `jaxconv.algorithms` | how contractions and pools are computed on each platform |
| `jaxconv.forms` | operations of your own, out of a map and its transposes |
| `jaxconv.nn` | Flax NNX modules |
| `jaxconv.lax` | the convolutions of `jax.lax`, under their own names |
| `jaxconv.verify` | a verifier for any function's derivatives |
| `jaxconv.derivations` | derivations that can be executed step by step |
| `jaxconv.backprop` | backpropagation in five steps, with every value open to inspection |
| `jaxconv.reference` | the definitions as NumPy loops |

Functions and packages are loaded on first use.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import algorithms as algorithms
    from . import backprop as backprop
    from . import derivations as derivations
    from . import forms as forms
    from . import lax as lax
    from . import nn as nn
    from . import ops as ops
    from . import reference as reference
    from . import verify as verify
    from ._accelerate import accelerate as accelerate
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
    from .ops import fold as fold
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
    from .ops import unfold as unfold
    from .ops import upscale as upscale

__version__ = "0.1.0"

_PACKAGES = (
    *("algorithms", "backprop", "derivations", "forms", "lax", "nn", "ops", "reference", "verify"),
)

if not TYPE_CHECKING:  # A type checker would take it to say that every name exists.

    def __getattr__(name: str) -> Any:
        if name in _PACKAGES:
            return import_module(f"{__name__}.{name}")  # This binds the name, too.
        if name == "__all__":  # for `from jaxconv import *`
            return _functions()
        if name in _functions():
            module = "_accelerate" if name == "accelerate" else "ops"
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    dunder = (name for name in globals() if name.startswith("__"))
    installed = (name for name in _PACKAGES if name != "nn" or find_spec("flax"))
    return sorted({*dunder, *_functions(), *installed})


def _functions() -> list[str]:
    """The names of `accelerate` and the functions of `ops`."""
    ops = import_module(f"{__name__}.ops")
    functions = (name for name, thing in vars(ops).items() if name[0] != "_" and callable(thing))
    return ["accelerate", *functions]
