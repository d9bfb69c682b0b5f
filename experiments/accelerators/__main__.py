"""`python -m experiments.accelerators`: the command line; see the package.

It is read with argparse, and what `measure` imports is JAX, NumPy, Flax, Optax and this checkout:
machines with an accelerator often have no more.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command_line.errors import UserError

_MODES = ("float32", "tf32", "bfloat16")
_PLATFORMS = ("gpu", "tpu", "cpu")


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
      The exit status: 0, 1 if a result is wrong or a program does not compile, 2 after a user's
      mistake, 130 after an interruption.
    """
    options = _parser().parse_args(args)
    try:
        if options.command == "compile":
            from .compile import run
        else:
            from .measure.command import run
        return run(options)
    except UserError as error:
        print(f"experiments.accelerators: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.accelerators", description="Programs for GPUs and TPUs."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    compiling = commands.add_parser("compile", help="compile for a device that need not be there")
    compiling.add_argument(
        "--target", nargs="+", required=True, help="h100, v5e, 8xh100, v5e:2x4, …; see targets.py"
    )
    compiling.add_argument(
        "--suite",
        choices=("cases", "models"),
        default="cases",
        help="convolutions, pools and networks; or gradient steps of public models, accelerated",
    )
    compiling.add_argument(
        "--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"]
    )
    compiling.add_argument(
        "--explain", nargs="+", metavar="CASE", help="print the schedules of these cases"
    )
    compiling.add_argument("--figure", type=Path, help="an image file for the ratios")
    measuring = commands.add_parser("measure", help="check and time on the device that is there")
    measuring.add_argument(
        "--platform", choices=_PLATFORMS, help="default: the accelerator; cpu is a dry run"
    )
    measuring.add_argument("--check-only", action="store_true", help="time nothing")
    measuring.add_argument("--modes", nargs="+", choices=_MODES, default=list(_MODES))
    measuring.add_argument("--profile", type=Path, help="a folder for the profile of a step")
    for command in (compiling, measuring):
        command.add_argument("--cases", nargs="+", help="names, or shell patterns; default: all")
        command.add_argument(
            "--shape", action="append", default=[], help="a convolution, as the benchmark takes it"
        )
        command.add_argument("--output", type=Path, help="a file for all results, as JSON")
    return parser


if __name__ == "__main__":
    if sys.argv[1:2] == ["compile"]:  # it needs no device, and must not look for one
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
