"""Convolutions of lax, as `accelerate` reads them, against lax.

Covers jaxconv/_accelerate/_convolutions.py, jaxconv/ops/_readings.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxconv._accelerate import accelerate
from jaxconv._accelerate._replacement import Kept, replacement_of
from jaxconv._spec import Slot
from jaxconv.ops import _readings
from jaxconv.ops._readings import READINGS, Part
from tests.accelerate.primitives import met, said
from tests.oracles import assert_within_rounding, together

pytestmark = pytest.mark.usefixtures("float64")

LETTERS = "DHWT"
NHWC = ("NHWC", "HWIO", "NHWC")


@st.composite
def calls(draw):
    """Shapes and options of a convolution that lax accepts: any rank, spacing, groups, layout."""
    rank = draw(st.integers(0, 3))

    def each(low, high):
        return draw(st.tuples(*[st.integers(low, high)] * rank))

    i, r = each(1, 6), each(1, 3)
    w, e, d, lo = each(1, 3), each(1, 3), each(1, 2), each(-1, 3)
    p = each(1, 4)
    # The high padding that leaves p windows, and some room that no window uses.
    rest = [draw(st.integers(0, step - 1)) for step in w]
    hi = tuple(
        w[a] * (p[a] - 1) + d[a] * (r[a] - 1) + rest[a] - e[a] * (i[a] - 1) - lo[a]
        for a in range(rank)
    )
    feature, batch = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)]))
    n, c, o = draw(st.tuples(*[st.integers(1, 3)] * 3))
    axes = LETTERS[:rank]
    sizes = {"N": n * batch, "C": c * feature, "O": o * feature * batch, "I": c}
    layouts = tuple("".join(draw(st.permutations(name + axes))) for name in ("NC", "OI", "NC"))
    # lax pairs options with the spatial axes in the order of the kernel's layout.
    order = [axes.index(a) for a in layouts[1] if a in axes]
    lhs = [(sizes | dict(zip(axes, i, strict=True)))[a] for a in layouts[0]]
    rhs = [(sizes | dict(zip(axes, r, strict=True)))[a] for a in layouts[1]]
    options = {
        "window_strides": [w[a] for a in order],
        "padding": [(lo[a], hi[a]) for a in order],
        "lhs_dilation": [e[a] for a in order],
        "rhs_dilation": [d[a] for a in order],
        "dimension_numbers": layouts,
        "feature_group_count": feature,
        "batch_group_count": batch,
    }
    return tuple(lhs), tuple(rhs), options


def is_accepted(call):
    """Whether lax takes the call; it refuses to crop more than there is."""
    lhs, rhs, options = call
    try:
        jax.eval_shape(partial(lax.conv_general_dilated, **options), *map(shape, (lhs, rhs)))
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def shape(of, dtype=jnp.float64):
    return jax.ShapeDtypeStruct(of, dtype)


def bound(call, dtype=jnp.float64):
    lhs, rhs, options = call
    f = partial(lax.conv_general_dilated, **options)
    ((_, avals, params),) = met(f, shape(lhs, dtype), shape(rhs, dtype))
    return avals, params


# Drawn once: one compiled program of many calls takes a fraction of the time of many programs.
@settings(max_examples=1, deadline=None, derandomize=True, database=None)
@given(st.lists(calls().filter(is_accepted), min_size=8, max_size=8))
def test_every_reading_computes_the_convolution(many):
    rng = np.random.default_rng(0)
    programs = []
    for lhs, rhs, options in many:
        avals, params = bound((lhs, rhs, options))
        convolution = _readings.convolution_of(*avals, params)
        operands = rng.normal(size=lhs), rng.normal(size=rhs)
        programs.append((partial(lax.conv_general_dilated, **options), *operands))
        for parts in READINGS:
            reading = _readings._reading(convolution, parts)
            f = partial(_readings.run, "conv_general_dilated", convolution, reading)
            programs.append((f, *operands))
    results = iter(together(programs, magnitudes=True))
    for lhs, rhs, options in many:
        expected, magnitude = next(results)
        for parts in READINGS:
            actual, _ = next(results)
            terms = np.prod(lhs) + np.prod(rhs)
            assert_within_rounding(actual, expected, magnitude, terms, f"{parts} of {options}")


@pytest.mark.usefixtures("no_type_checker")  # for NumPy's arrays
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(calls().filter(is_accepted))
def test_the_plain_reading_moves_little_and_has_few_taps(call):
    """Which arrays a reading moves in memory, by NumPy; and the order among readings."""
    avals, params = bound(call)
    convolution = _readings.convolution_of(*avals, params)
    shapes = dict(zip(Part, convolution[:3], strict=True))
    groups, numbers = convolution.groups, convolution.dimension_numbers
    axes = dict(zip(Part, (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec), strict=True))
    spacings = dict(
        zip(
            Part,
            (convolution.lhs_dilation, convolution.rhs_dilation, convolution.window_strides),
            strict=True,
        )
    )
    total = sum(map(np.prod, shapes.values()))
    ranked = []
    for parts in READINGS:
        slots, moved = dict(zip(parts, Slot, strict=True)), 0
        for part in parts:
            before = np.arange(np.prod(shapes[part])).reshape(shapes[part])
            after = _readings._arranged(
                before,
                *_readings._names(convolution, part),
                *_readings._names_in_slot(convolution, part, slots),
                groups,
            )
            moved += before.size * np.any(after.ravel() != before.ravel())
        assert _readings._elements_moved(convolution, parts) == moved, parts
        x, k, y = parts
        taps = np.prod([shapes[k][a] for a in axes[k][2:]])
        order = np.ceil(10 * moved / total), taps, np.prod(spacings[x]), -np.prod(spacings[y])
        ranked.append((*order, len(ranked)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        assert _readings.read(convolution).parts == READINGS[min(ranked)[-1]]


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(calls().filter(is_accepted))
def test_the_padding_of_a_reading_ends_where_its_last_window_does(call):
    """Only the call as it is written may have room that no window sees, less than a stride."""
    avals, params = bound(call)
    convolution = _readings.convolution_of(*avals, params)
    for parts in READINGS:
        geometry = _readings._geometry(convolution, parts)
        for axis, (lo, hi) in zip(geometry.axes(), geometry.padding, strict=True):
            last = axis.s * (axis.p - 1) + axis.d * (axis.r - 1)
            room = axis.e * (axis.i - 1) + lo + hi - last
            assert 0 <= room < (axis.s if parts == READINGS[0] else 1), parts


def network_layer(x, kernel, strides=(1, 1), groups=1, numbers=NHWC):
    return lax.conv_general_dilated(
        x, kernel, strides, "SAME", dimension_numbers=numbers, feature_group_count=groups
    )


def gradients(f):
    """The kernel gradient and the input gradient of a bilinear function, without the function."""

    def of_kernel(x, kernel, y_bar):
        return jax.linear_transpose(partial(f, x), kernel)(y_bar)

    def of_input(x, kernel, y_bar):
        return jax.linear_transpose(lambda x: f(x, kernel), x)(y_bar)

    return of_kernel, of_input


LAYERS = {
    "dense": ((8, 16, 16, 8), (3, 3, 8, 16), {}),
    "strided": ((8, 16, 16, 8), (3, 3, 8, 16), {"strides": (2, 2)}),
    "depthwise": ((8, 16, 16, 8), (3, 3, 1, 8), {"groups": 8}),
    "groups": ((8, 16, 16, 8), (3, 3, 4, 16), {"groups": 2, "strides": (2, 2)}),
    "channels first": (
        (8, 8, 16, 16),
        (16, 8, 3, 3),
        {"strides": (2, 2), "numbers": ("NCHW", "OIHW", "NCHW")},
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_and_its_gradients_are_recognised(name):
    x, kernel, options = LAYERS[name]
    f = partial(network_layer, **options)
    x, kernel = shape(x, jnp.float32), shape(kernel, jnp.float32)
    y_bar = jax.eval_shape(f, x, kernel)
    of_kernel, of_input = gradients(f)
    assert said(f, x, kernel) == ["jaxconv.conv"]
    # On JAX 0.10 the kernel gradient of a layer with channels first is as fast as it is written.
    as_written = name == "channels first" and jax.__version_info__ < (0, 11)
    known = {"jaxconv.conv_kernel_vjp"} | ({"jaxconv.conv"} if as_written else set())
    assert set(said(of_kernel, x, kernel, y_bar)) <= known
    # With stride 1 an input gradient is a convolution of the same form.
    strided = {"jaxconv.conv_input_vjp"} | ({"jaxconv.conv"} if "strides" not in options else set())
    assert set(said(of_input, x, kernel, y_bar)) <= strided


@pytest.mark.parametrize("batched", [(0, 0, 0), (0, None, 0), (None, 0, 0)], ids=str)
def test_vmapped_gradients_are_recognised(batched):
    x, kernel, _ = LAYERS["strided"]
    f = partial(network_layer, strides=(2, 2))
    operands = [np.ones(a, np.float32) for a in (x, kernel)]
    operands.append(np.ones(jax.eval_shape(f, *operands).shape, np.float32))
    batches = [
        a if axis is None else np.stack([a] * 3) for a, axis in zip(operands, batched, strict=True)
    ]
    of_kernel, of_input = (jax.vmap(g, batched) for g in gradients(f))
    assert said(of_kernel, *batches) == ["jaxconv.conv_kernel_vjp"]
    assert said(of_input, *batches) == ["jaxconv.conv_input_vjp"]


def derivatives(f):
    """What lax makes of a convolution: tangents, cotangents, batches of both, second order."""

    def hessian_product(x, kernel, x_dot, k_dot):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(f(x, kernel)))

        return jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), (x_dot, k_dot))[1]

    def of_batch(x, kernel, x_dot, k_dot):
        def one(x, kernel):
            return jax.grad(lambda x, kernel: jnp.sum(f(x, kernel) ** 2), (0, 1))(x, kernel)

        return jax.vmap(one)(jnp.stack([x, x_dot]), jnp.stack([kernel, k_dot]))

    return hessian_product, of_batch


SOME = ("strided", "depthwise", "channels first")


@pytest.mark.parametrize(
    "names", [SOME, pytest.param([*LAYERS], marks=pytest.mark.exhaustive)], ids=["some", "all"]
)
def test_derivatives_of_lax_are_replaced(names):
    rng = np.random.default_rng(0)
    programs, read = [], set()
    for x, kernel, options in map(LAYERS.get, names):
        x = (2, *x[1:])
        operands = [rng.normal(size=a) for a in (x, kernel, x, kernel)]
        for f in derivatives(partial(network_layer, **options)):
            programs += [(f, *operands), (accelerate(f), *operands)]
            read |= set(said(f, *operands))
    results = iter(together(programs))
    for _ in range(len(programs) // 2):
        expected, actual = next(results), next(results)
        for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max() * b.size)
    assert read == {"jaxconv.conv", "jaxconv.conv_input_vjp", "jaxconv.conv_kernel_vjp"}


def test_gradients_of_gradients_exchange_the_operands():
    """A kernel gradient's gradient slides the small kernel over a large window of outputs."""
    x, kernel, y = (8, 16, 16, 8), (3, 3, 8, 16), (8, 16, 16, 16)
    of_kernel, of_input = gradients(network_layer)

    def in_lhs(x, y_bar, k_bar):
        return jax.linear_transpose(lambda x: of_kernel(x, jnp.zeros(kernel), y_bar), x)((k_bar,))

    ((_, avals, params),) = met(in_lhs, *map(shape, (x, y, kernel)))
    reading = _readings.read(_readings.convolution_of(*avals, params))
    assert reading.parts in {(Part.OUT, Part.LHS, Part.RHS), (Part.RHS, Part.LHS, Part.OUT)}


