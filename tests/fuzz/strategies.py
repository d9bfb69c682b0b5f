"""What the properties of this folder draw, and how close a result must be to its definition."""

import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes  # noqa: F401 (NumPy then knows the names of small dtypes)
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from jaxconv import reference

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
SMALL_INTEGERS = [name for name in ("int2", "uint2", "int4", "uint4") if hasattr(jnp, name)]
FLOATS = ["float64", "float32", "bfloat16", "float16"]
# float8_e8m0fnu holds powers of two only; `tests/ops/test_dtypes.py` has it.
SMALL_FLOATS = [
    name for name in dir(jnp) if name.startswith(("float8", "float4")) and name != "float8_e8m0fnu"
]
COMPLEX = ["complex64", "complex128"]


def dtypes(*families):
    """Names of dtypes, the first of each family more often."""
    return st.one_of(*map(st.sampled_from, families))


ANY = dtypes(FLOATS, FLOATS, SMALL_FLOATS, COMPLEX, INTEGERS, SMALL_INTEGERS)
REAL = dtypes(FLOATS, FLOATS, SMALL_FLOATS, INTEGERS, SMALL_INTEGERS)


def info(dtype):
    dtype = np.dtype(dtype)
    return jnp.iinfo(dtype) if jnp.issubdtype(dtype, jnp.integer) else jnp.finfo(dtype)


def is_integer(dtype):
    return jnp.issubdtype(np.dtype(dtype), jnp.integer)


def is_complex(dtype):
    return jnp.issubdtype(np.dtype(dtype), jnp.complexfloating)


def exact(a):
    """An array as NumPy's widest: every value is kept."""
    a = np.asarray(a)
    return a.astype("complex128" if is_complex(a.dtype) else "float64")


# Arrays.

CONTENTS = ("normal", "normal", "whole", "zeros", "one", "huge", "tiny")


@dataclass(frozen=True)
class Values:
    """How to fill arrays: one kind of content, from a seed."""

    seed: int
    content: str = "normal"
    specials: bool = False

    def array(self, shape, dtype, *, which=0):
        """An array of NumPy; `which` makes the arrays of one call differ."""
        rng = np.random.default_rng((self.seed, which))
        dtype = np.dtype(dtype)
        normal = rng.normal(size=shape)
        if is_complex(dtype):
            normal = normal + 1j * rng.normal(size=shape)
        if is_integer(dtype):
            bounds = info(dtype)
            low, high = max(int(bounds.min), -9), min(int(bounds.max), 9)
            if self.content == "huge" and bounds.bits <= 16:  # float64 holds their products
                low, high = int(bounds.min), int(bounds.max)
            return rng.integers(low, high + 1, shape).astype(dtype)
        small = info(dtype).bits < 16
        if self.content == "whole" or small:
            normal = np.round(normal * 2) / 2
        elif self.content == "zeros":
            normal = normal * (rng.random(size=shape) < 0.3)
        elif self.content == "one":
            normal = np.ones_like(normal)
        elif self.content == "huge":
            normal = normal * float(info(dtype).max) ** 0.3
        elif self.content == "tiny":
            normal = normal * float(info(dtype).smallest_normal) ** 0.3
        if small:
            normal = np.clip(normal, -1.5, 1.5)
        if self.specials and normal.size:
            flat = normal.reshape(-1)
            count = 1 + int(rng.integers(min(3, flat.size)))
            places = rng.choice(flat.size, count, replace=False)
            flat[places] = rng.choice([np.nan, np.inf, -np.inf], count)
        return normal.astype(dtype)


def values(specials=False):
    return st.builds(Values, st.integers(0, 999), st.sampled_from(CONTENTS), st.just(specials))


def forms_of(array):
    """Ways to pass one array: as JAX's, NumPy's, not contiguous, or committed to a device."""
    padded = np.zeros((*array.shape[:-1], 2 * array.shape[-1]) if array.ndim else (), array.dtype)
    if array.ndim:
        padded[..., ::2] = array
        padded = padded[..., ::2]
    return {
        "numpy": array,
        "jax": jnp.asarray(array),
        "strided": padded if array.ndim else array,
        "fortran": np.asfortranarray(array),
        "committed": jax.device_put(array, jax.devices()[0]),
    }


FORMS = ("numpy", "jax", "strided", "fortran", "committed")


