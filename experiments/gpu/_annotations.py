"""jaxconv's annotations where jaxtyping, which they are written in, is not installed.

A machine that is lent for an hour has JAX and PyTorch on it, and often no way to install more.
Nothing at run time reads an annotation; here each becomes the type of its array.
"""

import sys
from importlib import import_module
from types import ModuleType


class _Annotated:
    """`Shaped[Array, "n c"]` and its like: the array's type."""

    def __class_getitem__(cls, array_and_axes):
        return array_and_axes[0]


def stand_in() -> None:
    """Make `import jaxtyping` work if it does not."""
    try:
        import_module("jaxtyping")
    except ImportError:
        module = ModuleType("jaxtyping")
        module.__getattr__ = lambda _: _Annotated
        sys.modules["jaxtyping"] = module
