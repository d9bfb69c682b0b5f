"""The files of a run: its options, its metrics and its environment.

config.json              experiment, network, images and classes, options, versions, device
metrics.csv              a row for each epoch and seed
events.out.tfevents.*    the same for TensorBoard: tensorboard --logdir FOLDER
checkpoints/             see `checkpoints`
"""

import contextlib
import csv
import importlib.metadata
import io
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from ..command_line import UserError, attempt, write_json, write_whole

Entry = dict[str, float]  # the metrics of an epoch


class Records:
    """The files of one run, updated after each epoch.

    If a file cannot be written, a note says so, and the next epoch tries again: the metrics of all
    epochs stay in memory and in the checkpoints.

    Args:
      folder: The folder of the run.
      config: The content of config.json, beside the environment.
      seed: The first seed of the run.
    """

    def __init__(self, folder: Path, config: dict[str, Any], seed: int = 0):
        self.folder, self._first_seed = folder, seed
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", config | {"environment": environment()})
        self._events: Any = None
        self._written = 0  # epochs in the event file

    def write(self, histories: Sequence[Sequence[Entry]]) -> None:
        """Write the metrics of all epochs so far: for each seed a list of entries."""
        of_seeds = list(enumerate(histories, start=self._first_seed))
        rows = [{"seed": seed} | entry for seed, entries in of_seeds for entry in entries]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        with attempt(f"write {self.folder / 'metrics.csv'}"):
            write_whole(self.folder / "metrics.csv", text.getvalue())
        with attempt(f"write TensorBoard's events in {self.folder}"):
            try:
                self._write_events(of_seeds)
            except OSError:
                self.close()  # the file may end in half an event: write all of them again
                raise

    def _write_events(self, of_seeds):
        # tensorboardX's SummaryWriter writes in a thread, which a full disk ends with a stack
        # trace; its RecordWriter raises the error here.
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.record_writer import RecordWriter
        from tensorboardX.summary import scalar

        def write(**content):
            self._events.write(Event(wall_time=time.time(), **content).SerializeToString())

        if self._events is None:
            self._written = 0
            for old in self.folder.glob("events.out.tfevents.*"):
                old.unlink()  # of the same run before it was resumed
            name = f"events.out.tfevents.{int(time.time())}.{platform.node()}"
            self._events = RecordWriter(str(self.folder / name))
            write(file_version="brain.Event:2")
        for seed, entries in of_seeds:
            for entry in entries[self._written :]:
                for name, value in entry.items():
                    label = name if len(of_seeds) == 1 else f"{name}/seed_{seed}"
                    write(step=int(entry["epoch"]), summary=scalar(label, value))
        self._events.flush()
        self._written = len(of_seeds[0][1])

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()
            self._events = None


def environment() -> dict[str, str]:
    """Versions, platform and devices, on which results may depend."""
    versions = {}
    for name in ("jaxconv", "jax", "jaxlib", "flax", "optax", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **versions,
        "platform": platform.platform(),
        "device": f"{jax.device_count()} x {device.platform} {device.device_kind}",
        "cpu_count": str(os.cpu_count()),
    }


def runs_in(folder: Path) -> list[Path]:
    """The folder itself if it is a run's, otherwise the runs up to two levels below, in order."""
    for pattern in ("config.json", "*/config.json", "*/*/config.json"):
        found = sorted(file.parent for file in folder.glob(pattern))
        if found:
            return found
    return []


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a run.

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
      UserError: The folder holds no metrics.
    """
    file = folder / "metrics.csv"
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(opened)]
        seeds = sorted({row["seed"] for row in rows})
        if not rows:
            raise ValueError("no epoch in it")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder} holds no run: cannot read its {file.name} ({error}).") from error
    return [
        [{k: v for k, v in row.items() if k != "seed"} for row in rows if row["seed"] == seed]
        for seed in seeds
    ]
