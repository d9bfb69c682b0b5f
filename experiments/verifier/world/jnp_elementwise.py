"""Elementwise functions of `jax.numpy`."""

import jax.numpy as jnp

from .entries import Library, of_parts

JNP = Library("jax.numpy")
_PAIRS = ((0.0, 0.0), (1.0, 1.0), (-2.0, 3.0), (1e-30, 1.0), (1e8, -1e8), (1.0, 1e12), (-1e30, 2.0))
# Pairs that are not equal, for functions that select one of two and jump where they are equal.
_APART = ((2.0, -1.0), (-2.0, 3.0), (0.0, 1e-3), (0.5, 0.0), (1e8, -1e8))
_NONZERO = (
    (1.0, 1.0),
    (-2.0, 3.0),
    (1e-30, 1.0),
    (1e8, -1e8),
    (0.0, 2.0),
    (1.0, 1e12),
    (3.0, -0.5),
)

JNP.each("arctan arcsinh")
JNP.each("sin cos", off=(1e30,))
JNP.each("sinh cosh exp exp2 expm1", off=(1e4, 1e30, -1e8))
JNP.each("tanh sinc i0", off=(1e30,))
JNP.each("tan", off=(1e30,))
JNP.each("arcsin arccos arctanh", "inner")
JNP.each("arccosh", "above_one")
JNP.each("log log2 log10 sqrt reciprocal", "positive")
JNP.each("log1p", "positive", also=(0.0, -0.5, -1e-8, -0.999))
JNP.each("cbrt", off=(0.0,))
JNP.each("abs absolute fabs positive negative square real conj degrees radians nan_to_num")
JNP.each(
    "rad2deg deg2rad conjugate astype",
    call=lambda f: lambda x: f(x, x.dtype) if f is jnp.astype else f(x),
)
JNP.each("imag", call=lambda f: lambda x: f(x * (1 + 2j)))
JNP.each(
    "angle",
    "normal normal",
    rows=((1, 0), (0, 1), (-1, 1), (1e-30, 1), (3, -1e-8)),
    call=lambda f: of_parts(f, False),
)
JNP.each(
    "exp sin cosh tanh square",
    "normal normal",
    label="complex",
    rows=((0, 0), (1, 0), (0, 1), (-1, 1e-8)),
    call=of_parts,
)
JNP.each(
    "log sqrt", "positive normal", label="complex", rows=((1, 0), (2, 1), (1, 1e-8)), call=of_parts
)
JNP.each(
    "abs",
    "normal normal",
    label="complex",
    rows=((1, 0), (0, 1), (-1, 1e-8), (3, 4)),
    call=lambda f: of_parts(f, False),
)
JNP.each("reciprocal", "normal", label="negative", rows=(-1.0, 2.0, -1e-3, 1e8))
JNP.each("add subtract multiply", "normal normal", rows=_PAIRS)
JNP.each("divide true_divide", "normal positive", rows=_NONZERO)
JNP.each("maximum minimum fmax fmin", "normal normal", rows=_PAIRS)
JNP.each(
    "arctan2",
    "normal normal",
    rows=((0, 1), (1, 0), (-1, 1e-8), (1, -1), (1e-30, 1), (1e8, 1), (-2, 1e8)),
)
JNP.each("hypot", "normal normal", rows=((0, 1), (1, 0), (-1, 1e-8), (3, 4), (1e-30, 1), (1e8, 1)))
JNP.each(
    "logaddexp logaddexp2",
    "normal normal",
    rows=((0, 0), (1, 1), (-3, 3), (50, -50), (1e4, 1), (1e-30, 0)),
)
JNP.each(
    "power float_power pow",
    "positive normal",
    rows=((1, 0), (1, 2), (2, 0), (2, -1), (1e-8, 2), (3, 0.5), (1e4, 2)),
)
JNP.each("power", "normal", label="of an integer", call=lambda f: lambda x: f(x, 3))
JNP.each(
    "power", "normal", label="squared as a float", call=lambda f: lambda x: f(x, 2.0), off=(1e30,)
)
JNP.each("power", "positive", label="of a half", call=lambda f: lambda x: f(x, 0.5))
JNP.each(
    "power", "positive", label="of 1.5", call=lambda f: lambda x: f(x, 1.5), also=(0.0,), order=1
)
JNP.each(
    "fmod remainder mod",
    "normal positive",
    rows=((0.5, 1), (-0.5, 1), (2.5, 1), (1e-8, 3), (7.3, 2.0)),
)
JNP.each(
    "divmod",
    "normal positive",
    rows=((0.5, 1), (-0.5, 1), (2.5, 1)),
    call=lambda f: lambda x, y: f(x, y)[1],
)
JNP.each("modf", "normal", rows=(0.5, -0.5, 2.25, 1e-8), call=lambda f: lambda x: f(x)[0])
JNP.each("copysign", "normal normal", rows=((1, 1), (1, -1), (-2, 1e-8), (3, -1e8)))
JNP.each("ldexp", "normal", call=lambda f: lambda x: f(x, 3))
JNP.each("frexp", "normal", rows=(1.5, -3.0, 1e-3), call=lambda f: lambda x: f(x)[0])
JNP.each("heaviside", "normal normal", rows=((1, 0.5), (-1, 2), (0.0, 1)))
JNP.each(
    "floor ceil trunc rint round around fix sign", "normal", rows=(0.4, -0.7, 2.3, 1e-8, 1234.4)
)
JNP.each("clip", "normal", call=lambda f: lambda x: f(x, -1.0, 2.0))
JNP.each(
    "clip",
    "normal normal",
    label="by an array",
    rows=((0, -1), (0, 1), (1, 1), (1e8, -3)),
    call=lambda f: lambda x, low: f(x, low, 5.0),
)
JNP.each("where", "normal normal", rows=_APART, call=lambda f: lambda x, y: f(x > y, x, 2 * y))
JNP.each(
    "select",
    "normal normal",
    rows=_APART,
    call=lambda f: lambda x, y: f([x > y, y > 2], [x, 2 * y], 0.0),
)
JNP.each(
    "piecewise",
    "normal",
    rows=(-2.0, 2.0, 0.5, 1e-8),
    call=lambda f: lambda x: f(x, [x < 0, x >= 1], [lambda x: -x, lambda x: x**2, lambda x: 3 * x]),
)
JNP.each("float_power", "positive", label="of 3", call=lambda f: lambda x: f(x, 3), off=(1e30,))
JNP.each("nextafter", "normal normal", rows=((1, 2), (-1, -2)), order=1)
