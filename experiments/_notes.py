"""Notes on standard error: what could not be done, in a line each, and without losing the rest."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_failed: dict[str, str] = {}  # what could not be done and has not been since, with its line


def note(text: str) -> None:
    """Print a line on standard error."""
    print(f"note: {text}", file=sys.stderr)


@contextmanager
def attempt(what: str) -> Iterator[None]:
    """Do what a run can do without, such as a figure: where it fails, a note says so.

    The program then ends with exit status 1, unless a later attempt at the same thing succeeds. The
    same failure is said once.

    Args:
      what: A phrase such as "write figure.png", which follows "could not".
    """
    try:
        yield
    except Exception as error:  # of any kind: what was computed before is worth more
        settle(what, f"could not {what}: {reason(error)}")
    else:
        settle(what)


def settle(what: str, failure: str | None = None) -> None:
    """Remember that something has been done, or say in a line, once, that it has not."""
    if failure is None:
        _failed.pop(what, None)
        return
    if _failed.get(what) != failure:
        note(failure)
    _failed[what] = failure


def begin() -> None:
    """Forget what an earlier program of this process could not do."""
    _failed.clear()


def all_done() -> bool:
    """Whether every attempt has succeeded in the end."""
    return not _failed


def reason(error: BaseException) -> str:
    """What the operating system said, wherever in the text it stands, or else the first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = (os.strerror(number) for number in errno.errorcode)
    return next((reason for reason in said if reason in str(error)), first_line(error))


def first_line(error: BaseException) -> str:
    """The first line of a message, or the error's kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
