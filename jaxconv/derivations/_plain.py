"""LaTeX in plain characters, for a terminal: the few commands that the derivations use."""

import re
import unicodedata

_SYMBOLS = {
    r"\sum": "Σ",
    r"\partial ": "∂",
    r"\nabla": "∇",
    r"\delta": "δ",
    r"\sigma": "σ",
    r"\odot": "⊙",
    r"\cdot": "·",
    r"\star": "⋆",
    r"\ast": "*",
    r"\uparrow": "↑",
    r"\top": "ᵀ",
    r"\lfloor ": "⌊",
    r" \rfloor": "⌋",
    r"\langle ": "⟨",
    r" \rangle": "⟩",
    r"\in ": "∈ ",
    r"\le ": "≤ ",
    r"\log": "log",
    r"\exp": "exp",
    r"\quad": "   with",
    r"\left( ": "(",
    r" \right)": ")",
    r"\frac{1}{R}": "1/R",
    r"\frac{1}{N}": "1/N",
    r"\frac{\partial}": r"\frac{∂}",
    r"\,": "",
    r"\:": "",
    r"\_": "_",
}
_NAMED = re.compile(r"\\(?:operatorname|mathrm|text)\{([^{}]*)\}")
_HAT = re.compile(r"\\hat\{([^{}]*)\}")
_FRACTION = re.compile(r"\\frac\{((?:[^{}]|\{[^{}]*\})*)\}\{((?:[^{}]|\{[^{}]*\})*)\}")
_RAISED = re.compile(r"\^(?:\{([0-9ᵀ↑])\}|([0-9ᵀ↑]))")
_RAISED_AS = str.maketrans("01234", "⁰¹²³⁴")


def plain(latex: str) -> str:
    r"""Write LaTeX in plain characters. Subscripts keep their `_`, and most superscripts their `^`.

    >>> plain(r"\sum_{r} \frac{\partial C}{\partial z^2_r}")
    'Σ_r ∂C/∂z²_r'
    """
    text = _NAMED.sub(r"\1", latex)
    for command, symbol in _SYMBOLS.items():
        text = text.replace(command, symbol)
    text = unicodedata.normalize("NFC", _HAT.sub("\\1\N{COMBINING CIRCUMFLEX ACCENT}", text))
    text = _RAISED.sub(lambda match: (match[1] or match[2]).translate(_RAISED_AS), text)
    text = re.sub(r"([_^])\{([^{},+])\}", r"\1\2", text)  # one character needs no braces
    text = re.sub(r"(?<![_^}c])\{(w\S)\}(?=ᵀ)", r"\1", text)
    text = _FRACTION.sub(r"\1/\2", text)
    return re.sub(r"\s+", " ", text).strip()
