"""Generated convolutions against lax, and torch where it is installed: forward and both gradients.

`JAXCONV_GENERATED=2000 pytest -s tests/ops/test_generated.py` runs as many cases as it says; the
suite runs fewer, since each is a program to compile. The cases are the same in every run.
"""

import math
import os
from functools import partial
from string import ascii_lowercase

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from jax import lax

from jaxconv import conv_general_dilated, conv_transpose
from tests.oracles import three_corners, with_magnitudes

pytestmark = pytest.mark.usefixtures("float64")

SEED = 20260101
COUNT = int(os.environ.get("JAXCONV_GENERATED", "30"))

generated = settings(
    max_examples=COUNT,
    deadline=None,
    database=None,
    derandomize=False,  # but for the seed below
    suppress_health_check=list(HealthCheck),
)


@st.composite
def calls(draw):
    """Shapes and arguments of a call that lax accepts, in any layout."""
    rank = draw(st.sampled_from([0, 1, 1, 2, 2, 2, 3, 4]))
    most = {0: 1, 1: 9, 2: 6, 3: 4, 4: 3}[rank]
    each = partial(st.lists, min_size=rank, max_size=rank)
    size = draw(each(st.integers(1, most)))
    window = draw(each(st.integers(1, min(most, 4))))
    e, d = (draw(each(st.sampled_from([1, 1, 1, 2, 3]))) for _ in "ed")
    strides = draw(each(st.sampled_from([1, 1, 2, 3])))
    named = st.sampled_from(["SAME", "SAME_LOWER", "VALID"])
    padding = draw(named) if set(e) <= {1} and draw(st.booleans()) else None
    if padding is None:
        padding = draw(each(st.tuples(st.integers(-2, 4), st.integers(-2, 4))))
        padding = [  # lax refuses to crop more than there is
            (lo, max(hi, -((i - 1) * a + 1) - lo))
            for (lo, hi), i, a in zip(padding, size, e, strict=True)
        ]
    groups, batches = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (3, 1), (1, 2)]))
    n, c, o = (draw(st.integers(1, 3)) for _ in "nco")
    kernel = [o * groups * batches, c, *window]
    x = [n * batches, c * groups, *size]
    layouts = [draw(st.permutations(range(rank + 2))) for _ in "xky"]
    letters = ascii_lowercase[:rank]
    names = ("NC" + letters, "OI" + letters, "NC" + letters)
    numbers = tuple("".join(s[i] for i in p) for s, p in zip(names, layouts, strict=True))
    # lax pairs options with spatial axes in the order of the kernel's layout.
    order = [letters.index(a) for a in numbers[1] if a in letters]
    strides, e, d = ([option[a] for a in order] for option in (strides, e, d))
    padding = padding if isinstance(padding, str) else [padding[a] for a in order]
    return (
        [x[i] for i in layouts[0]],
        [kernel[i] for i in layouts[1]],
        (strides, padding, e, d, numbers, groups, batches),
        (math.prod(window) * c, math.prod(window) * o),
    )


class Worst:
    """The largest error of all cases, in units of what rounding allows."""

    def __init__(self):
        self.cases, self.error = 0, 0.0

    def add(self, actual, expected, magnitude, terms):
        """`terms` are those of an element of y and of x_bar; k_bar's are at most y's elements."""
        terms = (*terms, actual[0].size)
        for name, *results, count in zip(
            ("y", "x_bar", "k_bar"), actual, expected, magnitude, terms, strict=True
        ):
            a, e, m = map(np.asarray, results)
            assert (a.shape, a.dtype) == (e.shape, e.dtype), name
            bound = 2 * max(count, 1) * np.finfo(a.dtype).eps * m
            assert (np.abs(a - e) <= bound).all(), (name, np.abs(a - e).max(), bound.max())
            units = np.abs(a - e)[bound > 0] / bound[bound > 0]
            self.error = max(self.error, float(units.max(initial=0)))
        self.cases += 1

    def report(self, peer):
        print(
            f"\nseed {SEED}: {self.cases} generated calls against {peer}, the largest error "
            f"{self.error:.3f} of what rounding allows"
        )
        assert self.cases >= COUNT


