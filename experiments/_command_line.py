"""From a command line to a checked `Config`, and from a user's mistake to one line."""

import argparse
import contextlib
import errno
import io
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax

from . import _notes, processes
from ._user_error import Interrupted, UserError

Config = TypeVar("Config")

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def run(
    main: Callable[[Config], Any],
    config: type[Config],
    args: Sequence[str] | None = None,
    *,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
):
    """Call `main` with a config read from the command line.

    The fields of the dataclass `config` are the options, the comments beside them the help. Under
    `--preset NAME` they begin at that preset's values, which other options still change. A mistake
    of the user's ends the process with one line on standard error and exit status 2. Where a part
    that comes after training could not be done, which a note has said, the exit status is 1.
    """
    import tyro

    args = list(sys.argv[1:] if args is None else args)
    errors = io.StringIO()
    try:
        default = config(**_take_preset(args, presets, _program(main)))
        with contextlib.redirect_stderr(errors):
            parsed = tyro.cli(config, args=args, prog=_program(main), default=default)
    except SystemExit as end:
        if end.code:
            _fail(_program(main), _one_line(errors.getvalue()))
        raise
    _notes.begin()
    try:
        main(parsed)
        sys.stdout.flush()  # where it is a file, a full disk says so here and not in Python's end
    except UserError as error:
        _fail(_program(main), str(error))
    except Interrupted as end:
        print(end, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # a regular end of one process waits for the others, for ever
        if isinstance(error, OSError) and error.errno in _DISK:
            _fail(_program(main), f"{error.filename or 'cannot write'}: {error.strerror}.")
        if not processes.is_joined():
            raise
        _fail_among_others(_program(main), error)
    if not _notes.all_done():
        sys.exit(1)


def _take_preset(args: list[str], presets, program) -> Mapping[str, Any]:
    """Remove `--preset NAME` from the arguments; the values it stands for."""
    if presets is None:
        return {}
    parser = argparse.ArgumentParser(prog=program, add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    found, args[:] = parser.parse_known_args(args)
    if found.preset is None:
        return {}
    if found.preset not in presets:
        _fail(program, f"--preset must be one of {', '.join(presets)}, got {found.preset!r}.")
    return presets[found.preset]


def _fail(program: str, message: str):
    print(f"{program}: error: {message}", file=sys.stderr)
    processes.leave(2)


def _fail_among_others(program: str, error: Exception):
    # JAX raises Gloo's errors, which are those of the connections, also as ValueError.
    if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error):
        reason = str(error).strip().splitlines()[0][:200]
        print(
            f"{program}: error: computing together with the other processes failed, as it does "
            f"when one of them has ended: start all of them again with --resume ({reason})",
            file=sys.stderr,
        )
    else:
        traceback.print_exception(error)
    processes.leave(1)


def _program(main) -> str:
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else module.__name__
    return name.removesuffix(".__main__")  # what stands behind `python -m`


def _one_line(box: str) -> str:
    """The message in tyro's box, without its frame and without the help that follows a rule."""
    message = []
    for line in box.splitlines()[1:]:
        text = line.strip(" │╭╮╰╯")
        if text.startswith("──"):
            break
        message.append(text)
    return " ".join(" ".join(message).split()) or "cannot read the command line, see --help"


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless the condition holds."""
    if not condition:
        raise UserError(message)


def make_output_dir(folder: Path) -> None:
    """Make the folder and see that files can be written there, before hours of training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to --output-dir {folder}: {error.strerror}.") from error
