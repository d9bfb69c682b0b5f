"""What a run leaves in its folder: its configuration, its metrics, what it ran on.

config.json              experiment, network, images and classes, options, versions, device
metrics.csv              a row an epoch (and seed)
events.out.tfevents.*    the same for TensorBoard: tensorboard --logdir FOLDER
checkpoints/             see checkpoints.py
"""

import contextlib
import csv
import importlib.metadata
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from ._notes import attempt
from ._user_error import UserError

Entry = dict[str, float]  # the metrics of an epoch


class Records:
    """The files of one run, brought up to date after each epoch.

    A file that can't be written is a note, and is tried again after the next epoch: training goes
    on, and the metrics of all epochs are in memory and in the checkpoints.

    Args:
      folder: The run's.
      config: What the run was told, for config.json.
    """

    def __init__(self, folder: Path, config: dict[str, Any]):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", config | {"environment": environment()})
        self._events: Any = None
        self._written = 0  # epochs that are in the file of events

    def write(self, histories: Sequence[Sequence[Entry]]) -> None:
        """Write the metrics of all epochs so far; `histories` has a list of entries a seed."""
        rows = [
            {"seed": seed} | entry for seed, entries in enumerate(histories) for entry in entries
        ]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        with attempt(f"write {self.folder / 'metrics.csv'}"):
            write_atomically(self.folder / "metrics.csv", text.getvalue())
        with attempt(f"write TensorBoard's events in {self.folder}"):
            try:
                self._write_events(histories)
            except OSError:
                self.close()  # it may end in half an event: next time, all are written anew
                raise

    def _write_events(self, histories):
        # Not SummaryWriter, whose thread dies of a full disk with a stack of its own.
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        def write(**content):
            self._events.write(Event(wall_time=time.time(), **content).SerializeToString())

        if self._events is None:
            self._written = 0
            for old in self.folder.glob("events.out.tfevents.*"):
                old.unlink()  # of the same run before it was continued: what counts is written anew
            name = f"events.out.tfevents.{int(time.time())}.{platform.node()}"
            self._events = RecordWriter(str(self.folder / name))
            write(file_version="brain.Event:2")
        for seed, entries in enumerate(histories):
            for entry in entries[self._written :]:
                for name, value in entry.items():
                    label = name if len(histories) == 1 else f"{name}/seed_{seed}"
                    write(step=int(entry["epoch"]), summary=scalar(label, value))
        self._events.flush()
        self._written = len(histories[0])

    def close(self) -> None:
        """Close what TensorBoard reads; all is written already."""
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()
            self._events = None


def environment() -> dict[str, str]:
    """What a result may depend on: versions, platform and device."""
    packages = ("jaxconv", "jax", "jaxlib", "flax", "optax", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages if _installed(name)}
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **versions,
        "platform": platform.platform(),
        "device": f"{jax.device_count()} x {device.platform} {device.device_kind}",
        "cpu_count": str(os.cpu_count()),
    }


def write_json(file: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_atomically(file, json.dumps(content, indent=2, default=str) + "\n")


def write_atomically(file: Path, content: str | bytes) -> None:
    """Write beside the file and rename: no reader sees half of it, and a full disk loses nothing.

    Raises:
      UserError: It can't be written.
    """
    beside = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=file.parent, prefix=f".{file.name}.", delete=False
        ) as opened:
            beside = Path(opened.name)
            opened.write(content.encode() if isinstance(content, str) else content)
        beside.chmod(0o644)
        beside.replace(file)
    except OSError as error:
        if beside is not None:  # it takes room that the next attempt needs
            beside.unlink(missing_ok=True)
        raise UserError(f"cannot write {file}: {error.strerror}.") from error


def write_figure(file: Path, figure: Any) -> None:
    """Write a figure of matplotlib, whole or not at all, in the format that the name ends in.

    Raises:
      UserError: It can't be written, or there is no such format.
    """
    kind, known = file.suffix.lower().removeprefix(".") or "png", figure.canvas
    if kind not in known.get_supported_filetypes():
        raise UserError(f"cannot draw {file}: .{kind} is no format of figures; .png is one.")
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=150)
    write_atomically(file, content.getvalue())


def runs_in(folder: Path) -> list[Path]:
    """The folder itself if it is a run's, or else the runs up to two levels below, in order."""
    for pattern in ("config.json", "*/config.json", "*/*/config.json"):
        found = sorted(file.parent for file in folder.glob(pattern))
        if found:
            return found
    return []


def read_config(folder: Path) -> dict[str, Any]:
    """What a run was told, and what it ran on.

    Raises:
      UserError: The folder holds no run.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        return config | {"options": dict(config["options"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder} holds no run: cannot read its {file.name} ({error}).") from error


def read_metrics(folder: Path) -> list[list[Entry]]:
    """The metrics of a run: for each seed an entry an epoch.

    Raises:
      UserError: The folder holds none.
    """
    file = folder / "metrics.csv"
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            texts = list(csv.DictReader(opened))
        rows = [{name: float(text) for name, text in row.items()} for row in texts]
        seeds = sorted({row["seed"] for row in rows})
        if not rows:
            raise ValueError("no epoch in it")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder} holds no run: cannot read its {file.name} ({error}).") from error
    return [
        [{k: v for k, v in row.items() if k != "seed"} for row in rows if row["seed"] == seed]
        for seed in seeds
    ]


def _installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
