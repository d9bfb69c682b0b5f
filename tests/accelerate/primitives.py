"""The primitives in a program for which there are rules, and what the rules say."""

from typing import Any

import jax

import jaxconv
from jaxconv._accelerate._replacement import RULES, Kept, replacement_of


def met(f, *operands) -> list[tuple[Any, list[Any], dict[str, Any]]]:
    """Each primitive with a rule in the program of `f`: abstract operands and parameters."""
    found = []

    def search(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive in RULES:
                avals = [v.aval for v in equation.invars]
                found.append((equation.primitive, avals, equation.params))
                continue
            for value in equation.params.values():
                for inner in value if isinstance(value, tuple | list) else (value,):
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns"):
                        search(inner)

    search(jax.make_jaxpr(f)(*operands).jaxpr)
    return found


def said(f, *operands) -> list[str]:
    """What runs in place of each primitive, or the reason why it stays."""
    answers = [replacement_of(*equation) for equation in met(f, *operands)]
    return [a.reason if isinstance(a, Kept) else a.description for a in answers]


def ran(f, *operands) -> list[str]:
    """What runs in place of each different primitive of an accelerated function, or the reason."""
    rows = jaxconv.explain(jaxconv.accelerate(f), *operands).accelerated
    return [row.runs or row.reason for row in rows]
