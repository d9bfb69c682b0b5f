"""The distributions of `jax.scipy.stats`."""

import numpy as np
from jax import scipy

from .entries import Library

# For each distribution: its functions of x, the domains of x and of the parameters, awkward rows,
# and how it is called.
CONTINUOUS = {
    "beta": (
        "pdf logpdf",
        "unit above_one above_one",
        ((0.5, 2, 2), (0.25, 3, 1.5), (1e-3, 2, 2), (0.999, 2, 3)),
    ),
    "cauchy": (
        "pdf logpdf cdf logcdf sf logsf",
        "normal normal positive",
        ((0, 0, 1), (1, 1, 2), (-30, 0, 1), (1e4, 0, 1), (1e-8, 0, 1)),
    ),
    "chi2": (
        "pdf logpdf cdf logcdf sf logsf",
        "positive above_one",
        ((1, 2), (2, 3), (1e-3, 3), (20, 4)),
    ),
    "expon": (
        "pdf logpdf cdf logcdf sf logsf",
        "positive normal positive",
        ((1, 0, 1), (1e-8, 0, 1), (20, 0, 2), (3, 1, 1)),
    ),
    "gamma": (
        "pdf logpdf cdf logcdf sf logsf",
        "positive above_one",
        ((1, 2), (2, 3), (1e-3, 3), (20, 4)),
    ),
    "gennorm": ("pdf logpdf cdf", "normal above_one", ((0.5, 2), (-1, 3), (3, 1.5), (-20, 2))),
    "gumbel_l": (
        "pdf logpdf cdf logcdf sf logsf",
        "normal normal positive",
        ((0, 0, 1), (1, 1, 2), (-20, 0, 1), (3, 0, 1)),
    ),
    "gumbel_r": (
        "pdf logpdf cdf logcdf sf logsf",
        "normal normal positive",
        ((0, 0, 1), (1, 1, 2), (20, 0, 1), (-3, 0, 1)),
    ),
    "laplace": (
        "pdf logpdf cdf",
        "normal normal positive",
        ((0, 0, 1), (1, 1, 2), (-20, 0, 1), (1e-8, 0, 1)),
    ),
    "logistic": (
        "pdf logpdf cdf sf",
        "normal normal positive",
        ((0, 0, 1), (1, 1, 2), (-20, 0, 1), (50, 0, 1)),
    ),
    "norm": (
        "pdf logpdf cdf logcdf sf logsf",
        "normal normal positive",
        ((0, 0, 1), (1, 1, 2), (-5, 0, 1), (-20, 0, 1), (8, 0, 1)),
    ),
    "pareto": (
        "pdf logpdf cdf logcdf sf logsf",
        "above_one positive",
        ((2, 1), (1.001, 3), (1e4, 2)),
    ),
    "t": (
        "pdf logpdf",
        "normal positive normal positive",
        ((0, 1, 0, 1), (1, 3, 1, 2), (-30, 2, 0, 1), (1e-8, 5, 0, 1)),
    ),
    "truncnorm": ("pdf logpdf cdf logcdf sf logsf", "inner", ((0,), (0.5,), (-0.999,), (1e-8,))),
    "uniform": ("pdf logpdf cdf", "unit", ((0.5,), (0.25,), (0.999,))),
    "vonmises": ("pdf logpdf", "normal positive", ((0, 1), (1, 3), (-3, 0.5), (1e-8, 20))),
    "wrapcauchy": ("pdf logpdf", "positive unit", ((1, 0.5), (3, 0.1), (1e-8, 0.9))),
}
_CALLS = {
    "truncnorm": lambda f: lambda x: f(x, -1.5, 2.0),
    "uniform": lambda f: lambda x: f(x, -1.0, 3.0),
}
# Differentiated with respect to the parameters only, at fixed counts.
COUNTS = np.array([[0, 1, 3], [2, 5, 1]])
DISCRETE = {
    "bernoulli": ("pmf logpmf", "unit", lambda f: lambda p: f(COUNTS % 2, p)),
    "betabinom": ("pmf logpmf", "positive positive", lambda f: lambda a, b: f(COUNTS, 6, a, b)),
    "binom": ("pmf logpmf", "unit", lambda f: lambda p: f(COUNTS, 6, p)),
    "geom": ("pmf logpmf", "unit", lambda f: lambda p: f(COUNTS + 1, p)),
    "nbinom": ("pmf logpmf", "positive unit", lambda f: lambda n, p: f(COUNTS, n, p)),
    "poisson": ("pmf logpmf cdf", "positive", lambda f: lambda mu: f(COUNTS, mu)),
}
# Functions of a probability.
QUANTILES = {
    "cauchy": "ppf isf",
    "expon": "ppf",
    "gumbel_l": "ppf",
    "gumbel_r": "ppf",
    "logistic": "ppf isf",
    "norm": "ppf isf",
    "uniform": "ppf",
}

_OTHERS = ("dirichlet", "multinomial", "multivariate_normal")
LIBRARIES = {
    name: Library(f"jax.scipy.stats.{name}") for name in (*CONTINUOUS, *DISCRETE, *_OTHERS)
}

for name, (functions, args, rows) in CONTINUOUS.items():
    LIBRARIES[name].each(
        functions, args, rows=rows, call=_CALLS.get(name, lambda f: lambda *a: f(*a))
    )
    if name in QUANTILES:
        LIBRARIES[name].each(QUANTILES[name], "unit", call=lambda f: lambda q: f(q))
    if name in ("norm", "expon", "cauchy"):
        LIBRARIES[name].each(
            QUANTILES[name],
            "unit normal positive",
            label="of all",
            rows=((0.5, 0, 1), (1e-3, 1, 2)),
            call=lambda f: lambda *a: f(*a),
        )
for name, (functions, args, call) in DISCRETE.items():
    LIBRARIES[name].each(functions, args, rows=(), call=call)
LIBRARIES["beta"].each(
    "cdf logcdf sf logsf",
    "unit",
    rows=(0.5, 0.25, 1e-3, 0.999),
    call=lambda f: lambda x: f(x, 2.0, 3.5),
)
LIBRARIES["pareto"].each(
    "ppf",
    "unit above_one",
    rows=((0.5, 2), (1e-3, 3), (0.999, 2)),
    call=lambda f: lambda q, b: f(q, b),
)
LIBRARIES["poisson"].each("entropy", "positive", rows=(1, 3, 20), order=1)
for f in ("pdf", "logpdf"):
    LIBRARIES["dirichlet"].add(
        f,
        "positive:3",
        lambda alpha, f=f: getattr(scipy.stats.dirichlet, f)(np.array([0.2, 0.5, 0.3]), alpha),
        forms="ones",
    )
    LIBRARIES["multivariate_normal"].add(
        f,
        "normal:2,3 normal:3 definite:3,3",
        lambda x, m, c, f=f: getattr(scipy.stats.multivariate_normal, f)(x, m, c),
        forms="zeros",
    )
for f in ("pmf", "logpmf"):
    LIBRARIES["multinomial"].add(
        f,
        "shares:3",
        lambda p, f=f: getattr(scipy.stats.multinomial, f)(np.array([1, 0, 2]), 3, p),
        forms="",
    )
