"""Single algorithms of jaxconv: which of them apply to a case, and how to run them."""

from functools import partial

import jax

from jaxconv import algorithms
from jaxconv._arguments import convolution_geometry
from jaxconv._geometry import Geometry
from jaxconv._spec import ConvSpec, Dtypes, Slot

from .cases import Conv


class DoesNotApply(ValueError):
    """The algorithm cannot compute a contraction."""


def geometry_of(case: Conv) -> Geometry:
    """The geometry of a case."""
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
    """The names of the algorithms that can compute a contraction of a case."""
    return algorithms.applicable(problem_of(slot, case))


def problem_of(slot: str, case: Conv) -> algorithms.Problem:
    """The contraction of a case that leaves a slot empty, as the library describes it."""
    return algorithms.Problem(Slot(slot), geometry_of(case), case.n, case.c, case.o)


def filler(name: str, case: Conv, slots: str):
    """A function of (x, k, y) that computes the slots with one algorithm.

    Raises:
      DoesNotApply: The algorithm cannot compute one of them.
    """
    geometry = geometry_of(case)
    backend = jax.default_backend()
    platform = "cuda" if backend == "gpu" else backend

    def fill(x, k, y) -> tuple[jax.Array, ...]:
        arrays = {"x": x, "k": k, "y": y}
        filled = []
        for slot in slots:
            if name not in applicable(slot, case):
                raise DoesNotApply(f"{name} does not apply")
            first, second = (array for other, array in arrays.items() if other != slot)
            spec = ConvSpec(geometry, Dtypes(x.dtype, x.dtype, x.dtype))
            run = partial(algorithms.run_algorithm, platform=platform)
            filled.append(run(name, Slot(slot), spec, first, second))
        return tuple(filled)

    return fill
