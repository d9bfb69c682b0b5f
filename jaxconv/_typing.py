"""Array aliases with named axes: the vocabulary of every signature in the library.

`n` counts examples, `c` input channels, `o` output channels and `c_g` the input channels of one
feature group; `*spatial` are the axes of an input, `*output` those of an output, `*window` those of
a kernel. The names document a signature; the tests have them checked, by beartype, at every call.
"""

from typing import TypeAlias

import jax
import numpy as np
from jaxtyping import Integer, Shaped

Array: TypeAlias = jax.Array
AnyArray: TypeAlias = jax.Array | np.ndarray  # what users may pass

Input: TypeAlias = Shaped[Array, "n *spatial c"]
Output: TypeAlias = Shaped[Array, "n *output o"]
Kernel: TypeAlias = Shaped[Array, "*window c_g o"]

# A pool keeps the channels.
Pooled: TypeAlias = Shaped[Array, "n *output c"]
Taps: TypeAlias = Integer[Array, "n *output c"]
