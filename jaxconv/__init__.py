"""jaxconv: convolution gradients in JAX that you can read, check, and that run fast.

The functions are pure and differentiable in every mode; each has its derivative written by hand,
with the derivation in its docstring. `jaxconv.nn` has Flax NNX modules on top, and is imported on
its own.
"""

from . import lax as lax
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
