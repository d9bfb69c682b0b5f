"""Any program of JAX, with the convolutions and pools in it run by this library.

- `_trace.py`: the public function.
- `_rewriting.py`: how primitives are met in a function and in the programs that it holds.
- `_choice.py`: what runs for one primitive.
- `_replacement.py`: the rules that say so.
- `_convolutions.py`, `_pools.py`: the rules of convolutions and pools.
- `_jax.py`: what this needs of JAX's insides.
"""

from . import _convolutions as _convolutions
from . import _pools as _pools
from ._trace import accelerate as accelerate
