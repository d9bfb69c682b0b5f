"""Check the gradient of a function in an importable module.

    python -m jaxconv.verify package.module:function --arg "f32[2,8,8,3]" --arg "f32[3,3,3,4]"
    python -m jaxconv.verify jaxconv:max_pool --arg "f32[1,6,6,2]" --arg 2 --option padding=SAME

The value of an argument, --arg VALUE, or of a keyword argument, --option name=VALUE, is one of

    f32[2,3]        a random array of that dtype and shape: f64, f32, f16 and bf16 are drawn from a
                    normal distribution, i8 to i64 and u8 to u64 from 0 to 9; bool
    f32[2,3]:0.1..2 the same, drawn uniformly from 0.1 to 2; for integers both ends are included
    2  2.0  (2, 2)  a Python literal; an int is a constant, a float is differentiated
    true none SAME  True, False, None, and other words as strings; '"2"' is a string, too

Keyword arguments are constants. The exit status is 0 if the gradient is right, 1 if it is wrong and
2 if it can't be checked.
"""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from ._arguments import Misuse, argument, is_wide, keyword
from ._modes import ALL


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misuse(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    try:
        with warnings.catch_warnings():
            # NumPy warns of overflow, for example. The report says what follows from it.
            warnings.simplefilter("ignore", RuntimeWarning)
            return _run(arguments)
    except Misuse as misuse:
        print(f"jaxconv.verify: error: {misuse}", file=sys.stderr)
        return 2


def _run(arguments):
    options = _parser().parse_args(arguments)
    f = _function(options.function)
    import jax

    from . import check_gradients

    values = [text.partition("=")[2] for text in options.option]
    if any(map(is_wide, [*options.arg, *values])):
        jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(options.seed)
    args = tuple(argument(text, rng) for text in options.arg)
    keywords = dict(keyword(text, rng) for text in options.option)
    reference = _function(options.reference) if options.reference else None
    given = {} if options.tolerance is None else {"tolerance": options.tolerance}
    try:
        report = check_gradients(
            partial(f, **keywords),
            args,
            argnums=_positions("--argnums", options.argnums),
            linear_in=_positions("--linear-in", options.linear_in),
            reference=None if reference is None else partial(reference, **keywords),
            modes=options.modes.split(",") if options.modes else "all",
            order=options.order,
            seed=options.seed,
            **given,
        )
    except (TypeError, ValueError) as error:
        raise Misuse(str(error)) from error
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
        metavar="VALUE",
        help="an argument: dtype and shape, a Python literal or a word, as described above",
    )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="name=VALUE",
        help="a keyword argument of the function and of the reference",
    )
    parser.add_argument(
        "--argnums", metavar="0,1", help="positions of the arguments to differentiate; default: all"
    )
    parser.add_argument(
        "--linear-in",
        metavar="0,1",
        help="positions of the arguments in which the function is linear",
    )
    parser.add_argument(
        "--reference",
        metavar="MODULE:F",
        help="a function with the same values, whose gradient is taken to be right",
    )
    parser.add_argument(
        "--modes", metavar="A,B", help=f"checks to make, default: all of {', '.join(ALL)}"
    )
    parser.add_argument(
        "--order",
        type=int,
        default=2,
        help="1: first derivatives only; 2 (default): second derivatives, too",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="relative error of the function's values, if they are approximate",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of the random arguments, cotangents and directions; default: 0",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--plot", metavar="out.png", help="draw the true and the reported gradient into this file"
    )
    return parser


def _function(name: str) -> Any:
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise Misuse(f"the function must be given as package.module:function, got {name!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # an import runs user code, which may raise anything
        raise Misuse(f"cannot import {module}: {type(error).__name__}: {error}.") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise Misuse(f"module {module} has no {path!r}.")
        found = getattr(found, part)
    return found


def _positions(option: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise Misuse(f'{option} must be positions such as "0,1", got {text!r}.') from None


def _save(report, path):
    try:
        figure = report.plot()
    except ModuleNotFoundError as error:
        raise Misuse(f"--plot: {error}.") from None
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise Misuse(f"cannot write --plot {path}: {error}.") from error


def _print(report):
    try:
        from rich.console import Console
    except ImportError:
        print(report)
    else:
        terminal = Console()
        # The lines of a log file are not wrapped.
        (terminal if terminal.is_terminal else Console(width=160)).print(report)


if __name__ == "__main__":
    sys.exit(main())
