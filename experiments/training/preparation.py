"""What precedes a run: its processes have met, its folder is locked, and its images are read."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import filelock

from .. import data
from ..command_line import UserError, note
from ..data import WHOLE, Dataset, Part
from . import memory, processes
from .options import TrainingOptions, has_checkpoint

_LOCK = ".lock"


@contextmanager
def prepared(options: TrainingOptions) -> Iterator[tuple[Path | None, Dataset]]:
    """Meet the other processes, take possession of the run's folder, and read the images.

    Yields the folder, or None in any process but the first, and this process's part of the images.

    Raises:
      UserError: The processes did not meet, the folder cannot be written to or is in use, the
        images cannot be read, or `--resume` would continue a different run.
    """
    if options.coordinator is not None:
        processes.join(options.coordinator, options.num_processes or 1, options.process_id or 0)
    if options.malloc_tuning:
        memory.keep_freed_memory()
    with ExitStack() as until_the_end:
        with processes.ending_together():
            folder = None
            if processes.is_first():
                folder = until_the_end.enter_context(_locked_folder(options))
            dataset = load(options, processes.part())
            if folder is not None and options.resume:
                _require_same_data(folder, options.require_same_run(), dataset)
        if processes.is_first():
            note(f"{options.dataset}: {dataset.describe()}")
        yield folder, dataset


@contextmanager
def _locked_folder(options: TrainingOptions) -> Iterator[Path]:
    """The run's folder, locked against other runs. It is removed if nothing was written to it."""
    folder = options.folder()
    lock = filelock.FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(f"another run is writing to {folder}.") from None
    try:
        if not options.resume and has_checkpoint(folder):
            raise UserError(
                f"{folder} holds a run: --resume {folder} continues it, another --output-dir "
                "begins anew."
            )
        yield folder
    finally:
        lock.release()
        (folder / _LOCK).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


def _require_same_data(folder: Path, config: dict[str, Any], dataset: Dataset):
    before, now = config.get("data"), dataset.identity()
    before = {name: value for name, value in (before or {}).items() if name != "background"}
    differing = [name for name, value in before.items() if value != now[name]]
    if differing:
        raise UserError(
            f"--resume: the images differ from those of the run in {folder} in their "
            f"{', '.join(differing)}: it had {', '.join(f'{before[name]}' for name in differing)}, "
            f"now there are {', '.join(f'{now[name]}' for name in differing)}."
        )


def load(options: TrainingOptions, part: Part = WHOLE) -> Dataset:
    """The images that the options name, or a process's part of them."""
    return data.load(
        options.dataset,
        data_dir=options.data_dir,
        cache_dir=options.cache_dir,
        image_size=options.image_size,
        part=part,
        needs_labels=options.needs_labels,
        skip_bad_files=options.skip_bad_files,
    )
