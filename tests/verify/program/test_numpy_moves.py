"""Elements that NumPy selects and moves, and what of it is left to JAX."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxconv.verify.program._in_numpy import in_numpy, quick_function
from jaxconv.verify.program._numpy_moves import MOVES, _fill, _keys
from jaxconv.verify.program._wide import equations

from .equation import C, equation, of, zeros

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


def test_shapes_that_are_operands():
    """A size that is computed is a further operand, which NumPy has no function for."""
    size = np.int32(3)
    options = {"shape": (3, 2), "broadcast_dimensions": (1,)}
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(
        of("broadcast_in_dim", x, result=zeros(3, 2), **options), [x, x, x]
    )
    assert MOVES["broadcast_in_dim"](equation("", [x, size], [x], **options)) is None
    options = {"new_sizes": (2, 1), "dimensions": None}
    np.testing.assert_array_equal(of("reshape", x, result=zeros(2, 1), **options), x[:, None])
    assert MOVES["reshape"](equation("", [x, size], [x], **options)) is None
    cube = np.arange(6.0).reshape(2, 3)
    options = {"new_sizes": (6,), "dimensions": (1, 0)}
    np.testing.assert_array_equal(of("reshape", cube, result=zeros(6), **options), cube.T.ravel())
    i = np.int32(1)
    found = of("dynamic_slice", cube, i, i, result=zeros(1, 2), slice_sizes=(1, 2))
    np.testing.assert_array_equal(found, cube[1:, 1:])
    assert MOVES["dynamic_slice"](equation("", [cube, i, i, i], [x], slice_sizes=(1, 2))) is None


def test_broadcasts_of_other_versions():
    x = np.array([1.0, 2.0])
    np.testing.assert_array_equal(of("broadcast_to", x, result=zeros(3, 2)), [x, x, x])


@pytest.mark.parametrize("mode", ["clip", "drop"])
def test_scatter_into_an_array_without_elements(mode):
    """No window fits into it. JAX refuses to gather from it."""
    for size, is_known in ((0, False), (2, True)):
        traced = jax.make_jaxpr(lambda x, i: x.at[i].set(1.0, mode=mode))(
            jnp.zeros(size), np.array([0, 1])
        )
        (scatter,) = (e for e in equations(traced) if e.primitive.name == "scatter")
        assert (quick_function(scatter)[0] is not None) == is_known
    with pytest.raises(TypeError, match="Slice size"):
        jax.make_jaxpr(lambda x, i: x.at[i].get(mode=mode))(jnp.zeros(0), np.array([0, 1]))


@pytest.mark.parametrize("size", [1, 3])
def test_places_beyond_an_array(size):
    """They are filled when they are read, and dropped when they are written."""
    x, starts = np.arange(5.0, 5 + size), np.array([[0], [size], [-1]])
    numbers = SimpleNamespace(
        **{"offset_dims": (), "collapsed_slice_dims": (0,), "start_index_map": (0,)},
        **dict.fromkeys(("operand_batching_dims", "start_indices_batching_dims"), ()),
    )
    options = {"dimension_numbers": numbers, "slice_sizes": (1,), "fill_value": 9.0}
    found = of("gather", x, starts, result=zeros(3), mode="FILL_OR_DROP", **options)
    np.testing.assert_array_equal(found, [5, 9, 9])
    clipped = of("gather", x, starts, result=zeros(3), mode="CLIP", **options)
    np.testing.assert_array_equal(clipped, [5, 4 + size, 5])
    numbers = SimpleNamespace(
        **{"update_window_dims": (), "inserted_window_dims": (0,)},
        **{"scatter_dims_to_operand_dims": (0,), "operand_batching_dims": ()},
        scatter_indices_batching_dims=(),
    )
    options = {"dimension_numbers": numbers, "mode": "FILL_OR_DROP"}
    found = of("scatter-add", x, starts, np.array([1.0, 2.0, 4.0]), **options)
    np.testing.assert_array_equal(found, x + np.eye(size)[0])


@pytest.mark.parametrize(
    ("name", "expected"), [("add", 9.0), ("mul", 14.0), ("min", 2.0), ("max", 7.0), ("sub", 5.0)]
)
def test_scatters_by_both_of_their_names(name, expected):
    """Versions of JAX write them with a hyphen or with an underscore."""
    numbers = SimpleNamespace(
        **{"update_window_dims": (), "inserted_window_dims": (0,)},
        **{"scatter_dims_to_operand_dims": (0,), "operand_batching_dims": ()},
        scatter_indices_batching_dims=(),
    )
    options = {"dimension_numbers": numbers, "mode": "CLIP"}
    names = [f"scatter-{name}", f"scatter_{name}"] if name != "sub" else ["scatter-sub"]
    for each in names:
        found = of(each, np.array([7.0, 1.0]), np.array([[0]]), np.array([2.0]), **options)
        np.testing.assert_array_equal(found, [expected, 1])


def test_batches_of_another_axis():
    """The batch of the array is its second axis, that of the places their first."""
    x, rows = np.arange(12.0).reshape(4, 3), np.array([[2], [0], [3]])
    numbers = SimpleNamespace(
        **{"offset_dims": (), "collapsed_slice_dims": (0,), "start_index_map": (0,)},
        **{"operand_batching_dims": (1,), "start_indices_batching_dims": (0,)},
    )
    options = {"dimension_numbers": numbers, "slice_sizes": (1, 1), "mode": "CLIP"}
    found = of("gather", x, rows, result=zeros(3), fill_value=None, **options)
    np.testing.assert_array_equal(found, x[[2, 0, 3], [0, 1, 2]])
    numbers = SimpleNamespace(
        **{"update_window_dims": (), "inserted_window_dims": (0,)},
        **{"scatter_dims_to_operand_dims": (0,), "operand_batching_dims": (1,)},
        scatter_indices_batching_dims=(0,),
    )
    expected = x.copy()
    expected[[2, 0, 3], [0, 1, 2]] += [10, 20, 30]
    options = {"dimension_numbers": numbers, "mode": "CLIP"}
    found = of("scatter-add", x, rows, np.array([10.0, 20.0, 30.0]), **options)
    np.testing.assert_array_equal(found, expected)


def test_order_of_numbers():
    np.testing.assert_array_equal(np.signbit(_keys(np.array([-0.0, 0.0, -1.0]))), [0, 0, 1])
    integers = np.array([1, 2])
    assert _keys(integers) is integers
    x = np.array([[3.0, 1.0, np.nan, -1.0]])
    pair = [x[:, :2], np.zeros((1, 2), np.int32)]
    assert in_numpy(equation("top_k", [x], pair, k=2), [x]) is None  # JAX puts NaN first
    found = in_numpy(equation("top_k", [x[:, :2]], pair, k=2), [x[:, :2]])
    np.testing.assert_array_equal(found, [[[3, 1]], [[0, 1]]])
    found = in_numpy(equation("top_k", [x[:, :2].T], pair, k=1, axis=0), [x[:, :2].T])
    np.testing.assert_array_equal(found[0], [[3.0]])
    line = [x[0, :2], np.zeros(1, np.int32)]
    found = in_numpy(equation("top_k", line[:1], line, k=1), line[:1])
    np.testing.assert_array_equal(found, [[3], [0]])
    whole = np.array([[3, 1]])
    assert in_numpy(equation("top_k", [whole], pair, k=2), [whole]) is None
    assert of("sort", C, dimension=0, num_keys=1) is None
    found = in_numpy(
        equation("sort", 3 * [integers], 3 * [integers], dimension=0, num_keys=2),
        [np.array([1, 1, 0]), np.array([5, 4, 9]), np.array([0, 1, 2])],
    )
    np.testing.assert_array_equal(found, [[0, 1, 1], [9, 4, 5], [2, 1, 0]])


def test_what_is_read_beyond_an_array():
    for dtype, expected in (
        *((np.float64, np.nan), (np.int8, -128), (np.uint8, 255), (np.bool_, True)),
        (np.complex128, complex(np.nan)),
    ):
        found = _fill(None, np.dtype(dtype))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    assert (_fill(3.0, np.dtype("int8")), _fill(3.0, np.dtype("int8")).dtype) == (3, np.int8)
