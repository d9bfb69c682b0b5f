"""From the command line to `main(config)`, and from an error to one line and an exit status."""

import argparse
import contextlib
import errno
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import tyro

from . import notes
from .errors import Diverged, Interrupted, UserError

Config = TypeVar("Config")

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def run(
    main: Callable[[Config], Any],
    config: type[Config],
    args: Sequence[str] | None = None,
    *,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    leave: Callable[[int, Exception | None], None] | None = None,
) -> None:
    """Call `main` with the options of the command line.

    The fields of the dataclass `config` are the options, and the comments beside them the help.
    `--preset NAME` changes the default values; other options still override them. If `config` has a
    method `to_resume`, it turns the options into those of the run that they continue, which
    are then the default values.

    The exit status is 0 after success, 1 if a part after training failed, 2 after a user's mistake,
    3 if training diverged and 130 after an interruption.

    Args:
      main: The program.
      config: Its options, a dataclass.
      args: The command line; by default that of the process.
      presets: For each preset the values that differ from the defaults.
      leave: Called before the process ends with a status other than 0, with the status and the
        unexpected exception, if it is one. It may end the process in its own way.
    """
    name = _program(main)

    def fail(message: str, status: int) -> NoReturn:
        print(f"{name}: error: {message}", file=sys.stderr)
        if leave is not None:
            leave(status, None)
        sys.exit(status)

    notes.begin()
    try:
        main(_options(name, config, list(sys.argv[1:] if args is None else args), presets))
        sys.stdout.flush()  # a full disk raises its error here, not while Python shuts down
    except Diverged as error:
        fail(str(error), 3)
    except UserError as error:
        fail(str(error), 2)
    except (Interrupted, KeyboardInterrupt) as error:
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # one that was not foreseen: it is raised again at the end
        if isinstance(error, OSError) and error.errno in _DISK:
            fail(f"{error.filename or 'cannot write'}: {error.strerror}.", 2)
        if leave is not None:
            leave(1, error)
        raise
    if not notes.all_done():
        sys.exit(1)


def _options(name: str, config: type[Config], args: list[str], presets) -> Config:
    preset = _take_preset(args, presets)

    def parsed(default: Config) -> Config:
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors):
                return tyro.cli(config, args=args, prog=name, default=default)
        except SystemExit as end:
            if end.code:
                raise UserError(_message(errors.getvalue())) from None
            raise

    options = parsed(config(**preset))
    to_resume = getattr(options, "to_resume", None)
    earlier = to_resume(preset) if to_resume else None
    return options if earlier is None else parsed(earlier)


def _take_preset(args: list[str], presets) -> Mapping[str, Any]:
    """Remove `--preset NAME` from the arguments and return its values.

    tyro can only offer presets as subcommands, which do not combine with the other options in any
    order.
    """
    if presets is None:
        return {}
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    found, args[:] = parser.parse_known_args(args)
    if found.preset is not None and found.preset not in presets:
        raise UserError(f"--preset must be one of {', '.join(presets)}, got {found.preset!r}.")
    return {} if found.preset is None else presets[found.preset]


def _program(main) -> str:
    """The module's name, as it follows `python -m`."""
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else module.__name__
    return name.removesuffix(".__main__")


def _message(box: str) -> str:
    """The message in tyro's error box, without the frame and the help below the rule."""
    lines = []
    for line in box.splitlines()[1:]:
        text = line.strip(" │╭╮╰╯")
        if text.startswith("──"):
            break
        lines.append(text)
    return " ".join(" ".join(lines).split()) or "cannot read the command line, see --help"
