"""The mathematics: a file a family, each rule beside its derivation."""

from ._activations import dropout as dropout
from ._activations import relu as relu
from ._activations import tanh as tanh
from ._bias import add_bias as add_bias
from ._block import conv_block as conv_block
from ._convolution import conv as conv
from ._convolution import conv_input_vjp as conv_input_vjp
from ._convolution import conv_kernel_vjp as conv_kernel_vjp
from ._dense import dense as dense
from ._explain import explain as explain
from ._general import conv_general_dilated as conv_general_dilated
from ._losses import softmax as softmax
from ._losses import softmax_cross_entropy as softmax_cross_entropy
from ._losses import squared_error as squared_error
from ._pooling import avg_pool as avg_pool
from ._pooling import max_pool as max_pool
from ._pooling import min_pool as min_pool
from ._pooling import sum_pool as sum_pool
from ._pooling import upscale as upscale
from ._rotation import rotate_kernel as rotate_kernel
from ._transposed import conv_transpose as conv_transpose