def test_a_small_kernel_to_move_does_not_change_the_reading():
    """lax's layout of a 1x1 kernel is that of an input gradient. The maps are moved anyway."""
    f = partial(network_layer, numbers=("NCHW", "OIHW", "NCHW"))
    assert said(f, shape((8, 32, 16, 16)), shape((64, 32, 1, 1))) == ["jaxconv.conv"]
    # Here the kernel is most of what would be moved.
    assert said(f, shape((1, 512, 2, 2)), shape((512, 512, 1, 1))) == ["jaxconv.conv_input_vjp"]


DTYPES = {
    "bfloat16": (jnp.bfloat16, None),
    "bfloat16 to float32": (jnp.bfloat16, jnp.float32),
    "int8 to int32": (jnp.int8, jnp.int32),
    "int32": (jnp.int32, None),
    "complex64": (jnp.complex64, None),
}


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_are_kept(name):
    dtype, preferred = DTYPES[name]
    rng = np.random.default_rng(0)
    operands = [jnp.asarray(rng.integers(-3, 4, a), dtype) for a in ((2, 6, 6, 2), (3, 3, 2, 4))]
    f = partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=NHWC,
        preferred_element_type=preferred,
    )
    assert said(f, *operands) == ["jaxconv.conv"]
    actual, expected = accelerate(f)(*operands), f(*operands)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)  # of small integers, exact in each dtype


