"""Gradients of JAX that are wrong, found by the catalogue and each verified in another way.

A verifier is right to call them wrong. JAX 0.12 has all of them.
"""

from fnmatch import fnmatch

# Patterns of the function, of the point and of the dtype, and what is wrong.
FAULTS: tuple[tuple[str, str, str, str], ...] = (
    (
        "jax.scipy.special.spence",
        "*",
        "*",
        "NaN for every x in (1, 2], by the logarithm of 1 - x in a branch that isn't taken, and 0 "
        "instead of -1 at x = 1; the derivative is log(x) / (1 - x).",
    ),
    (
        "jax.scipy.stats.gumbel_?.*pdf",
        "*",
        "*",
        "By the location and by the scale it raises a TypeError, where xlogy meets the integer -1.",
    ),
    (
        "jax.scipy.stats.gumbel_?.ppf",
        "*",
        "*",
        "It raises a TypeError, where xlogy meets the integer -1.",
    ),
    (
        "jax.numpy.vander",
        "zeros",
        "*",
        "NaN at zeros, where the rule of pow divides 0 by 0; the derivative of x**2 there is 0.",
    ),
    (
        "jax.numpy.partition",
        "zeros",
        "*",
        "At ties the smaller and the larger part are both taken in the order of the elements, so "
        "that the same elements are counted twice and others not at all.",
    ),
    (
        "jax.scipy.special.digamma, negative",
        "[af]*",
        "*",
        "1e18 at -10.3 instead of 14.99: polygamma is wrong below -10.",
    ),
    (
        "jax.scipy.special.boxcox*",
        "[af]*",
        "*",
        "By the exponent it is 0 where the exponent is 0; the derivative there is log(x)**2 / 2, "
        "and of boxcox1p log1p(x)**2 / 2.",
    ),
    (
        "jax.scipy.stats.cauchy.?[ps]f*",
        "[af]*",
        "*",
        "0 at a probability of 1/2, where a `where` returns the constant 0; the derivative of ppf "
        "is pi times the scale, and of isf its negative.",
    ),
    (
        "jax.scipy.linalg.solve, positive definite",
        "*",
        "*",
        "The value reads the upper triangle and the gradient is that of a full matrix: it is right "
        "only along symmetric directions.",
    ),
    (
        "jax.numpy.kaiser",
        "huge",
        "*",
        "NaN at the window's ends, where an infinity of i0 is multiplied by 0; it is 0 there.",
    ),
    (
        "jax.lax.clamp, by an array",
        "awkward",
        "*",
        "Where the number equals a bound, neither of them has a gradient, and both together move "
        "the result by as much as they move.",
    ),
    (
        "jax.scipy.special.erfcx",
        "random",
        "float32",
        "The second derivative by an array, which is asked for at this point, raises a TypeError.",
    ),
    (
        "jax.scipy.linalg.eigh_tridiagonal",
        "*",
        "*",
        "Forward mode differentiates the interval in which bisection starts, and reverse mode "
        "raises; the derivative of an eigenvalue by the diagonal is the square of its vector.",
    ),
)


def fault(function: str, point: str, dtype: str) -> str:
    """What is wrong with JAX's gradient of a function at a point; empty if nothing is known."""
    for *patterns, sentence in FAULTS:
        given = (function, point, dtype)
        if all(fnmatch(a, pattern) for a, pattern in zip(given, patterns, strict=True)):
            return sentence
    return ""
