"""jaxconv's algorithms one at a time: which apply to a case, and how to run them."""

import jax

from jaxconv import algorithms
from jaxconv._geometry import Geometry, convolution_geometry

from .cases import Conv


class DoesNotApply(ValueError):
    """An algorithm was asked for a corner that it can't compute."""


def geometry_of(case: Conv) -> Geometry:
    """The integers of a case as the library has them."""
    return convolution_geometry(
        case.name,
        case.spatial,
        case.window,
        case.strides,
        case.padding,
        case.input_dilation,
        case.kernel_dilation,
        case.groups,
    )


def applicable(slot: str, case: Conv) -> tuple[str, ...]:
    """The names of the algorithms that can compute a corner of a case."""
    return algorithms.applicable(
        algorithms.Problem(slot, geometry_of(case), case.n, case.c, case.o)
    )


def filler(name: str, case: Conv, slots: str):
    """A function of (x, k, y) that fills the slots with one algorithm.

    Raises:
      DoesNotApply: The algorithm can't fill one of them.
    """
    geometry = geometry_of(case)

    def fill(x, k, y) -> tuple[jax.Array, ...]:
        arrays = {"x": x, "k": k, "y": y}
        filled = []
        for slot in slots:
            if name not in applicable(slot, case):
                raise DoesNotApply(f"{name} does not apply")
            others = [array for other, array in arrays.items() if other != slot]
            options = {"geometry": geometry, "dtypes": (x.dtype,) * 3, "precision": None}
            filled.append(algorithms.ALGORITHMS[name][slot](*others, **options))
        return tuple(filled)

    return fill
