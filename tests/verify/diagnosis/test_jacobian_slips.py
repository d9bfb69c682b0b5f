"""Sums over the positions of a result, and what is left of them after a slip."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxconv.verify._problem import problem_of
from jaxconv.verify.diagnosis._array_slips import Layout
from jaxconv.verify.diagnosis._jacobian_slips import jacobian_slips

pytestmark = pytest.mark.usefixtures("float64", "no_type_checker")


def slips(f, array, jacobian, w, order=None):
    """The names and arrays of the slips of a linear function."""
    problem = problem_of(f, (array,), None)
    layout = Layout(False, order)
    layouts = SimpleNamespace(of=lambda leaf: layout, of_result=lambda output: layout)
    program = SimpleNamespace(jacobian=jacobian, w=w)
    return list(jacobian_slips(program, problem.leaves[0], problem, layouts))


def assert_has(found, name, array):
    names = {slip for slip, _, other in found if np.allclose(other, np.ravel(array), rtol=1e-12)}
    assert name in names, names


def test_square_jacobians(normal):
    matrix, w = np.asarray(normal((4, 4))), np.asarray(normal((4,)))
    found = slips(lambda x: matrix @ x, np.ones(4), matrix, w)
    assert_has(found, "only the diagonal of the Jacobian", np.diag(matrix) * w)
    missing = (matrix - np.diag(np.diag(matrix))).T @ w
    assert_has(found, "the diagonal of the Jacobian is missing", missing)
    assert_has(found, "Jacobian not transposed", matrix @ w)
    assert_has(found, "derivative applied twice", matrix.T @ (matrix.T @ w))


# The axes of a map: in the usual order, and with the channels before the positions.
@pytest.mark.parametrize("order", [None, (0, 2, 3, 1)])
@pytest.mark.parametrize(("stride", "low"), [(1, 0), (2, 1)])
def test_windows_that_overlap(order, stride, low, normal):
    """y[n, p, q, c] = Σ_ab k[a, b] x[n, s p + a - low, s q + b - low, c]."""
    (n, i, j, c), window = (2, 5, 4, 2), (3, 2)
    k, shape = (
        np.asarray(normal(window)),
        (2, (5 + low - 3) // stride + 1, (4 + low - 2) // stride + 1, 2),
    )
    share = np.zeros((*shape, n, i, j, c))
    for m, p, q, ch in np.ndindex(shape):
        for a, b in np.ndindex(window):
            at = stride * p + a - low, stride * q + b - low
            if min(at) >= 0:
                share[m, p, q, ch, m, *at, ch] = k[a, b]
    w = np.asarray(normal(shape))
    shares = share * w[..., None, None, None, None]
    by_position = shares.sum((0, 3)).reshape(-1, n, i, j, c)
    there = by_position != 0
    place = np.arange(len(there)).reshape(-1, 1, 1, 1, 1)
    last = (
        shares.sum((0, 3)).reshape(by_position.shape) * (place == np.where(there, place, -1).max(0))
    ).sum(0)
    first = (by_position * (place == np.where(there, place, 99).min(0))).sum(0)
    mean = by_position.sum(0) / np.maximum(there.sum(0), 1)

    own = (lambda a: a) if order is None else (lambda a: a.transpose(np.argsort(order)))
    size, result_size = n * i * j * c, int(np.prod(shape))
    numbers = np.arange(result_size).reshape(shape), np.arange(size).reshape(n, i, j, c)
    jacobian = share.reshape(result_size, size)
    jacobian = jacobian[own(numbers[0]).ravel()][:, own(numbers[1]).ravel()]
    found = slips(
        lambda x: (jacobian @ x.ravel()).reshape(own(numbers[0]).shape),
        np.ones(own(numbers[1]).shape),
        jacobian,
        own(w).ravel(),
        order,
    )
    assert_has(found, "overlaps written over", own(last))
    assert_has(found, "overlaps written over", own(first))
    assert_has(found, "overlaps averaged", own(mean))
    assert_has(found, "missing sum over the positions", own(by_position[0]))
    assert_has(found, "missing sum over the positions", own(by_position[-1]))


def test_sums_over_all_positions(normal):
    """A scale of each channel, as a bias or a kernel has: every position contributes."""
    a, w = np.asarray(normal((2, 5, 3))), np.asarray(normal((2, 5, 3)))
    jacobian = (a[..., None] * np.eye(3)).reshape(-1, 3)
    found = slips(lambda k: a * k, np.ones(3), jacobian, w.ravel())
    by_position = (a * w).sum(0)
    for kept in (by_position[0], by_position[-1]):
        assert_has(found, "missing sum over the positions", kept)
    assert "overlaps written over" not in {name for name, _, _ in found}


SQUARE = [
    ("only the diagonal of the Jacobian", "the contribution of the diagonal to the true gradient"),
    (
        "the diagonal of the Jacobian is missing",
        "the true gradient without the contribution of the diagonal",
    ),
    ("Jacobian not transposed", "J w in place of Jᵀ w"),
    ("derivative applied twice", "the true gradient for the true gradient as cotangent"),
]
LAST, FIRST = (f"the {which} contribution to each element alone" for which in ("last", "first"))


def test_words_of_a_dense_layer(normal):
    """As many results as elements, all of which contribute to each element."""
    matrix, w = np.asarray(normal((4, 4))), np.asarray(normal((4,)))
    found = slips(lambda x: matrix @ x, np.ones(4), matrix, w)
    assert [each[:2] for each in found] == [
        *SQUARE,
        ("missing sum over the positions", LAST),
        ("missing sum over the positions", FIRST),
        ("missing sum over the positions", "the contributions of position 0 alone"),
        ("missing sum over the positions", "the contributions of position 3 alone"),
        ("overlaps averaged", "the mean of the contributions to each element"),
    ]
    shares = matrix * w[:, None]
    for (*_, actual), expected in zip(
        found[4:], (shares[3], shares[0], shares[0], shares[3], shares.mean(0)), strict=True
    ):
        np.testing.assert_allclose(actual, expected)


def test_only_a_square_jacobian_has_a_diagonal(normal):
    for results, elements in ((3, 4), (4, 3), (1, 1)):
        matrix, w = np.asarray(normal((results, elements))), np.asarray(normal((results,)))
        found = slips(lambda x, m=matrix: m @ x, np.ones(elements), matrix, w)
        assert not {slip for slip, *_ in found} & {slip for slip, _ in SQUARE}


def test_results_of_several_arrays(normal):
    """What is left out of one result leaves the contributions of the others."""
    a, b = np.asarray(normal((3, 2))), np.asarray(normal((4, 2)))
    w, jacobian = np.asarray(normal((7,))), np.concatenate([a, b])
    found = slips(lambda x: (a @ x, b @ x), np.ones(2), jacobian, w)
    of_a, of_b = a * w[:3, None], b * w[3:, None]
    wanted = [
        *((of_b.sum(0) + part) for part in (of_a[2], of_a[0], of_a[0], of_a[2], of_a.mean(0))),
        *((of_a.sum(0) + part) for part in (of_b[3], of_b[0], of_b[0], of_b[3], of_b.mean(0))),
    ]
    assert len(found) == len(wanted)
    for (*_, actual), expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose(actual, expected)


def test_an_elementwise_function_has_no_overlaps(normal):
    scale, w = np.asarray(normal((2, 4))), np.asarray(normal((8,)))
    jacobian = np.diag(scale.ravel())
    found = slips(lambda x: x * scale, np.ones((2, 4)), jacobian, w)
    assert [each[:2] for each in found] == SQUARE
    # What rounding leaves in place of zeros is no contribution.
    for noise, is_found in ((1e-9, False), (1e-7, True)):
        noisy = jacobian + noise * np.abs(jacobian).max() * np.eye(8, k=1)
        found = slips(lambda x: x * scale, np.ones((2, 4)), noisy, np.ones(8))
        assert (len(found) > len(SQUARE)) == is_found


@pytest.mark.parametrize("count", [1024, 1025])
def test_many_positions_are_left_alone(count):
    jacobian, w = np.ones((count, 1)), np.ones(count)
    found = slips(lambda x: x * np.ones(count), np.ones(1), jacobian, w)
    assert bool(found) == (count == 1024)


def test_shapes_without_positions_are_left_alone(normal):
    for shape in ((), (1,), (3, 1), (1, 1), (2, 1, 3)):
        size = int(np.prod(shape))
        jacobian = np.asarray(normal((size, 2)))
        found = slips(
            lambda x, j=jacobian, s=shape: (j @ x).reshape(s), np.ones(2), jacobian, np.ones(size)
        )
        assert {slip for slip, *_ in found} <= {slip for slip, _ in SQUARE}


@pytest.mark.parametrize("order", [None, (0, 2, 1)])
def test_windows_of_which_only_one_element_is_read(order, normal):
    """As by a maximum: the contributions do not show the windows, so all usual ones are tried."""
    i, p = 6, 3
    picks = [(1, 0), (2, 1), (3, 1), (2, 2)]  # element, position: two windows choose element 2
    jacobian, w = np.zeros((2, p, 1, 2, i, 1)), np.asarray(normal((2, p, 1)))
    for element, position in picks:
        jacobian[:, position, 0, :, element, 0] = np.eye(2)
    shares = (jacobian * w[..., None, None, None]).sum((0, 2)).reshape(p, 2, i, 1)
    own = (lambda a: a) if order is None else (lambda a: a.transpose(np.argsort(order)))
    numbers = np.arange(2 * p).reshape(2, p, 1), np.arange(2 * i).reshape(2, i, 1)
    flat = jacobian.reshape(2 * p, 2 * i)[own(numbers[0]).ravel()][:, own(numbers[1]).ravel()]
    found = slips(
        lambda x: (flat @ x.ravel()).reshape(own(numbers[0]).shape),
        np.ones(own(numbers[1]).shape),
        flat,
        own(w).ravel(),
        order,
    )
    wanted = []
    for stride in (1, 2, 3, 4):
        for side in range(5):
            # The last window that reaches an element from `side` before it, and the first.
            reached = [[q for q in range(p) if stride * q <= e + side] for e in range(i)]
            last = [max(of) for of in reached]
            from_side = [[q for q in range(p) if stride * q >= e - side] for e in range(i)]
            first = [min(of, default=p - 1) for of in from_side]
            for which, at in (("last", last), ("first", first)):
                kept = np.stack([shares[at[e], :, e] for e in range(i)], 1)
                what = f"the contribution of the {which} window over each element alone"
                wanted.append(("overlaps written over", what, own(kept).ravel()))
    found = found[-len(wanted) :]
    assert [each[:2] for each in found] == [each[:2] for each in wanted]
    for (*_, actual), (*_, expected) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(actual, expected)


def test_contributions_that_come_first_and_last(normal):
    """Of four positions, of which each element is reached by some."""
    reached = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 1, 0]])
    a, w = np.asarray(normal((4, 3))) * reached, np.asarray(normal((4,)))
    found = slips(lambda x: a @ x, np.ones(3), a, w)
    shares = a * w[:, None]
    expected = [
        ("overlaps written over", LAST, [shares[1, 0], shares[3, 1], shares[2, 2]]),
        ("overlaps written over", FIRST, [shares[0, 0], shares[1, 1], shares[2, 2]]),
        ("missing sum over the positions", "the contributions of position 0 alone", shares[0]),
        ("missing sum over the positions", "the contributions of position 3 alone", shares[3]),
        (
            "overlaps averaged",
            "the mean of the contributions to each element",
            shares.sum(0) / [2, 3, 1],
        ),
    ]
    assert [each[:2] for each in found] == [each[:2] for each in expected]
    for (*_, actual), (*_, wanted) in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted)


@pytest.mark.parametrize("everywhere", [True, False])
def test_positions_that_reach_all_elements_from_both_ends(everywhere, normal):
    """Then a sum is missing; otherwise overlaps are written over."""
    for row in (0, 2):
        a, w = np.array(normal((3, 2))), np.ones(3)
        if not everywhere:
            a[row, 1] = 0
        names = {slip for slip, what, _ in slips(lambda x, a=a: a @ x, np.ones(2), a, w)[:2]}
        assert names == {
            "missing sum over the positions" if everywhere else "overlaps written over"
        }


def test_two_positions_and_two_results_are_enough(normal):
    a, w = np.asarray(normal((2, 2))), np.asarray(normal((2,)))
    found = [each[:2] for each in slips(lambda x: a @ x, np.ones(2), a, w)]
    assert found[:4] == SQUARE
    assert found[4:6] == [
        ("missing sum over the positions", LAST),
        ("missing sum over the positions", FIRST),
    ]


def test_the_least_contribution():
    """A share of 1e-8 of the largest is what rounding leaves."""
    for gap, count in ((1e-8, 0), (1.01e-8, 5)):
        jacobian = np.array([[1.0, 0.0], [gap, 1.0], [0.0, 0.0]])
        assert len(slips(lambda x, j=jacobian: j @ x, np.ones(2), jacobian, np.ones(3))) == count
