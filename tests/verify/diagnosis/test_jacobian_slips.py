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
