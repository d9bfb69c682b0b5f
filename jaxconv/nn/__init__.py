"""Flax NNX modules: parameters and their initialisation here, mathematics in `jaxconv.ops`.

Options carry the names and defaults of the functions, which are those of Flax where Flax has them;
the one difference to notice is that padding is `"VALID"` unless asked otherwise, as for
`jaxconv.conv`.
"""

from ._convolution import Conv as Conv
from ._convolution import ConvBlock as ConvBlock
from ._convolution import ConvTranspose as ConvTranspose
from ._dense import Dropout as Dropout
from ._dense import Linear as Linear
from ._inverse import Inverse as Inverse
from ._pooling import AvgPool as AvgPool
from ._pooling import MaxPool as MaxPool
from ._pooling import Upscale as Upscale
from ._structure import Concat as Concat
from ._structure import Flatten as Flatten
