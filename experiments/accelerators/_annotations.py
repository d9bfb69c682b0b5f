"""A substitute for jaxtyping on machines where it is not installed.

Rented GPU machines often have JAX and PyTorch, and no access to package registries. jaxconv uses
jaxtyping for annotations only, which nothing reads at run time.
"""

import sys
from importlib import import_module
from types import ModuleType


class _Annotated:
    """`Shaped[Array, "n c"]` and the like become the type of the array."""

    def __class_getitem__(cls, array_and_axes):
        return array_and_axes[0]


def stand_in() -> None:
    """Make `import jaxtyping` work if it is not installed."""
    try:
        import_module("jaxtyping")
    except ImportError:
        module = ModuleType("jaxtyping")
        module.__getattr__ = lambda _: _Annotated
        sys.modules["jaxtyping"] = module
