"""Flax NNX modules. A module holds parameters and options; `jaxconv.ops` holds the mathematics.

Options have the names and the defaults of the functions. These are Flax's names, where Flax has
the option. One default differs from Flax's: padding is `"VALID"`, as for `jaxconv.conv`.

`Dropout` is Flax's own. `Linear` has the parameters of Flax's and calls `jaxconv.dense`, whose
derivatives are the library's.
"""

from importlib.util import find_spec as _find_spec

if _find_spec("flax") is None:
    raise ModuleNotFoundError('jaxconv.nn needs Flax: pip install "jaxconv[nn]"', name="flax")

from flax.nnx import Dropout as Dropout

from ._convolution import Conv as Conv
from ._convolution import ConvBlock as ConvBlock
from ._convolution import ConvTranspose as ConvTranspose
from ._dense import Linear as Linear
from ._inverse import Inverse as Inverse
from ._pooling import AvgPool as AvgPool
from ._pooling import LpPool as LpPool
from ._pooling import MaxPool as MaxPool
from ._pooling import MaxUnpool as MaxUnpool
from ._pooling import MinPool as MinPool
from ._pooling import SumPool as SumPool
from ._sized_pooling import AdaptiveAvgPool as AdaptiveAvgPool
from ._sized_pooling import AdaptiveMaxPool as AdaptiveMaxPool
from ._sized_pooling import GlobalAvgPool as GlobalAvgPool
from ._sized_pooling import GlobalMaxPool as GlobalMaxPool
from ._structure import Concat as Concat
from ._structure import Flatten as Flatten
from ._upscaling import PixelShuffle as PixelShuffle
from ._upscaling import PixelUnshuffle as PixelUnshuffle
from ._upscaling import Upscale as Upscale
