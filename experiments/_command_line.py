"""From a command line to a checked `Config`, and from a user's mistake to one line."""

import contextlib
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ._user_error import UserError

Config = TypeVar("Config")


def run(main: Callable[[Config], Any], config: type[Config], args: Sequence[str] | None = None):
    """Call `main` with a config read from the command line.

    The fields of the dataclass `config` are the options, the comments beside them the help. A
    mistake of the user's ends the process with one line on standard error and exit status 2.
    """
    import tyro

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed = tyro.cli(config, args=args, prog=_program(main))
    except SystemExit as end:
        if end.code:
            _fail(_program(main), _one_line(errors.getvalue()))
        raise
    try:
        main(parsed)
    except UserError as error:
        _fail(_program(main), str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _fail(program: str, message: str):
    print(f"{program}: error: {message}", file=sys.stderr)
    sys.exit(2)


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


def require_training_options(config) -> None:
    """Check what both experiments train by, before anything slow starts."""
    require(config.epochs >= 1, f"--epochs must be at least 1, got {config.epochs}.")
    require(
        config.batch_size is None or config.batch_size >= 1,
        f"--batch-size must be at least 1, got {config.batch_size}.",
    )
    require(
        0 < config.learning_rate < float("inf"),
        f"--learning-rate must be positive and finite, got {config.learning_rate}.",
    )
    require(0 <= config.momentum < 1, f"--momentum must be in [0, 1), got {config.momentum}.")
    require(0 <= config.seed < 2**31, f"--seed must be in 0..2^31 - 1, got {config.seed}.")
    require(config.seeds >= 1, f"--seeds must be at least 1, got {config.seeds}.")


def make_output_dir(folder: Path) -> None:
    """Make the folder and see that files can be written there, before hours of training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to --output-dir {folder}: {error.strerror}.") from error
