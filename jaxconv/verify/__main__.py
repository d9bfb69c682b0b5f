"""Check the gradient of a function that a module holds.

    python -m jaxconv.verify package.module:function --arg "f32[2,8,8,3]" --arg "f32[3,3,3,4]"

Arguments are drawn at random: f64, f32, f16 and bf16 from a normal distribution, i32 from 0 to 9. A
plain number stands for itself. The exit status is 0 for a right gradient, 1 for a wrong one, and 2
if the check can't be made.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ._modes import ALL

_DTYPES = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i32": "int32"}
_SHAPED = re.compile(r"(\w+)\[([\d,\s]*)\]")


class _Misuse(Exception):
    """A sentence for the person at the keyboard."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _Misuse(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    try:
        return _run(arguments)
    except _Misuse as misuse:
        print(f"jaxconv.verify: error: {misuse}", file=sys.stderr)
        return 2


def _run(arguments):
    options = _parser().parse_args(arguments)
    f = _function(options.function)
    import jax

    from . import check_gradients

    if any(text.strip().startswith("f64") for text in options.arg):
        jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(options.seed)
    args = tuple(_argument(text, rng) for text in options.arg)
    try:
        report = check_gradients(
            f,
            args,
            argnums=_positions("--argnums", options.argnums),
            linear_in=_positions("--linear-in", options.linear_in),
            reference=_function(options.reference) if options.reference else None,
            modes=options.modes.split(",") if options.modes else "all",
            order=options.order,
            seed=options.seed,
        )
    except (TypeError, ValueError) as error:
        raise _Misuse(str(error)) from error
    if options.plot:
        _save(report, options.plot)
    if options.json:
        print(report.to_json())
    else:
        _print(report)
    return 0 if report.ok else 1


def _parser():
    parser = _Parser(
        prog="python -m jaxconv.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("function", help="package.module:function")
    parser.add_argument(
        "--arg",
        action="append",
        default=[],
        metavar="f32[2,8,8,3]",
        help="dtype and shape, or a number",
    )
    parser.add_argument(
        "--argnums", metavar="0,1", help="arguments to differentiate by; default: all"
    )
    parser.add_argument("--linear-in", metavar="0,1", help="arguments in which it is linear")
    parser.add_argument(
        "--reference", metavar="MODULE:F", help="another function of the same values"
    )
    parser.add_argument("--modes", metavar="A,B", help=f"some of {', '.join(ALL)}")
    parser.add_argument("--order", type=int, default=2, help="1 leaves out second derivatives")
    parser.add_argument("--seed", type=int, default=0, help="of arguments and directions")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--plot", metavar="out.png", help="draw true and reported gradient")
    return parser


def _function(name: str) -> Any:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise _Misuse(f"the function must be given as package.module:function, got {name!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # a user's module runs when imported, and may raise anything
        raise _Misuse(f"cannot import {module}: {type(error).__name__}: {error}.") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise _Misuse(f"{module} has no {path!r}.")
        found = getattr(found, part)
    return found


def _argument(text: str, rng: np.random.Generator) -> Any:
    import jax.numpy as jnp

    shaped = _SHAPED.fullmatch(text.strip())
    if shaped is None:
        try:
            return float(text)
        except ValueError:
            raise _Misuse(
                f'--arg must be a number or dtype and shape, as in "f32[2,8,8,3]"; got {text!r}.'
            ) from None
    dtype, sizes = shaped.groups()
    if dtype not in _DTYPES:
        raise _Misuse(
            f"--arg {text!r}: the dtype must be one of {', '.join(_DTYPES)}, got {dtype}."
        )
    try:
        shape = tuple(int(size) for size in sizes.split(",") if size.strip())
    except ValueError:
        raise _Misuse(f"--arg {text!r}: the sizes must be whole numbers.") from None
    if dtype == "i32":
        return jnp.asarray(rng.integers(0, 10, shape), "int32")
    return jnp.asarray(rng.normal(size=shape), _DTYPES[dtype])


def _positions(option: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise _Misuse(f'{option} must be positions such as "0,1", got {text!r}.') from None


def _save(report, path):
    try:
        figure = report.plot()
    except ModuleNotFoundError as error:
        raise _Misuse(f"--plot: {error}.") from None
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise _Misuse(f"cannot write --plot {path}: {error}.") from error


def _print(report):
    try:
        from rich.console import Console
    except ImportError:
        print(report)
    else:
        terminal = Console()
        # A log file takes lines as long as they are.
        (terminal if terminal.is_terminal else Console(width=160)).print(report)


if __name__ == "__main__":
    sys.exit(main())
