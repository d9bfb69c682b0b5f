"""What a run leaves in its folder: its configuration, its metrics, what it ran on.

config.json              experiment, network, images and classes, options, versions, device
metrics.csv              a row an epoch (and seed)
events.out.tfevents.*    the same for TensorBoard: tensorboard --logdir FOLDER
checkpoints/             see checkpoints.py
"""

import csv
import importlib.metadata
import io
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from ._user_error import UserError

Entry = dict[str, float]  # the metrics of an epoch


class Records:
    """The files of one run, brought up to date after each epoch.

    Args:
      folder: The run's.
      config: What the run was told, for config.json.
    """

    def __init__(self, folder: Path, config: dict[str, Any]):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", config | {"environment": environment()})
        self._events: Any = None
        self._written = 0

    def write(self, histories: Sequence[Sequence[Entry]]) -> None:
        """Write the metrics of all epochs so far; `histories` has a list of entries a seed."""
        rows = [
            {"seed": seed} | entry for seed, entries in enumerate(histories) for entry in entries
        ]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(self.folder / "metrics.csv", text.getvalue())
        self._write_events(histories)

    def _write_events(self, histories):
        from tensorboardX import SummaryWriter

        epochs = len(histories[0])
        if self._events is None:
            for old in self.folder.glob("events.out.tfevents.*"):
                old.unlink()  # of the same run before it was continued: what counts is written anew
            self._events = SummaryWriter(str(self.folder))
        for seed, entries in enumerate(histories):
            for entry in entries[self._written :]:
                for name, value in entry.items():
                    label = name if len(histories) == 1 else f"{name}/seed_{seed}"
                    self._events.add_scalar(label, value, int(entry["epoch"]))
        self._events.flush()
        self._written = epochs

    def close(self) -> None:
        """Close what TensorBoard reads."""
        if self._events is not None:
            self._events.close()


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
    try:
        with tempfile.NamedTemporaryFile(
            dir=file.parent, prefix=f".{file.name}.", delete=False
        ) as beside:
            beside.write(content.encode() if isinstance(content, str) else content)
        os.chmod(beside.name, 0o644)
        os.replace(beside.name, file)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}.") from error


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
