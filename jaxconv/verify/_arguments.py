"""Parse the values that a command line gives for the arguments of a function."""

import ast
import re
from typing import Any

import numpy as np

_FLOATS = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_INTEGERS = {
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
DTYPES = (*_FLOATS, *_INTEGERS, "bool")
# Arrays of 64 bits, for which JAX needs `jax_enable_x64`.
_WIDE = re.compile(r"\s*[fiu]64\[")

_SHAPED = re.compile(r"(\w+)\[([^\[\]]*)\](?::(.*))?")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_]\w*")
_NAMED = {"true": True, "false": False, "none": None}

_FORMS = 'dtype and shape, as in "f32[2,8,8,3]", a Python literal, or a word'


class Misuse(Exception):
    """A mistake in the command line; the message is one sentence for the user."""


def is_wide(text: str) -> bool:
    """Whether an argument is an array with a 64-bit dtype."""
    return _WIDE.match(text) is not None


def argument(text: str, rng: np.random.Generator, option: str = "--arg") -> Any:
    """Parse the value of one argument.

    Args:
      text: `dtype[shape]`, `dtype[shape]:LO..HI`, a Python literal, true, false, none, or a word.
      rng: The generator of random arrays.
      option: The option that the text was given to, for error messages.

    Returns:
      An array or a Python value. Floating-point arrays are drawn from a normal distribution, or
      uniformly from LO to HI. Integers are drawn from LO to HI, both included; the default is 0 to
      9.

    Raises:
      Misuse: The text is none of these.
    """
    text = text.strip()
    shaped = _SHAPED.fullmatch(text)
    if shaped is not None and shaped[1] in DTYPES:
        return _array(text, shaped, rng, option)
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        pass
    if shaped is not None:
        raise Misuse(
            f"{option} {text!r}: the dtype must be one of {', '.join(DTYPES)}, got {shaped[1]}."
        )
    if text in DTYPES:
        raise Misuse(f'{option} {text!r}: the shape is missing, as in "{text}[2,3]".')
    if _WORD.fullmatch(text):
        return text
    raise Misuse(f"{option} must be {_FORMS}; got {text!r}.")


def keyword(text: str, rng: np.random.Generator) -> tuple[str, Any]:
    """Parse a keyword argument, `name=value`; the value is parsed by `argument`.

    Raises:
      Misuse: The text has another form.
    """
    name, equals, value = text.partition("=")
    if not (equals and _WORD.fullmatch(name.strip())):
        raise Misuse(f"--option must be name=value, as in padding=SAME; got {text!r}.")
    return name.strip(), argument(value, rng, f"--option {name.strip()}")


def _array(text, shaped, rng, option):
    import jax.numpy as jnp

    dtype, sizes, bounds = shaped.groups()
    try:
        shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    except ValueError:
        shape = (-1,)
    if any(size < 0 for size in shape):
        raise Misuse(f"{option} {text!r}: the sizes must be integers of at least 0.")
    low, high = _bounds(text, dtype, bounds, option)
    if dtype == "bool":
        return jnp.asarray(rng.integers(0, 2, shape), bool)
    if dtype in _INTEGERS:
        return jnp.asarray(rng.integers(low, high, shape, _INTEGERS[dtype], endpoint=True))
    drawn = rng.normal(size=shape) if bounds is None else rng.uniform(low, high, shape)
    return jnp.asarray(drawn, _FLOATS[dtype])


def _bounds(text, dtype, bounds, option):
    """The least and the largest element of a random array."""
    if bounds is None:
        return 0, 9
    found = _RANGE.fullmatch(bounds.strip())
    kind = int if dtype in _INTEGERS else float
    try:
        low, high = (kind(end) for end in found.groups()) if found else (1, 0)
    except ValueError:  # not an integer
        low, high = 1, 0
    if low > high or dtype == "bool":
        raise Misuse(
            f'{option} {text!r}: LO..HI must follow the colon, as in "f32[3]:0.1..2"; LO and HI '
            f"must be integers for an integer dtype, and bool has no range; got {bounds!r}."
        )
    if dtype in _INTEGERS:
        limits = np.iinfo(_INTEGERS[dtype])
        if low < limits.min or high > limits.max:
            raise Misuse(
                f"{option} {text!r}: {_INTEGERS[dtype]} ranges from {limits.min} to {limits.max}."
            )
    return low, high