def test_what_is_not_read_is_kept():
    of_booleans = bound(((2, 4, 4, 1), (3, 3, 1, 2), {**OPTIONS}), jnp.bool_)
    assert replacement_of(lax.conv_general_dilated_p, *of_booleans) == Kept(
        "its operands are booleans"
    )
    of_nothing = bound(((0, 4, 4, 1), (3, 3, 1, 2), {**OPTIONS}))
    assert replacement_of(lax.conv_general_dilated_p, *of_nothing) == Kept(
        "an axis has no elements"
    )
    no_window_fits = bound(((2, 2, 4, 1), (3, 3, 1, 2), {**OPTIONS, "padding": "VALID"}))
    assert replacement_of(lax.conv_general_dilated_p, *no_window_fits) == Kept(
        "an axis has no elements"
    )


OPTIONS = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC}


def test_precision_goes_to_the_operand_it_was_given_for():
    high, low = lax.Precision.HIGHEST, lax.Precision.DEFAULT
    options = {**OPTIONS, "precision": (high, low)}
    avals, params = bound(((8, 16, 16, 8), (3, 3, 8, 16), options))
    convolution = _readings.convolution_of(*avals, params)
    for parts in READINGS:
        reading = _readings._reading(convolution, parts)
        given = dict(zip(reading.operands, reading.spec.precision, strict=True))
        assert given == {Part.LHS: high, Part.RHS: low}


