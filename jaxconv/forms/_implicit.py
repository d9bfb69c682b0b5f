"""Functions that are defined by an equation: the solution of a linear system, and a fixed point.

Their derivatives follow from the equation, not from the steps that solve it. `jax.lax` has the
linear solve with its transpose, `custom_linear_solve`, to which both come down.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from ._arguments import check_function, default_name, described

Tree = Any


def linear_solve(
    apply: Callable[..., Tree],
    solve: Callable[..., Tree],
    transpose_solve: Callable[..., Tree] | None = None,
) -> Callable[..., Tree]:
    """Make the solution of a linear system into a function with the derivatives of the system.

        A(θ) x = b,      A x_dot = b_dot - A_dot x,      Aᵀ b_bar = x_bar                      (1)

    The derivatives are again solutions of the system or of its transpose, to any order, and nothing
    inside of `solve` is differentiated.

    Args:
      apply: `apply(x, *theta)`: A(θ) x, linear in x; arrays of any shape, or pytrees.
      solve: `solve(b, *theta)`: the solution x of the structure of b.
      transpose_solve: `transpose_solve(b, *theta)`: the solution of Aᵀ x = b. None means that A is
        symmetric, and calls `solve`.

    Returns:
      A function `x = solution(b, *theta)`, which is differentiated with respect to b and θ.

    Raises:
      TypeError: An argument is not a function; when it is called, `solve` returns another
        structure, shape or dtype than that of b.

    Source: (1) is the implicit function theorem, as in Griewank & Walther, "Evaluating
    Derivatives", 2008, chapter 15.

    >>> import jax, jax.numpy as jnp
    >>> divide = linear_solve(lambda x, d: d * x, lambda b, d: b / d)
    >>> jax.grad(divide, 1)(6.0, 2.0)
    Array(-1.5, dtype=float32, weak_type=True)
    """
    check_function("linear_solve: apply", apply)
    check_function("linear_solve: solve", solve)
    check_function("linear_solve: transpose_solve", transpose_solve or solve)

    def solution(b: Tree, *theta: Any) -> Tree:
        b = jax.tree.map(jnp.asarray, b)
        fixed = jax.tree.map(lax.stop_gradient, theta)
        expected, found = (
            jax.tree.map(described, x) for x in (b, jax.eval_shape(solve, b, *theta))
        )
        if expected != found:
            raise TypeError(
                f"linear_solve: {default_name(solve)} must return {expected}, as b is, got {found}."
            )
        back = transpose_solve or solve
        return lax.custom_linear_solve(
            lambda x: apply(x, *theta),
            b,
            lambda _, b: solve(b, *fixed),
            lambda _, b: back(b, *fixed),
            symmetric=False,
        )

    solution.__name__, solution.__doc__ = default_name(solve), solve.__doc__
    return solution


def fixed_point(
    f: Callable[..., Tree],
    *,
    tolerance: float | None = None,
    max_steps: int = 1000,
    solve: Callable[..., Tree] | None = None,
    solve_linear: Callable[..., Tree] | None = None,
) -> Callable[..., Tree]:
    """Make the fixed point of a function into a function with the derivatives of its equation.

        z = f(z, θ),      (1 - ∂f/∂z) z_dot = ∂f/∂θ θ_dot                                      (1)

    The derivative is the solution of a linear system, and its transpose is that of the transposed
    system; `linear_solve` does both, to any order. By default z and the solutions of the systems
    are found by iteration, which converges where the largest eigenvalue of ∂f/∂z is below 1.

    Args:
      f: `f(z, *theta)`, of the structure, shape and dtype of z: an array or a pytree.
      tolerance: The iteration ends when no element changes by more than this times the largest
        element. None means 16 units of rounding of the dtype.
      max_steps: The most steps of an iteration.
      solve: `solve(g, z)`: the fixed point of `g(z)`, found from z, in place of iteration.
      solve_linear: `solve_linear(apply, b)`: the solution of `apply(x) = b`, such as
        `jax.scipy.sparse.linalg.gmres(apply, b)[0]`, in place of iteration.

    Returns:
      A function `z = solution(start, *theta)`, which is differentiated with respect to θ. The start
      has no derivative.

    Raises:
      TypeError: An argument is not a function; when it is called, `f` returns another structure,
        shape or dtype than that of z.
      ValueError: `max_steps` is below 1.

    Source: (1) is the implicit function theorem; see Bai, Kolter & Koltun, "Deep equilibrium
    models", 2019, arXiv:1909.01377, theorem 1.

    >>> import jax, jax.numpy as jnp
    >>> root = fixed_point(lambda z, a: (z + a / z) / 2)
    >>> jnp.round(jnp.array([root(1.0, 9.0), jax.grad(root, 1)(1.0, 9.0) * 6]), 4)
    Array([3., 1.], dtype=float32)
    """
    check_function("fixed_point: f", f)
    if solve is not None:
        check_function("fixed_point: solve", solve)
    if solve_linear is not None:
        check_function("fixed_point: solve_linear", solve_linear)
    if max_steps < 1:
        raise ValueError(f"fixed_point: max_steps must be at least 1, got {max_steps}.")
    iterate = partial(_iterate, tolerance=tolerance, max_steps=max_steps)

    def by_iteration(apply, b):
        # x = b + (x - A x)
        return iterate(lambda x: jax.tree.map(lambda b, x, y: b + (x - y), b, x, apply(x)), b)

    invert = solve_linear or by_iteration

    @jax.custom_jvp
    def point(start, theta):
        return (solve or iterate)(lambda z: f(z, *theta), start)

    @point.defjvp
    def point_jvp(primals, tangents):
        (start, theta), (_, theta_dot) = primals, tangents
        z = point(start, theta)
        _, b = jax.jvp(lambda theta: f(z, *theta), (theta,), (theta_dot,))

        def apply(z_dot):
            moved = jax.jvp(lambda z: f(z, *theta), (z,), (z_dot,))[1]
            return jax.tree.map(jnp.subtract, z_dot, moved)

        return z, lax.custom_linear_solve(apply, b, invert, invert)

    def solution(start: Tree, *theta: Any) -> Tree:
        start = jax.tree.map(jnp.asarray, start)
        shape = jax.eval_shape(f, start, *theta)
        expected, found = (jax.tree.map(described, x) for x in (start, shape))
        if expected != found:
            raise TypeError(
                f"fixed_point: {default_name(f)} must return {expected}, as z is, got {found}."
            )
        start = jax.tree.map(lambda z, s: z.astype(s.dtype), lax.stop_gradient(start), shape)
        return point(start, theta)

    solution.__name__, solution.__doc__ = default_name(f), f.__doc__
    return solution


def _iterate(
    g: Callable[[Tree], Tree], start: Tree, *, tolerance: float | None, max_steps: int
) -> Tree:
    """The limit of z, g(z), g(g(z)), ..."""

    def goes_on(state):
        step, z, moved = state
        still = [
            jnp.max(jnp.abs(b - a), initial=0)
            > (16 * jnp.finfo(b.dtype).eps if tolerance is None else tolerance)
            * jnp.max(jnp.abs(b), initial=0)
            for a, b in zip(jax.tree.leaves(z), jax.tree.leaves(moved), strict=True)
        ]
        return (step < max_steps) & jnp.any(jnp.array(still))

    state = 1, start, g(start)
    return lax.while_loop(goes_on, lambda s: (s[0] + 1, s[2], g(s[2])), state)[2]
