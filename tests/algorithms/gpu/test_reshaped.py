"""Convolutions that are others after a reshape have the same products of the same elements.

Covers jaxconv/algorithms/gpu/_reshaped.py, jaxconv/algorithms/gpu/_undilated.py.
"""

import itertools

import jax
import numpy as np
import pytest

from jaxconv._geometry import Geometry
from jaxconv._spec import Slot
from jaxconv.algorithms.gpu._reshaped import reshaped
from jaxconv.algorithms.gpu._undilated import undilated
from tests.algorithms.meetings import meetings
from tests.algorithms.problems import geometry_of

EXAMPLES = 2


def numbers(size):
    """A map of one channel whose elements are 1, 2, …; padding will be 0."""
    return np.arange(1, 1 + EXAMPLES * np.prod(size)).reshape(EXAMPLES, *size, 1)


def products(x, k, y, geometry: Geometry):
    """The numbers of the elements in each product, where none is padding."""
    x, k, y = (np.asarray(a)[..., 0] for a in (x, k[..., 0], y))
    found = []
    for together in itertools.product(*map(sorted, map(meetings, geometry.axes()))):
        i, r, p = zip(*together, strict=True)
        for example in range(len(x)):
            found.append((x[example, *i], k[r], y[example, *p]))
    return sorted(tuple(map(int, product)) for product in found if all(product))


def kernel_of(geometry):
    return np.arange(1, 1 + np.prod(geometry.window)).reshape(*geometry.window, 1, 1)


DILATED = [
    ((12,), (3,), 1, ((8, 4),), 1, 4),  # phases that are complete
    ((11,), (3,), 1, ((5, 2),), 1, 4),  # and some that are not
    ((13,), (2,), 1, ((1, 0),), 1, 4),
    ((9,), (2,), 1, ((-2, 3),), 1, 3),
    ((9,), (2,), 1, ((0, -3),), 1, 3),  # elements that no window reaches
    ((7, 3, 4), (3, 1, 1), (2, 1, 1), ((2, 1), (0, 0), (0, 0)), 1, (2, 1, 1)),
]


@pytest.mark.parametrize("options", DILATED, ids=str)
def test_a_reshaped_convolution_has_the_same_products(options):
    geometry = geometry_of(*options)
    form = reshaped(Slot.KERNEL, geometry)
    arrays = {
        Slot.INPUT: numbers(geometry.input_size),
        Slot.KERNEL: kernel_of(geometry),
        Slot.OUTPUT: numbers(geometry.output_size),
    }

    @jax.jit
    def there_and_back(arrays):
        inner = {slot: form.to_inner(slot, a) for slot, a in arrays.items()}
        return inner, {slot: form.from_inner(slot, a) for slot, a in inner.items()}

    inner, back = there_and_back(arrays)
    x, k, y = (inner[slot] for slot in (Slot.INPUT, Slot.KERNEL, Slot.OUTPUT))
    own = [arrays[slot] for slot in (Slot.INPUT, Slot.KERNEL, Slot.OUTPUT)]
    assert products(x, k, y, form.inner) == products(*own, geometry)
    for slot, a in arrays.items():
        kept = np.isin(a, inner[slot]) * a  # what no window reaches is cropped
        np.testing.assert_array_equal(back[slot], kept)
    assert form.is_free == all(inner[slot].size == a.size for slot, a in arrays.items())


@pytest.mark.parametrize(
    ("slot", "options", "applies"),
    [
        (Slot.OUTPUT, DILATED[0], True),
        (Slot.OUTPUT, DILATED[1], False),  # a copy is worth it for a kernel gradient only
        (Slot.KERNEL, DILATED[1], True),
        (Slot.KERNEL, ((12,), (3,), 1, "SAME"), False),
        (Slot.KERNEL, ((12,), (3,), 2, "VALID", 1, 2), False),
        (Slot.KERNEL, ((12,), (3,), 1, "VALID", 2, 2), False),
        (Slot.KERNEL, ((12, 9), (3, 2), 1, "VALID", 1, 2), False),
        (Slot.INPUT, DILATED[-1], True),
        (Slot.INPUT, ((7, 3, 4), (3, 1, 2)), False),
    ],
)
def test_which_convolutions_are_reshaped(slot, options, applies):
    assert (reshaped(slot, geometry_of(*options)) is not None) == applies


# Some axes are dilated; the others have strides, padding or neither.
UNDILATED = [
    ((9,), (3,), 1, ((2, 1),), 1, 2),
    ((7, 6), (2, 3), (1, 2), ((1, -1), (1, 2)), 1, (3, 1)),
    ((5, 6), (2, 2), 1, ((-1, 2), (3, 0)), 1, (2, 3)),
]


@pytest.mark.parametrize("options", UNDILATED, ids=str)
def test_dilated_phases_as_examples_have_the_same_products(options):
    geometry = geometry_of(*options)
    x, y = numbers(geometry.input_size), numbers(geometry.output_size)
    kept = []

    @jax.jit
    def phases(x, y):
        *maps, left = undilated(x, y, geometry)
        kept.append(left)
        return maps

    x_phases, y_phases = phases(x, y)
    (left,) = kept
    assert left.kernel_dilation == (1,) * geometry.rank
    assert x_phases.shape == (len(y_phases), *left.input_size, 1)
    kernel = kernel_of(geometry)
    of_phases = products(x_phases, kernel, y_phases, left)
    assert of_phases == products(x, kernel, y, geometry)
