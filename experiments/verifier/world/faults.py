"""Gradients of JAX that are wrong, each found by the catalogue and confirmed in another way.

A verifier should call them wrong. They are those of JAX 0.12.
"""

from fnmatch import fnmatch

# Patterns of the function, the point and the dtype, and what is wrong.
FAULTS: tuple[tuple[str, str, str, str], ...] = (
    (
        "jax.scipy.special.spence",
        "*",
        "*",
        "NaN for every x in (1, 2], from the logarithm of 1 - x in a branch that is not taken, "
        "and 0 instead of -1 at x = 1; the derivative is log(x) / (1 - x).",
    ),
    (
        "jax.scipy.stats.gumbel_?.*pdf",
        "*",
        "*",
        "The derivatives with respect to location and scale raise a TypeError, because xlogy is "
        "given the integer -1.",
    ),
    (
        "jax.scipy.stats.gumbel_?.ppf",
        "*",
        "*",
        "The derivative raises a TypeError, because xlogy is given the integer -1.",
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
        "At ties both parts are taken in the order of the elements, so that some elements are "
        "counted twice and others not at all.",
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
        "The derivative with respect to the exponent is 0 at an exponent of 0; the true one is "
        "log(x)**2 / 2, and log1p(x)**2 / 2 for boxcox1p.",
    ),
    (
        "jax.scipy.stats.cauchy.?[ps]f*",
        "[af]*",
        "*",
        "0 at a probability of 1/2, where a `where` returns the constant 0; the derivative of ppf"
        " is pi times the scale, and that of isf its negative.",
    ),
    (
        "jax.scipy.linalg.solve, positive definite",
        "*",
        "*",
        "The value depends on the upper triangle only, but the gradient is that of a full matrix:"
        " it is right along symmetric directions only.",
    ),
    (
        "jax.numpy.kaiser",
        "huge",
        "*",
        "NaN at the ends of the window, where an infinite i0 is multiplied by 0; the derivative "
        "is 0.",
    ),
    (
        "jax.lax.clamp, by an array",
        "awkward",
        "*",
        "If the operand equals a bound, both have a gradient of 0, but the result moves by as "
        "much as they move together.",
    ),
    (
        "jax.scipy.special.erfcx",
        "random",
        "float32",
        "The second derivative with respect to an array, which is taken at this point, raises a "
        "TypeError.",
    ),
    (
        "jax.scipy.linalg.eigh_tridiagonal",
        "*",
        "*",
        "Forward mode differentiates the interval in which the bisection starts, and reverse mode"
        " raises; the derivative of an eigenvalue with respect to the diagonal is the square of "
        "its vector.",
    ),
)


def fault(function: str, point: str, dtype: str) -> str:
    """What is wrong with JAX's gradient of a function at a point; empty if nothing is known."""
    for *patterns, sentence in FAULTS:
        given = (function, point, dtype)
        if all(fnmatch(a, pattern) for a, pattern in zip(given, patterns, strict=True)):
            return sentence
    return ""