# Geometries.


@dataclass(frozen=True)
class Convolution:
    """A convolution: shapes, channels last, and options as a user writes them."""

    x_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def axes(self):
        """The integers (n, w, s, lo, hi, e, d) of each spatial axis."""
        o = self.options
        return reference._convolution.spatial_axes(
            self.x_shape[1:-1],
            self.kernel_shape[:-2],
            o.get("strides", 1),
            causal(o.get("padding", "VALID"), self.kernel_shape[:-2], o.get("kernel_dilation", 1)),
            o.get("input_dilation", 1),
            o.get("kernel_dilation", 1),
        )

    @property
    def is_valid(self):
        """Whether windows fit, and there is something to pad with."""
        for n, w, _, lo, hi, e, d in self.axes():
            size, reach = (e * (n - 1) + 1 if n else 0), d * (w - 1) + 1
            if size + lo + hi < 0 or (n and size + lo + hi < reach):
                return False
            if self.options.get("padding_mode", "zeros") != "zeros" and (
                e > 1 or (not n and max(lo, hi) > 0)
            ):
                return False
        return True

    @property
    def for_reference(self):
        """The options as the definitions take them."""
        o = dict(self.options)
        if o.get("padding") == "CAUSAL":
            o["padding"] = causal("CAUSAL", self.kernel_shape[:-2], o.get("kernel_dilation", 1))
        return {
            name: option
            for name, option in o.items()
            if name not in ("precision", "impl", "preferred_element_type")
        }

    @property
    def y_shape(self):
        sizes = reference._convolution.output_size(self.axes())
        return (self.x_shape[0], *sizes, self.kernel_shape[-1])

    @property
    def terms(self):
        """The number of terms of an element of y, x_bar and k_bar."""
        *window, c, o = self.kernel_shape
        taps, groups = math.prod(window), self.options.get("feature_group_count", 1)
        positions = self.x_shape[0] * math.prod(self.y_shape[1:-1])
        copies = math.prod(
            1 + sum(max(side, 0) for side in (lo, hi)) for *_, lo, hi, _, _ in self.axes()
        )
        if self.options.get("padding_mode", "zeros") == "zeros":
            copies = 1
        return taps * c, taps * (o // groups) * copies, positions


def causal(padding, window, dilation):
    """The name that the definitions don't know, as explicit padding."""
    if padding != "CAUSAL":
        return padding
    dilations = reference._convolution.per_axis(dilation, len(window))
    return tuple((d * (w - 1), 0) for w, d in zip(window, dilations, strict=True))


def one_or_each(values, rank):
    """An option: one value for all axes or one for each."""
    each = st.tuples(*[values] * rank)
    return st.one_of(values, each, each.map(list)) if rank else st.just(())


SIZES = st.one_of(st.integers(1, 7), st.sampled_from([0, 1, 11, 16, 17]))


@st.composite
def convolutions(draw, *, modes=True, limit=3000):
    """Convolutions of up to three axes whose definition takes at most `limit` products of taps."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3, 0]))
    window = [draw(st.sampled_from([1, 2, 3, 3, 4, 5])) for _ in range(rank)]
    d = [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in range(rank)]
    e = [draw(st.sampled_from([1, 1, 1, 1, 2, 3])) for _ in range(rank)]
    s = [draw(st.sampled_from([1, 1, 2, 3, 5])) for _ in range(rank)]
    if draw(st.booleans()):  # as in most networks
        d, e, s = d[:1] * rank, [1] * rank, s[:1] * rank
    size = [draw(SIZES) for _ in range(rank)]
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 4]))
    c = groups * draw(st.sampled_from([1, 1, 2, 3, 5, 8]))
    o = groups * draw(st.sampled_from([1, 1, 2, 3, 4, 8]))
    if draw(st.integers(0, 30)) == 0:
        c = 0
    n = draw(st.sampled_from([1, 1, 2, 3, 0, 5]))
    side = st.sampled_from([0, 0, 1, 2, 3, -1, -2])
    padding = draw(
        st.one_of(
            st.sampled_from(["VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL"]),
            st.tuples(*[st.tuples(side, side)] * rank),
            st.integers(0, 3),
        )
    )
    mode = draw(st.sampled_from(["zeros"] * 4 + ["circular", "reflect", "replicate"]))
    mode = mode if modes else "zeros"
    if mode != "zeros":
        e = [1] * rank
    options = {
        "strides": tuple(s),
        "padding": padding,
        "input_dilation": tuple(e),
        "kernel_dilation": tuple(d),
        "feature_group_count": groups,
        "flip_kernel": draw(st.booleans()),
        "padding_mode": mode,
    }
    case = Convolution((n, *size, c), (*window, c // groups, o), options)
    while math.prod(case.y_shape[1:-1]) * math.prod(window) > limit:
        assume(max(size) > 0)  # or the padding alone is too large
        size[np.argmax(size)] //= 2
        case = Convolution((n, *size, c), case.kernel_shape, options)
    return case


@st.composite
def boundaries(draw):
    """Convolutions whose padding is taken from the map, and often wider than the map."""
    case = draw(convolutions(modes=False, limit=1500))
    sides = st.sampled_from([0, 1, 1, 2, 3, 8, 13, -1])  # a wide side beside a narrow one, too
    n, *size, c = case.x_shape
    size = [draw(st.sampled_from([1, 2, 3, 3, 4, 6])) for _ in size]
    padding = tuple((draw(sides), draw(sides)) for _ in size)
    mode = draw(st.sampled_from(["circular", "reflect", "replicate"]))
    ones = (1,) * len(size)
    options = {"padding": padding, "padding_mode": mode, "input_dilation": ones}
    return Convolution((n, *size, c), case.kernel_shape, case.options | options)


@st.composite
def windows(draw, x_shape, *, ceil=True):
    """Options of a pool on a map of this shape, as arguments by name."""
    rank = len(x_shape) - 2
    window = [draw(st.integers(1, min(max(size, 1) + 1, 5))) for size in x_shape[1:-1]]
    sizes = st.sampled_from([1, 1, 2, 3])
    options = {
        "window_shape": window[0] if len(set(window)) == 1 else tuple(window),
        "strides": draw(st.one_of(st.none(), one_or_each(sizes, rank))),
        "padding": draw(
            st.one_of(
                st.sampled_from(["VALID", "SAME", "SAME_LOWER", "FULL"]),
                st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * rank),
                st.integers(0, 2),
            )
        ),
        "window_dilation": draw(st.one_of(st.just(1), one_or_each(sizes, rank))),
    }
    if ceil:
        options["ceil_mode"] = draw(st.booleans())
    return options


@st.composite
def maps(draw, *, empty=True, most=400):
    """Shapes of feature maps `(n, *spatial, c)`."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3]))
    low = 0 if empty else 1
    size = [draw(st.one_of(st.integers(1, 7), st.sampled_from([low, 11, 16]))) for _ in range(rank)]
    while math.prod(size) > most:
        size[int(np.argmax(size))] //= 2
    return (draw(st.sampled_from([1, 2, 3, low])), *size, draw(st.sampled_from([1, 2, 3, 8, low])))


# Comparisons.


def assert_close(actual, expected, magnitude, terms, dtype, *, wide=None, what=""):
    """A result in `dtype` equals an exact one up to the rounding that is promised.

    Sums have `terms` terms, are kept in `wide`, and are rounded once to `dtype`. `magnitude` is the
    sum of the terms' magnitudes. Integers wrap around.
    """
    actual, dtype = np.asarray(actual), np.dtype(dtype)
    expected = np.asarray(expected)
    assert actual.dtype == dtype, (what, actual.dtype, dtype)
    assert actual.shape == expected.shape, (what, actual.shape, expected.shape)
    if is_integer(dtype):
        bits = info(dtype).bits
        got = actual.astype(np.int64 if dtype != np.uint64 else np.uint64).astype(object)
        want = np.vectorize(int, otypes=[object])(expected.real)
        if actual.size:
            assert (((got - want) % 2**bits) == 0).all(), (what, got, want)
        return
    wide = np.dtype(wide or accumulator(dtype))
    of_sum, of_result = jnp.finfo(wide), jnp.finfo(dtype)
    factor = 4 if is_complex(dtype) else 1
    factor += wide in (np.float64, np.complex128)  # the definition rounds, too
    magnitude = np.broadcast_to(magnitude, expected.shape).astype(float)
    with np.errstate(all="ignore"):
        bound = factor * max(terms, 1) * float(of_sum.eps) * magnitude
        bound += float(of_result.eps) * np.abs(expected) * (dtype != wide)
        # What is below the smallest normal number may be flushed to zero.
        bound += 2 * float(of_result.smallest_normal)
        bound += terms * float(of_sum.smallest_normal) * (1 + magnitude)
        fits = magnitude < min(float(of_sum.max), float(of_result.max)) / 4
        error = np.abs(exact(actual) - expected)
    wrong = fits & ~(error <= bound)
    if wrong.any():
        where = tuple(int(i[0]) for i in np.nonzero(wrong))
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} elements are beyond rounding, first {where}: "
            f"{actual[where]} against {expected[where]}, bound {bound[where]:.2e}"
        )


