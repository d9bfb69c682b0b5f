"""Notes on standard error: one line for each part that failed while the program went on."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_failed: dict[str, str] = {}  # the attempts that have failed and not succeeded since


def note(text: str) -> None:
    """Print a line on standard error."""
    print(f"note: {text}", file=sys.stderr)


@contextmanager
def attempt(what: str) -> Iterator[None]:
    """Run a block that the program can do without, such as drawing a figure.

    If the block raises an exception, a note says so and the program continues. The program then
    ends with exit status 1, unless a later attempt with the same name succeeds. The same failure is
    reported once.

    Args:
      what: A phrase that follows "could not", such as "write figure.png".
    """
    try:
        yield
    except Exception as error:  # any kind: the results computed so far matter more
        settle(what, f"could not {what}: {reason(error)}")
    else:
        settle(what)


def settle(what: str, failure: str | None = None) -> None:
    """Record that an attempt succeeded, or that it failed; print a new failure as a note."""
    if failure is None:
        _failed.pop(what, None)
    elif _failed.get(what) != failure:
        note(failure)
        _failed[what] = failure


def begin() -> None:
    """Forget the attempts of a program that ran earlier in this process."""
    _failed.clear()


def all_done() -> bool:
    """Whether the last attempt of each kind succeeded."""
    return not _failed


def reason(error: BaseException) -> str:
    """The operating system's message if the error contains one, otherwise its first line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    known = (os.strerror(number) for number in errno.errorcode)
    return next((message for message in known if message in str(error)), first_line(error))


def first_line(error: BaseException) -> str:
    """The first line of the error's message, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
