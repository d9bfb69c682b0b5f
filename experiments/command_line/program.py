"""From the command line to `main(config)`, and from an error to one line and an exit status."""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import notes, options
from .errors import Diverged, Interrupted, UserError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


def run(
    main: Callable[[options.Config], Any],
    config: type[options.Config],
    args: Sequence[str] | None = None,
    *,
    presets: options.Presets | None = None,
    leave: Callable[[int, Exception | None], None] | None = None,
) -> None:
    """Call `main` with the options of the command line.

    The exit status is 0 after success, 1 if a part after training failed, 2 after a user's mistake,
    3 if training diverged and 130 after an interruption.

    Args:
      main: The program.
      config: Its options, a dataclass. See `options.parse`.
      args: The command line; by default that of the process.
      presets: The values of `--preset`, each with the values that differ from the defaults.
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
        main(options.parse(config, sys.argv[1:] if args is None else args, name, presets))
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


def _program(main) -> str:
    """The module's name, as it follows `python -m`."""
    module = sys.modules[main.__module__]
    name = module.__spec__.name if module.__spec__ else module.__name__
    return name.removesuffix(".__main__")
