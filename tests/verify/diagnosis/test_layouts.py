"""The axes of maps and kernels are those that the convolutions of a function state."""

from types import SimpleNamespace

import jax
import pytest
from jax import lax

import jaxconv
from jaxconv.verify._problem import problem_of
from jaxconv.verify.diagnosis._array_slips import Layout
from jaxconv.verify.diagnosis._layouts import Layouts

MAP, KERNEL = Layout(False), Layout(True)


def _lax(*numbers):
    return lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers)


def _of_kernel(x, y):
    """The gradient of a kernel of 1 by 2 taps."""
    zero = jax.numpy.zeros((1, 2, x.shape[-1], y.shape[-1]))
    return jax.vjp(lambda k: jaxconv.conv(x, k), zero)[1](y)[0]


def _of_map(y, k):
    return jax.vjp(lambda x: jaxconv.conv(x, k), jax.numpy.zeros((2, 6, 5, 3)))[1](y)[0]


# A function, the shapes of its arguments, and the layouts of these and of its result.
CASES = {
    "lax": (
        _lax("NCHW", "OIHW", "NCHW"),
        [(2, 3, 6, 5), (4, 3, 1, 2)],
        [Layout(False, (0, 2, 3, 1)), Layout(True, (2, 3, 1, 0)), Layout(False, (0, 2, 3, 1))],
    ),
    "lax, as here": (
        _lax("NHWC", "HWIO", "NHWC"),
        [(2, 6, 5, 3), (1, 2, 3, 4)],
        [MAP, KERNEL, MAP],
    ),
    "lax, others": (
        _lax("HWNC", "IHWO", "CNHW"),
        [(6, 5, 2, 3), (3, 1, 2, 4)],
        [Layout(False, (2, 0, 1, 3)), Layout(True, (1, 2, 0, 3)), Layout(False, (1, 2, 3, 0))],
    ),
    "jaxconv": (jaxconv.conv, [(2, 6, 5, 3), (1, 2, 3, 4)], [MAP, KERNEL, MAP]),
    "jaxconv, for lax": (
        lambda x, k: jaxconv.conv_general_dilated(x, k, (1, 1), "SAME"),
        [(2, 3, 6, 5), (4, 3, 1, 2)],
        [Layout(False, (0, 2, 3, 1)), Layout(True, (2, 3, 1, 0)), Layout(False, (0, 2, 3, 1))],
    ),
    "two convolutions": (
        lambda x, k: _lax("NHWC", "HWIO", "NCHW")(x, k) + _lax("CNHW", "IHWO", "CNHW")(x, k).sum(),
        [(2, 2, 2, 2), (2, 2, 2, 3)],
        [MAP, KERNEL, Layout(False, (0, 2, 3, 1))],  # the first one states the layouts
    ),
    "a map with the shape of a kernel": (
        lambda x, k: _lax("NHWC", "HWIO", "NCHW")(x, k),
        [(2, 2, 2, 2), (2, 2, 2, 2)],
        [MAP, MAP, MAP],
    ),
    "jaxconv, transpositions of its own": (
        lambda x, k: jaxconv.conv(x.transpose(3, 1, 2, 0), k.transpose(2, 1, 3, 0)).transpose(
            2, 1, 3, 0
        ),
        [(3, 6, 5, 2), (4, 2, 1, 3)],
        [
            Layout(False, (3, 1, 2, 0)),
            Layout(True, (2, 1, 3, 0)),
            Layout(False, (3, 1, 0, 2)),
        ],
    ),
    "jaxconv, an argument like the transposed gradient of a kernel": (
        lambda x, y, k: _of_kernel(x, y).transpose(3, 2, 0, 1) * k,
        [(2, 6, 5, 3), (2, 6, 4, 2), (2, 3, 1, 2)],
        [MAP, KERNEL, Layout(True, (2, 3, 1, 0)), MAP],
    ),
    "jaxconv, a map's gradient that is transposed": (
        lambda y, k, x: _of_map(y, k).transpose(0, 3, 1, 2) * x,
        [(2, 6, 4, 4), (1, 2, 3, 4), (2, 3, 6, 5)],
        [MAP, KERNEL, Layout(False, (0, 2, 3, 1)), Layout(False, (0, 2, 3, 1))],
    ),
    "lines": (lambda x, k: x.sum() * k, [(4, 5, 3), (4, 3, 5)], [MAP, KERNEL, MAP]),
    "as many taps as examples": (
        lambda x, k: (x[:, :2, :2, :1] * k[..., 0, 0, None, None, None][:, 0, None] * 1.0).sum(
            (1, 2)
        ),
        [(2, 3, 3, 4), (2, 2, 4, 5)],
        [MAP, KERNEL, MAP],
    ),
    "a kernel of another rank": (
        lambda x, k: x * k.sum(),
        [(2, 3, 3, 4), (2, 4, 5)],
        [MAP, MAP, MAP],
    ),
    "two maps": (lambda x, k: x * k, [(2, 3, 3, 4), (2, 3, 3, 4)], [MAP, MAP, MAP]),
    "matrices": (lambda x, k: x @ k.T, [(2, 4), (2, 4)], [MAP, MAP, MAP]),
    "a matrix after another": (
        lambda x, k: x @ jax.numpy.ones((4, 3)) * k[:, :1],
        [(2, 4), (2, 5)],
        [MAP, MAP, MAP],
    ),
    "no convolution": (lambda x, k: x.sum() * k, [(2, 6, 5, 3), (5,)], [MAP, MAP, MAP]),
}


@pytest.mark.usefixtures("no_type_checker")  # which asks for more evidence than is read
@pytest.mark.parametrize("name", CASES)
def test_layouts(name, normal):
    f, shapes, expected = CASES[name]
    args = [normal(shape) for shape in shapes]
    problem = problem_of(f, args, None)
    traced = jax.make_jaxpr(f)(*args)
    layouts = Layouts(SimpleNamespace(problem=problem, primal=SimpleNamespace(traced=traced)))
    (result,) = problem.outputs
    assert [*map(layouts.of, problem.leaves), layouts.of_result(result)] == expected
