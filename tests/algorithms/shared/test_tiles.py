"""Windows that do not overlap: each contraction against XLA's own, in whole numbers."""

import pytest

from jaxconv._spec import Slot
from tests.algorithms.problems import equal_in_whole_numbers, geometry_of, primitives_of

CASES = [
    ((6, 5), (2, 1), (2, 1)),  # blocks as large as the windows
    ((7, 8), (2, 2), (3, 2), ((1, 0), (0, -1))),  # larger ones, padded and cropped
    ((4, 3), (1, 1)),
    ((5, 6), (1, 1), (2, 3)),
]


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize("slot", Slot)
def test_equal_to_the_convolution(slot, options):
    equal_in_whole_numbers("tiles", slot, geometry_of(*options), c=3, o=4)


@pytest.mark.parametrize("slot", Slot)
def test_a_pointwise_layer_moves_no_element(slot):
    met = primitives_of("tiles", slot, geometry_of((4, 3), (1, 1)), c=3, o=4)
    assert not {"pad", "slice", "concatenate", "jaxconv_row_major"} & set(met)
    assert met.count("transpose") <= 1  # of the kernel
