"""What the derivative is, from the values of the function alone, and how far rounding moves it.

_primal           the values of the function in float64
_precision        how exact these values are
_operations       the rounding error of each primitive
_rounding         how far rounding moves a result, by perturbed evaluations
_differences      slopes along a line by finite differences
_truth            the true derivative: autodiff of the values, confirmed by differences
_linear_truth     the exact gradient of an argument in which the function is linear
_kinks            subgradients at kinks
_search           the wrong element of a gradient that is too large to try each
"""
