"""A convolution that the user describes on the command line.

    x=(500,12,12,32) kernel=(5,5,32,32) strides=1 padding=VALID

`x` is `(n, *spatial, c)` and `kernel` `(*window, c / groups, o)`. The other words are optional and
have the meaning of the options of `jaxconv.conv`: `strides`, `padding`, `input_dilation`,
`kernel_dilation`, `groups`. A padding is a name, an integer, or `((lo,hi),…)`.
"""

import ast
import re
from dataclasses import replace
from typing import Any

from ..command_line import UserError, require
from .cases import Conv, conv
from .single import geometry_of

_OPTIONS = ("strides", "padding", "input_dilation", "kernel_dilation", "groups")
_WORD = re.compile(r"(\w+)=(\(.*?\)(?=\s+\w+=|\s*$)|\S+)\s*")


def parse(text: str) -> Conv:
    """The case that a text describes. The text is its name.

    Raises:
      UserError: The text cannot be read, or is not a convolution.
    """
    words = _words(text)
    require({"x", "kernel"} <= words.keys(), f"--shape {text!r} needs x=(…) and kernel=(…).")
    x, kernel = (_shape(text, name, words.pop(name)) for name in ("x", "kernel"))
    require(
        len(x) == len(kernel) >= 3,
        f"--shape {text!r}: x and kernel need the same number of axes, at least 3.",
    )
    groups = words.get("groups", 1)
    require(
        isinstance(groups, int) and groups >= 1,
        f"--shape {text!r}: groups must be at least 1, got {groups!r}.",
    )
    require(
        x[-1] == kernel[-2] * groups and kernel[-1] % groups == 0,
        f"--shape {text!r}: in each of {groups} groups x has {x[-1] / groups:g} channels, kernel "
        f"takes {kernel[-2]} and gives {kernel[-1] / groups:g}.",
    )
    try:
        case = conv(text, "command line", x[0], x[1:-1], x[-1], kernel[-1], kernel[:-2], **words)
        return replace(case, padding=geometry_of(case).padding)
    except (TypeError, ValueError) as error:
        raise UserError(f"--shape {text!r}: {str(error).removeprefix(text + ': ')}") from error


def _words(text: str) -> dict[str, Any]:
    found = _WORD.findall(text)
    rest = _WORD.sub("", text).strip()
    require(not rest, f"--shape {text!r}: cannot read {rest!r}.")
    unknown = {name for name, _ in found} - {"x", "kernel", *_OPTIONS}
    require(not unknown, f"--shape {text!r}: unknown {', '.join(sorted(unknown))}.")
    return {name: _value(text, value) for name, value in found}


def _value(text: str, value: str):
    if value.isalpha() or value == "SAME_LOWER":
        return value.upper()
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise UserError(f"--shape {text!r}: cannot read {value!r}.") from None


def _shape(text: str, name: str, value: Any) -> tuple[int, ...]:
    require(
        isinstance(value, tuple) and all(isinstance(v, int) and v >= 1 for v in value),
        f"--shape {text!r}: {name} must be a shape, got {value!r}.",
    )
    return value