def test_convolutions_equal_lax():
    worst, rng = Worst(), np.random.default_rng(SEED)

    @seed(SEED)
    @generated
    @given(calls())
    def compare(call):
        x_shape, k_shape, args, terms = call
        x, kernel = (jnp.asarray(rng.normal(size=shape)) for shape in (x_shape, k_shape))

        def theirs(x, k):
            return lax.conv_general_dilated(x, k, *args)

        def ours(x, k):
            return conv_general_dilated(x, k, *args)

        y_bar = jnp.asarray(rng.normal(size=jax.eval_shape(theirs, x, kernel).shape))

        actual = jax.jit(partial(three_corners, ours))(x, kernel, y_bar)
        expected = with_magnitudes(partial(three_corners, theirs), x, kernel, y_bar)
        worst.add(actual, *expected, terms)

    compare()
    worst.report("lax")


@st.composite
def transposed_calls(draw):
    """What torch's transposed convolutions take, for one to three spatial axes."""
    rank = draw(st.integers(1, 3))
    each = partial(st.lists, min_size=rank, max_size=rank)
    size, window = draw(each(st.integers(1, 4))), draw(each(st.integers(1, 4)))
    strides, d = draw(each(st.integers(1, 3))), draw(each(st.integers(1, 2)))
    groups = draw(st.integers(1, 3))
    n, c, o = (draw(st.integers(1, 2)) for _ in "nco")
    # What is cropped must leave something.
    longest = [
        (i - 1) * s + a * (r - 1) for i, s, a, r in zip(size, strides, d, window, strict=True)
    ]
    padding = [draw(st.integers(0, max(0, whole // 2))) for whole in longest]
    extra = [draw(st.integers(0, max(s, a) - 1)) for s, a in zip(strides, d, strict=True)]
    return (n, *size, o * groups), (*window, c, o * groups), strides, padding, extra, d, groups


def test_transposed_convolutions_equal_torch():
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    worst, rng = Worst(), np.random.default_rng(SEED)

    def channels_first(a):
        axes = (0, a.ndim - 1, *range(1, a.ndim - 1))
        a = np.ascontiguousarray(np.asarray(a).transpose(axes))
        return torch.tensor(a, requires_grad=True)

    def kernel_first(k):
        axes = (k.ndim - 1, k.ndim - 2, *range(k.ndim - 2))
        # Contiguous: torch's gradient of a 1-channel kernel that is not raises an error.
        k = np.ascontiguousarray(np.asarray(k).transpose(axes))
        return torch.tensor(k, requires_grad=True)

    def channels_last(a):
        return a.detach().numpy().transpose(0, *range(2, a.ndim), 1)

    @seed(SEED)
    @generated
    @given(transposed_calls())
    def compare(call):
        x_shape, k_shape, strides, padding, extra, d, groups = call
        rank = len(strides)
        x, kernel = (jnp.asarray(rng.normal(size=shape)) for shape in (x_shape, k_shape))
        ours = partial(
            conv_transpose,
            strides=strides,
            padding=padding,
            output_padding=extra,
            kernel_dilation=d,
            feature_group_count=groups,
        )
        y_bar = jnp.asarray(rng.normal(size=jax.eval_shape(ours, x, kernel).shape))
        actual, magnitude = with_magnitudes(partial(three_corners, ours), x, kernel, y_bar)
        their_x, their_kernel = channels_first(x), kernel_first(kernel)
        function = getattr(torch.nn.functional, f"conv_transpose{rank}d")
        y = function(their_x, their_kernel, None, strides, padding, extra, groups, d)
        y.backward(channels_first(y_bar).detach())
        k_bar = their_kernel.grad.numpy().transpose(*range(2, rank + 2), 1, 0)
        expected = channels_last(y), channels_last(their_x.grad), k_bar
        *window, c, o = k_shape
        terms = math.prod(window) * o // groups, math.prod(window) * c
        worst.add(actual, expected, magnitude, terms)

    compare()
    worst.report("torch")
