"""The ten examples of the how-to: their length, their second order, and planted mistakes.

Covers jaxconv/forms/.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.notebook_cells import read, run

NAME = "how_to_write_an_operation"
CELLS = [cell for cell in read(NAME).cells if cell.cell_type == "code"]
EXAMPLES = CELLS[1:-1]

pytestmark = pytest.mark.usefixtures("float64")


@pytest.fixture(scope="module")
def names():
    with jax.enable_x64(True):
        return run(read(NAME), NAME)[0]


def test_there_are_ten_and_each_is_short():
    lines = [len([line for line in cell.source.splitlines() if line.strip()]) for cell in EXAMPLES]
    assert len(lines) == 10
    assert max(lines) < 30


# For each example: text of its cell, what is put in its place, and what the check says then.
MISTAKES = [
    ("jnp.conj(jnp.fft.rfft(a))", "jnp.fft.rfft(a)", "Jacobian not transposed"),
    ("((1 - w) * y[each, low] + w * y[each, low + 1]).sum(0)",
     "((1 - w) * y[each, low] + w * y[each, low + 1]).mean(0)", "factor of 0.333"),
    ("return jnp.zeros(shape[1], v.dtype).at[col].add(v * y[row])",
     "return -jnp.zeros(shape[1], v.dtype).at[col].add(v * y[row])", "wrong sign"),
    ("(r, size - 1 - r)", "(size - 1 - r, r)", "reversed|flipped|rotated"),
    ("return x_bar + jnp.pad(right, ((0, 0), (1, 0))) - jnp.pad(right, ((0, 0), (0, 1)))",
     "return jnp.pad(right, ((0, 0), (0, 1))) - jnp.pad(right, ((0, 0), (1, 0))) - x_bar", "sign"),
    ("jnp.roll(spread, r)", "jnp.roll(spread, r) / 2", "factor of 0.5"),
    ('return jnp.einsum(f"{inputs}->{SLOTS[empty]}", *operands)',
     'return jnp.einsum(f"{inputs}->{SLOTS[empty]}", *operands) * (1 + (empty == "w"))',
     "factor of 2"),
    ("return x[i] * y[:, None]", "return x[i][:, ::-1] * y[:, None]", "reversed|flipped"),
    ("return from_the_front(b[::-1], after[::-1])[::-1]",
     "return -from_the_front(b[::-1], after[::-1])[::-1]", "wrong sign"),
    ("return jnp.put_along_axis(x, m, y, axis=-1, inplace=False)",
     "return jnp.put_along_axis(x, m, y / k, axis=-1, inplace=False)", "factor of 0.5"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(10))
def test_a_wrong_transpose_is_named(number, names):
    right, wrong, slip = MISTAKES[number]
    source = EXAMPLES[number].source
    assert source.count(right) == 1
    with pytest.raises((ValueError, AssertionError), match="wrong") as caught:
        exec(source.replace(right, wrong), dict(names))
    diagnoses = re.findall(r"mode: (.*)", str(caught.value))
    assert re.search(slip, "; ".join(diagnoses)), diagnoses


def plain(name, names):
    """The map of an operation of the how-to."""
    return names[name].definition


def cases(names):
    """For each example: the operation, its definition, and the operands to differentiate."""
    normal = names["normal"]
    row, col = names["row"], names["col"]
    grid = jnp.array([[0, 1], [4, 5], [2, 3], [1, 2]])
    angles = {"angles": (0.0, 0.7)}
    sizes = {"k": 2, "size": 6}
    found = {}

    def add(name, operands, rest=(), **params):
        operation = names[name]
        found[name] = (
            lambda *xs: operation(*xs, *rest, **params),
            lambda *xs: operation.definition(*xs, *rest, **params),
            operands,
        )

    add("fft_conv", (normal(7), normal(7)))
    add("radon", (normal(4, 4),), **angles)
    add("sparse_product", (normal(5), normal(4)), (row, col), shape=(3, 4))
    add("windows", (normal(8),), size=3)
    add("differences", (normal(4, 5),))
    add("analyse", (normal(8),))
    add("scores", (normal(2, 3), normal(3, 4), normal(5, 4)))
    add("weigh", (normal(4, 2), normal(6)), (grid,))
    add("top_k_pool", (normal(3, 6),), **sizes)
    found["cumulative_product"] = names["cumulative_product"], jnp.cumprod, (normal(5),)
    return found


CASES = (
    *("fft_conv", "radon", "sparse_product", "windows", "differences", "analyse", "scores"),
    *("weigh", "top_k_pool", "cumulative_product"),
)


@pytest.mark.parametrize("name", CASES)
def test_second_order_by_both_compositions(name, names):
    ours, definition, xs = cases(names)[name]
    every = tuple(range(len(xs)))

    def both(f):
        def total(*xs):
            return sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(f(*xs)))

        return (
            jax.jvp(jax.grad(total, every), xs, xs),
            jax.grad(lambda *xs: jax.jvp(total, xs, xs)[1], every)(*xs),
        )

    for a, b in zip(*map(jax.tree.leaves, (both(ours), both(definition))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_samples_have_a_gradient_in_their_points(names):
    x, points = names["normal"](6), jnp.array([0.25, 3.5, 4.75])
    expected = x[jnp.array([1, 4, 5])] - x[jnp.array([0, 3, 4])]
    found = jax.grad(lambda p: names["sample"](x, p).sum())(points)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert names["sample"](x, points)[1] == (x[3] + x[4]) / 2


def test_the_cumulative_product_is_right_at_zeros(names):
    x = jnp.array([2.0, 0.0, 3.0, 0.0, 5.0])
    gradient = jax.grad(lambda x: names["cumulative_product"](x).sum())(x)
    np.testing.assert_array_equal(gradient, [1, 8, 0, 0, 0])
