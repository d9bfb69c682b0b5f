"""The definitions of the operations, as NumPy loops. They are slow and easy to check by eye.

The package imports nothing else of `jaxconv`. A function has the name and the arguments of the
public function whose definition it is, and the tests compare the two. Feature maps are
`(n, *spatial, c)`, with any number of spatial axes, and kernels are
`(*window, c_in / groups, c_out)`. Results are float64 or complex128 for operands of any dtype.

`_convolution` has the trilinear form and its three contractions. `_pooling` runs over the same
index triples. `_resizing` has the maps that need no windows.
"""

from ._convolution import conv as conv
from ._convolution import conv_input_vjp as conv_input_vjp
from ._convolution import conv_kernel_vjp as conv_kernel_vjp
from ._convolution import conv_transpose as conv_transpose
from ._convolution import rotate_kernel as rotate_kernel
from ._pooling import adaptive_avg_pool as adaptive_avg_pool
from ._pooling import adaptive_max_pool as adaptive_max_pool
from ._pooling import avg_pool as avg_pool
from ._pooling import fold as fold
from ._pooling import global_avg_pool as global_avg_pool
from ._pooling import global_max_pool as global_max_pool
from ._pooling import lp_pool as lp_pool
from ._pooling import max_pool as max_pool
from ._pooling import max_pool_vjp as max_pool_vjp
from ._pooling import max_pool_with_argmax as max_pool_with_argmax
from ._pooling import max_unpool as max_unpool
from ._pooling import min_pool as min_pool
from ._pooling import sum_pool as sum_pool
from ._pooling import unfold as unfold
from ._resizing import pixel_shuffle as pixel_shuffle
from ._resizing import pixel_unshuffle as pixel_unshuffle
from ._resizing import upscale as upscale
