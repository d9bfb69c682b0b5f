"""The ten examples of the how-to: their length, their second order, and planted mistakes.

Each test runs the cells that it needs. The default run has the mistakes and the second order of
three examples each; the exhaustive run has those of all, and the whole notebook.

Covers jaxconv/forms/.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.notebook_cells import read
from tests.verify.rules import some

CELLS = [
    cell.source for cell in read("how_to_write_an_operation").cells if cell.cell_type == "code"
]
IMPORTS, *EXAMPLES, LAST = CELLS

pytestmark = pytest.mark.usefixtures("float64")


def names_of(*cells):
    """The names that some cells define after the imports."""
    names = {}
    for cell in (IMPORTS, *cells):
        exec(cell, names)
    return names


def example(text):
    """The cell that contains a text."""
    (cell,) = [cell for cell in EXAMPLES if text in cell]
    return cell


def test_there_are_ten_and_each_is_short():
    lines = [len([line for line in cell.splitlines() if line.strip()]) for cell in EXAMPLES]
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


@pytest.mark.parametrize("number", some(range(10), (0, 3, 6)))
def test_a_wrong_transpose_is_named(number):
    right, wrong, slip = MISTAKES[number]
    assert EXAMPLES[number].count(right) == 1
    with pytest.raises((ValueError, AssertionError), match="wrong") as caught:
        names_of(EXAMPLES[number].replace(right, wrong))
    diagnoses = re.findall(r"mode: (.*)", str(caught.value))
    assert re.search(slip, "; ".join(diagnoses)), diagnoses


ROW, COL = np.array([0, 0, 2, 1, 2]), np.array([1, 3, 0, 2, 3])
GRID = np.array([[0, 1], [4, 5], [2, 3], [1, 2]])

# The operation of each example: the shapes of the operands to differentiate, the other operands,
# and the parameters.
CASES = {
    "fft_conv": (((7,), (7,)), (), {}),
    "radon": (((4, 4),), (), {"angles": (0.0, 0.7)}),
    "sparse_product": (((5,), (4,)), (ROW, COL), {"shape": (3, 4)}),
    "windows": (((8,),), (), {"size": 3}),
    "differences": (((4, 5),), (), {}),
    "analyse": (((8,),), (), {}),
    "scores": (((2, 3), (3, 4), (5, 4)), (), {}),
    "weigh": (((4, 2), (6,)), (GRID,), {}),
    "cumulative_product": (((5,),), (), {}),
    "top_k_pool": (((3, 6),), (), {"k": 2, "size": 6}),
}


# One of a linear pair, one of a form of three operands, and one that is not linear.
@pytest.mark.parametrize("name", some(CASES, ("fft_conv", "scores", "cumulative_product")))
def test_second_order_by_both_compositions(name, normal):
    shapes, rest, params = CASES[name]
    operation = names_of(EXAMPLES[list(CASES).index(name)])[name]
    xs, every = tuple(map(normal, shapes)), tuple(range(len(shapes)))

    def ours(*xs):
        return operation(*xs, *rest, **params)

    def definition(*xs):
        if name == "cumulative_product":
            return jnp.cumprod(*xs)
        return operation.definition(*xs, *rest, **params)

    def both(f):
        def total(*xs):
            return sum(jnp.sum(jnp.sin(y)) for y in jax.tree.leaves(f(*xs)))

        return (
            jax.jvp(jax.grad(total, every), xs, xs),
            jax.grad(lambda *xs: jax.jvp(total, xs, xs)[1], every)(*xs),
        )

    actual, expected = jax.jit(lambda: (both(ours), both(definition)))()
    for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_all_of_jax_follows(capsys):
    names_of(example("def total_variation"), LAST)
    assert capsys.readouterr().out == "(2, 5, 5)\n"


def test_samples_have_a_gradient_in_their_points():
    names = names_of(example("def sample"))
    x, points = names["normal"](6), jnp.array([0.25, 3.5, 4.75])
    expected = x[jnp.array([1, 4, 5])] - x[jnp.array([0, 3, 4])]
    found = jax.grad(lambda p: names["sample"](x, p).sum())(points)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert names["sample"](x, points)[1] == (x[3] + x[4]) / 2


def test_the_cumulative_product_is_right_at_zeros():
    names = names_of(example("def cumulative_product"))
    x = jnp.array([2.0, 0.0, 3.0, 0.0, 5.0])
    gradient = jax.grad(lambda x: names["cumulative_product"](x).sum())(x)
    np.testing.assert_array_equal(gradient, [1, 8, 0, 0, 0])