def test_a_much_cheaper_reading_is_taken_on_cpus_only(monkeypatch):
    """A product with a vector, as the transpose of an outer product."""
    avals, params = bound(((128, 20, 20, 128), (1, 1, 128, 1), {**OPTIONS}))
    convolution = _readings.convolution_of(*avals, params)
    assert _readings.read(convolution).parts == (Part.OUT, Part.RHS, Part.LHS)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert _readings.read(convolution).parts == (Part.LHS, Part.RHS, Part.OUT)


def test_accelerators_take_the_plain_reading(monkeypatch):
    x, kernel, options = LAYERS["strided"]
    f = partial(network_layer, **options)
    of_kernel, of_input = gradients(f)
    y_bar = jax.eval_shape(f, *map(shape, (x, kernel)))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    plain = []
    for g, *operands in (
        (f, shape(x), shape(kernel)),
        (of_kernel, shape(x), shape(kernel), y_bar),
        (of_input, shape(x), shape(kernel), y_bar),
    ):
        ((_, avals, params),) = met(g, *operands)
        plain.append(_readings.read(_readings.convolution_of(*avals, params)).parts)
    assert plain == list(READINGS[:3])


def test_on_tpus_only_what_kernels_run_is_read(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    for groups, reads in ((1, False), (128, True)):
        x = jax.ShapeDtypeStruct((2, 16, 16, 128), jnp.float32)
        kernel = jax.ShapeDtypeStruct((3, 3, 128 // groups, 128), jnp.float32)
        f = partial(network_layer, groups=groups)
        y_bar = jax.eval_shape(f, x, kernel)
        for g, *operands in ((f, x, kernel), *((g, x, kernel, y_bar) for g in gradients(f))):
            (answer,) = said(g, *operands)
            assert answer.startswith("jaxconv.") is reads
            assert ("as lax writes it" in answer) is not reads
