"""Which form a map over windows takes, at both sides of each limit: no element tells.

Covers jaxconv/algorithms/shared/_maxima.py, jaxconv/algorithms/shared/_sums.py,
jaxconv/algorithms/shared/_over_taps.py, jaxconv/algorithms/shared/_scatter.py.
"""

from functools import partial

import jax
import pytest

from jaxconv.algorithms.shared import _maxima, _sums
from tests.algorithms.problems import geometry_of


def form(f, *operands):
    """What a program consists of, besides slices and element-wise operations."""
    text = str(jax.make_jaxpr(f)(*operands))
    words = {"window": " reduce_window", "loop": " scan[", "reshape": " reduce_"}
    found = {name for name, word in words.items() if word in text}
    return found - {"reshape"} if "window" in found else found


# Input, window and strides, and the forms of sums, of their transposes, of maxima, of a choice and
# its transpose, and of sums over equal elements. Windows that are not large are slices.
FORMS = {
    "few taps": (((40,), (32,)), ["", "", "", "", "", ""]),
    "many taps of an axis": (((40,), (33,)), ["window", "window", "", "", "", ""]),
    "of one axis of two": (((40, 40), (3, 33)), ["window", "window", "", "", "", ""]),
    "adjacent, few": (((64,), (32,), 32), ["", "", "", "", "", ""]),
    "adjacent, many of an axis": (((66,), (33,), 33), ["reshape", "", "", "", "", ""]),
    "adjacent, 128": (((256,), (128,), 128), ["reshape", "", "", "", "", ""]),
    "adjacent, 129": (((258,), (129,), 129), ["reshape", "", "reshape", "reshape", "", "loop"]),
    "of two axes, 128": (((32, 40), (16, 8), (16, 8)), ["", "", "", "", "", ""]),
    "of two axes, 136": (((33, 40), (17, 8), (16, 8)), ["", "", "", "loop", "", "loop"]),
    "the whole map": (((3,), (3,)), ["reshape", "", "reshape", "reshape", "", ""]),
    "overlapping, 128": (((200,), (128,)), ["window", "window", "", "", "", ""]),
    "overlapping, 129": (((200,), (129,)), ["window", "window", "", "loop", "loop", "loop"]),
}


@pytest.mark.parametrize("name", FORMS)
def test_which_form_windows_take(name):
    options, expected = FORMS[name]
    geometry = geometry_of(*options)
    x, y = (
        jax.ShapeDtypeStruct((1, *size, 1), "float32")
        for size in (geometry.input_size, geometry.output_size)
    )
    index = jax.ShapeDtypeStruct(y.shape, _maxima.index_dtype(geometry))
    maps = [
        (_sums.sum_windows, x),
        (_sums.spread_windows, y),
        (_maxima.max_of_windows, x),
        (_maxima.gather_windows, x, index),
        (_maxima.scatter_windows, y, index),
        (_maxima.sum_where_equal, x, x, y),
    ]
    back = form(partial(_maxima.spread_where_equal, geometry=geometry), y, x, y)
    assert back == {expected[-1]} - {""}
    found = [form(partial(f, geometry=geometry), *operands) for f, *operands in maps]
    assert found == [{word} - {""} for word in expected]