def accumulator(dtype):
    """The dtype in which sums are kept, for results in `dtype`."""
    dtype = np.dtype(dtype)
    if is_integer(dtype) or info(dtype).bits > 16:
        return dtype
    return np.dtype("float32")


def eps_of(dtype):
    """The distance from 1 to the next number; 0 for integers."""
    return 0.0 if is_integer(dtype) else float(jnp.finfo(dtype).eps)


LAYOUTS = {
    0: ["NC", "CN"],
    1: ["NC0", "N0C", "0NC"],
    2: ["NC01", "N01C", "01NC", "C10N"],
    3: ["NC012", "N012C", "2N10C"],
}
KERNELS = {
    0: ["OI", "IO"],
    1: ["OI0", "0IO", "I0O"],
    2: ["OI01", "01IO", "IO10"],
    3: ["OI012", "012IO", "1O2I0"],
}


@st.composite
def lax_calls(draw):
    """Arguments of `conv_general_dilated`, mostly right, in any layout."""
    rank = draw(st.sampled_from([1, 2, 2, 2, 3, 0]))
    small = st.integers(1, 6)
    sizes = [draw(st.one_of(small, st.sampled_from([0, 9, 13]))) for _ in range(rank)]
    window = [draw(st.sampled_from([1, 2, 3, 3, 4, 0])) for _ in range(rank)]
    groups, batches = draw(st.sampled_from([(1, 1)] * 3 + [(2, 1), (3, 1), (1, 2), (1, 3), (2, 2)]))
    c, o = draw(st.sampled_from([1, 2, 3, 4])), draw(st.sampled_from([1, 2, 3]))
    n = draw(st.sampled_from([1, 2, 3, 0]))
    x_layout, y_layout = (draw(st.sampled_from(LAYOUTS[rank])) for _ in range(2))
    k_layout = draw(st.sampled_from(KERNELS[rank]))
    digits = "".join(map(str, range(rank)))
    x_size = dict(zip(f"NC{digits}", (n * batches, c * groups, *sizes), strict=True))
    k_size = dict(zip(f"OI{digits}", (o * groups * batches, c, *window), strict=True))
    side = st.sampled_from([0, 0, 1, 2, -1, -2, 5])
    pairs = st.tuples(*[st.tuples(side, side)] * rank)
    factors = st.tuples(*[st.sampled_from([1, 1, 2, 3])] * rank)
    arguments = {
        "window_strides": draw(factors),
        "padding": draw(st.one_of(st.sampled_from(["SAME", "VALID", "SAME_LOWER"]), pairs)),
        "lhs_dilation": draw(st.one_of(st.none(), factors)),
        "rhs_dilation": draw(st.one_of(st.none(), factors)),
        "dimension_numbers": (x_layout, k_layout, y_layout),
        "feature_group_count": groups,
        "batch_group_count": batches,
    }
    x_shape, k_shape = [x_size[d] for d in x_layout], [k_size[d] for d in k_layout]
    if draw(st.integers(0, 9)) == 0:  # a wrong size or option
        name = draw(st.sampled_from(["x", "kernel", "window_strides", "groups", "rank"]))
        if name in ("x", "kernel"):
            shape = x_shape if name == "x" else k_shape
            shape[draw(st.integers(0, rank + 1))] += draw(st.sampled_from([1, 2]))
        elif name == "rank":
            x_shape.append(1)
        elif name == "groups":
            arguments["feature_group_count"] = draw(st.sampled_from([0, -1, 7]))
        else:
            arguments["window_strides"] = draw(st.sampled_from([(0,) * rank, (1,) * (rank + 1)]))
    return tuple(x_shape), tuple(k_shape), arguments
