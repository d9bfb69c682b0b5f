"""What `accelerate` leaves to lax, because it is no pool or because of the platform.

Covers jaxconv/_accelerate/_pools.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxconv import explain
from jaxconv._accelerate import _choice, _pools, accelerate
from tests.accelerate.primitives import said
from tests.accelerate.test_pools import IMAGES, OPERATIONS, POOLS

pytestmark = pytest.mark.usefixtures("float64")


KEPT = {
    "a gradient of cropped windows": (
        lambda x: lax.select_and_scatter_add_p.bind(
            x[:, :6, :6],
            x,
            select_prim=lax.ge_p,
            window_dimensions=(1, 3, 3, 1),
            window_strides=(1, 1, 1, 1),
            padding=((0, 0), (0, -1), (0, 0), (0, 0)),
        ),
        "its padding is negative",
    ),
    "another operation": (
        lambda x: lax.reduce_window(x, 1.0, lax.mul, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"),
        "it reduces by another operation than max, min or add",
    ),
    "padding of a first value": (
        lambda x: lax.reduce_window(x, x[0, 0, 0, 0], lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "SAME"),
        "its padding holds the first value, which may not be zero",
    ),
    "windows of one element": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 1, 1), (1, 1, 1, 1), "VALID"),
        "its windows hold one element",
    ),
    "cumulative": (
        lambda x: lax.reduce_window(
            jnp.tile(x, (1, 5, 1, 1)),
            0.0,
            lax.add,
            (1, 45, 1, 1),
            (1,) * 4,
            [(0, 0), (44, 0)] + 2 * [(0, 0)],
        ),
        "its windows grow over a whole axis, as in a cumulative sum",
    ),
    "nothing": (
        lambda x: lax.reduce_window(x[:0], 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"),
        "an axis has no elements",
    ),
    "no channels": (
        lambda x: lax.reduce_window(x[..., :0], 0.0, lax.add, (1, 2, 2, 1), (1,) * 4, "VALID"),
        "an axis has no elements",
    ),
    "all cropped": (
        lambda x: lax.reduce_window(
            x, 0.0, lax.add, (1, 2, 2, 1), (1,) * 4, [(0, 0), (-9, 3), (0, 0), (0, 0)]
        ),
        "an axis has no elements",
    ),
    "no window fits": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 10, 2, 1), (1,) * 4, "VALID"),
        "an axis has no elements",
    ),
    "several arrays": (
        lambda x: lax.reduce_window(
            (x, x),
            (0.0, 0.0),
            lambda a, b: (a[0] + b[0], a[1] + b[1]),
            (1, 2, 2, 1),
            (1,) * 4,
            "VALID",
        ),
        "it reduces several arrays together",
    ),
    "booleans": (
        lambda x: lax.reduce_window(x > 1, False, lax.max, (1, 2, 2, 1), (1,) * 4, "VALID"),
        "its elements are booleans",
    ),
    "no zero": (
        lambda x: lax.reduce_window_max_p.bind(
            x.astype("float8_e8m0fnu"),
            **{"window_dimensions": (1, 2, 2, 1), "window_strides": (1,) * 4},
            **{"padding": ((0, 0),) * 4, "base_dilation": (1,) * 4, "window_dilation": (1,) * 4},
        ),
        "its dtype has no zero",
    ),
    "a gradient among integers": (
        lambda x: lax.select_and_scatter_add_p.bind(
            *(x[:, :8, :7].astype("int32"), x.astype("int32")),
            select_prim=lax.ge_p,
            window_dimensions=(1, 2, 2, 1),
            window_strides=(1, 1, 1, 1),
            padding=((0, 0),) * 4,
        ),
        "its elements are no floating-point numbers",
    ),
    "a tangent among windows of one element": (
        lambda x: lax.select_and_gather_add_p.bind(
            *(x, x),
            select_prim=lax.ge_p,
            window_dimensions=(1,) * 4,
            window_strides=(1,) * 4,
            padding=((0, 0),) * 4,
            base_dilation=(1,) * 4,
            window_dilation=(1,) * 4,
        ),
        "its windows hold one element",
    ),
    "complex": (
        lambda x: lax.reduce_window(
            x + 1j, -jnp.inf + 0j, lax.max, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"
        ),
        "its elements are complex",
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_what_stays(name):
    f, reason = KEPT[name]
    assert said(f, IMAGES) == [reason]


def f64(*shape):
    return jax.ShapeDtypeStruct(shape, "float64")


CUMULATIVE = "its windows grow over a whole axis, as in a cumulative sum"


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "stays"),
    [
        (33, 33, 1, (32, 0), True),
        (33, 33, 1, (0, 32), True),
        (33, 40, 1, (39, 0), True),
        (32, 32, 1, (31, 0), False),  # a short axis
        (33, 32, 1, (31, 0), False),  # some windows do not reach over it
        (33, 33, 2, (32, 32), False),  # as many windows as elements, of which some are padding
        (33, 33, 1, (32, 1), False),  # more windows than elements
        (33, 33, 1, (16, 15), False),  # fewer
    ],
)
def test_windows_that_grow_over_a_long_axis_stay(size, window, stride, padding, stays):
    """lax has another program for cumulative sums."""

    def f(x):
        sides = [(0, 0), padding, (0, 0)]
        return lax.reduce_window(x, 0.0, lax.add, (1, window, 1), (1, stride, 1), sides)

    assert said(f, f64(2, size, 3)) == [CUMULATIVE if stays else "jaxconv.sum_pool"]


@pytest.mark.parametrize(
    ("reduces", "expected"),
    [
        (lambda a, b: lax.max(a, b), "jaxconv.max_pool"),
        (lambda a, b: lax.min(b, a), "jaxconv.min_pool"),
        (lambda a, b: lax.add(b, a), "jaxconv.sum_pool"),
        (lambda a, b: lax.add(a, a), None),
        (lambda a, b: lax.max(a, 1.0), None),
        (lambda a, b: lax.add(a, lax.add(a, b)), None),
        (lambda a, b: b, None),
        (lambda a, b: lax.sub(a, b), None),
        (lambda a, b: (lax.max(a, b), a)[1], None),
    ],
    ids=["max", "min", "add", "first twice", "constant", "two", "second", "difference", "unused"],
)
def test_a_reduction_is_known_by_all_that_it_does(reduces, expected):
    def f(x):
        return lax.reduce_window(x, 1.0, reduces, (1, 2, 2, 1), (1,) * 4, "VALID")

    other = "it reduces by another operation than max, min or add"
    assert said(f, f64(1, 4, 4, 1)) == [expected or other]


@pytest.mark.parametrize("first", [0.0, 1.0])
@pytest.mark.parametrize("sides", [(0, 0), (1, 0), (0, 1), (-1, 0)], ids=str)
@pytest.mark.parametrize("name", ["max", "add"])
def test_what_the_padding_of_a_reduction_holds(name, sides, first):
    """From a first value that only the running program knows, a sum of padding would hold it."""

    def f(x, start):
        padding = [(0, 0), (0, 0), sides, (0, 0)]
        return lax.reduce_window(x, start, OPERATIONS[name][1], (1, 2, 2, 1), (1,) * 4, padding)

    stays = "its padding holds the first value, which may not be zero"
    expected = stays if name == "add" and sides != (0, 0) else POOLS[name]
    assert said(f, f64(1, 4, 4, 1), jnp.asarray(first)) == [expected]


DTYPES = ["int4", "int8", "uint8", "int64", "uint32", "bfloat16", "float32", "float64"]
DTYPES += ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_identity_of_an_operation_changes_no_element(dtype):
    """Also in dtypes without infinities, and among integers without a sign."""
    dtype = jnp.dtype(dtype)
    limits = jnp.finfo(dtype) if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype)
    elements = np.array([limits.min, limits.max, 0, 1]).astype(dtype).astype("float64")
    for name, operation in (("max", np.maximum), ("min", np.minimum), ("add", np.add)):
        identity = np.asarray(_pools._identity(name, dtype)).astype(dtype).astype("float64")
        np.testing.assert_array_equal(operation(elements, identity), elements, name)
        if name != "add":
            order = _pools._reversed_order(jnp.asarray(elements[:3]).astype(dtype))
            lowest, highest, zero = np.asarray(order).astype("float64")
            assert lowest >= zero >= highest
            assert lowest > highest


@pytest.fixture
def on_a_tpu(monkeypatch):
    """JAX says that it runs on a TPU, and no choice that was made elsewhere is known."""
    _choice._chosen.cache_clear()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    yield
    _choice._chosen.cache_clear()


@pytest.mark.usefixtures("on_a_tpu")
@pytest.mark.parametrize("of", [lambda f: f, jax.grad], ids=["forward", "gradient"])
def test_on_tpus_maxima_stay_with_lax_and_sums_do_not(of):
    windows = (1, 3, 3, 1), (1, 2, 2, 1), "SAME"

    def f(x):
        largest = lax.reduce_window(x, -jnp.inf, lax.max, *windows)
        return jnp.sum(largest * lax.reduce_window(x, 0.0, lax.add, *windows))

    met = explain(accelerate(of(f)), jax.ShapeDtypeStruct((2, 9, 8, 3), "float32")).accelerated
    reasons = {bool(primitive.runs): primitive.reason for primitive in met}
    assert "on TPUs" in reasons[False]
    assert True in reasons


@pytest.mark.usefixtures("on_a_tpu")
def test_on_tpus_maxima_of_integers_are_pooled():
    """They have no derivative, which is what lax's own pools are faster at."""
    for dtype, runs in (("int32", POOLS["max"]), ("bfloat16", None)):
        aval = jax.typeof(jnp.zeros(IMAGES.shape, dtype))
        options = {"window_dimensions": (1, 3, 3, 1), "window_strides": (1, 2, 2, 1)}
        answer = _pools._pool("max", [aval], options | {"padding": ((0, 0),) * 4})
        assert getattr(answer, "description", None) == runs
        assert getattr(answer, "reason", None) == (None if runs else _pools._ON_TPUS.reason)
