"""Output folders, and files that are written whole or not at all."""

import io
import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import UserError


def make_output_dir(folder: Path) -> None:
    """Create a folder and write a test file there, so that a mistake is found before training.

    Raises:
      UserError: The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write to --output-dir {folder}: {error.strerror}.") from error


@contextmanager
def written_whole(file: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `file` if the block ends without an error.

    No reader sees half a file, and a full disk leaves the earlier file as it was.
    """
    with tempfile.NamedTemporaryFile(
        dir=file.parent, prefix=f".{file.name}.", delete=False
    ) as opened:
        temporary = Path(opened.name)
        try:
            yield opened
            opened.close()
            temporary.chmod(0o644)
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)  # its space is needed by the next attempt
            raise


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file whole or not at all.

    Raises:
      UserError: The file cannot be written.
    """
    try:
        with written_whole(file) as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}.") from error


def write_json(file: Path, content: Any) -> None:
    """Write JSON whole or not at all. Infinities and NaN, which JSON lacks, become null."""
    text = json.dumps(_finite(content), indent=2, default=str, allow_nan=False)
    write_whole(file, text + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_figure(file: Path, figure: Any) -> None:
    """Write a Matplotlib figure whole or not at all, in the format that the suffix names.

    Raises:
      UserError: The file cannot be written, or Matplotlib does not know the format.
    """
    kind = file.suffix.lower().removeprefix(".") or "png"
    if kind not in figure.canvas.get_supported_filetypes():
        raise UserError(f"cannot draw {file}: .{kind} is not an image format; try .png.")
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=150)
    write_whole(file, content.getvalue())
