"""Equations of arrays in NumPy, without a program that holds them."""

from types import SimpleNamespace

import numpy as np

from jaxconv.verify.program._in_numpy import in_numpy

C = np.array([1 + 2j, -3.0])


def equation(name, operands, results, **params):
    """An equation of arrays like those given."""

    def atoms(arrays):
        avals = (SimpleNamespace(shape=a.shape, dtype=a.dtype, size=a.size) for a in arrays)
        return [SimpleNamespace(aval=aval) for aval in avals]

    return SimpleNamespace(
        primitive=SimpleNamespace(name=name),
        params=params,
        invars=atoms(map(np.asarray, operands)),
        outvars=atoms(map(np.asarray, results)),
    )


def of(name, *operands, result=None, **params):
    """The results of a primitive; None if they are left to JAX."""
    operands = [np.asarray(a) for a in operands]
    results = [operands[0] if result is None else np.asarray(result)]
    found = in_numpy(equation(name, operands, results, **params), operands)
    return None if found is None else found[0]


def zeros(*shape, dtype=float):
    return np.zeros(shape, dtype)
