"""Checkpoints of a run, written by Orbax: the newest few and the best.

Orbax reads an array with a flipped bit without an error, so a checkpoint also holds the CRC of each
array.
"""

import json
import logging
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..command_line import UserError, note
from ..command_line.notes import first_line, reason, settle


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a folder named after its step. It holds the arrays of a pytree and a record in
    JSON; loading executes no code from the files. Orbax writes it under a temporary name first, so
    a run that is killed leaves the earlier checkpoints as they were. If several processes train
    together, only one has the checkpoints, and the arrays must be whole on each device.

    Args:
      folder: The folder of the checkpoints, created if need be.
      keep: The number of newest checkpoints kept, beside the one of the lowest `loss`.
      read_only: Whether to change nothing, because another process may be training.
    """

    def __init__(self, folder: Path, *, keep: int = 2, read_only: bool = False):
        import orbax.checkpoint as ocp  # takes seconds to import
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

        # Orbax logs a warning for each checkpoint without a metric, and stack traces of errors that
        # a note reports in one line.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        _ignore_late_callbacks()
        self.folder = folder.absolute()
        self._ocp, self._read_only = ocp, read_only
        options = {
            "best_fn": _loss,
            "best_mode": "min",
            "create": False,
            # Orbax would wait for the other processes, which have no checkpoints.
            "multiprocessing_options": ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}
            ),
        }
        if read_only:
            options |= {"read_only": True, "save_interval_steps": 0}
        else:
            best = BestN(
                get_metric_fn=_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False
            )
            options |= {
                "preservation_policy": AnyPreservationPolicy([LatestN(keep), best]),
                "cleanup_tmp_directories": True,
                "enable_async_checkpointing": False,
            }
            for unfinished in sorted(self.folder.glob("*.orbax-checkpoint-tmp*")):
                note(f"{unfinished.name} in {folder} is incomplete and is not used")
        for step in self.folder.glob("[0-9]*"):
            if step.name.isdecimal() and (why := _why_not_listed(step)):
                if read_only:  # Orbax lists all checkpoints or none
                    raise UserError(
                        f"checkpoint {step.name} in {folder} is damaged ({why}); --resume of the "
                        "run puts it aside."
                    )
                self._put_aside(step.name, why)
        try:
            if not read_only:
                self.folder.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(**options)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise UserError(f"cannot keep checkpoints in {folder}: {error.strerror}.") from error

    def save(self, step: int, tree: Any, record: dict[str, Any], *, loss: float | None) -> bool:
        """Save a pytree of arrays and a record. A failure is a note, and training goes on.

        Args:
          loss: The validation loss. A checkpoint without one is kept while it is among the newest.

        Returns:
          Whether the checkpoint was saved.
        """
        if step in self._manager.all_steps():
            return True
        arrays = {name: np.asarray(array) for name, array in as_dict(tree).items()}
        checksums = {name: _checksum(array) for name, array in arrays.items()}
        record = record | {"shapes": _shapes(arrays), "checksums": checksums}
        save = self._ocp.args
        try:
            self._manager.save(
                step,
                args=save.Composite(arrays=save.StandardSave(arrays), record=save.JsonSave(record)),
                metrics=None if loss is None else {"loss": loss},
                force=True,
            )
            self._manager.wait_until_finished()
        except Exception as error:  # a full disk raises various errors of Orbax and TensorStore
            why = f"checkpoint {step} could not be saved in {self.folder}: {reason(error)}"
            settle(f"save in {self.folder}", why)
            for remains in self.folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(remains, ignore_errors=True)
            self._manager.reload()
            return False
        settle(f"save in {self.folder}")
        return True

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The pytree and the record of the newest intact checkpoint; None if there is none.

        A damaged checkpoint is renamed to `damaged-STEP`, and a note names it.

        Args:
          like: A pytree of the same structure, shapes and dtypes.

        Raises:
          UserError: The newest intact checkpoint has another structure.
        """
        shapes = _shapes(as_dict(like))

        def require_same(found, record):
            if record["shapes"] != shapes:
                raise UserError(f"checkpoint {found} in {self.folder} is of another model.")

        for _, loaded, record in self._intact(sorted(self.steps, reverse=True), require_same):
            return from_dict(loaded, like), record
        return None

    def load(
        self, step: int | None = None
    ) -> tuple[int, dict[str, jax.Array], dict[str, Any]] | None:
        """The step, the named arrays and the record of a checkpoint; None if none is intact.

        Args:
          step: The step of the checkpoint. By default it is the best intact one, then the newest.
        """
        newest_first = sorted(self.steps, reverse=True)
        best_first = sorted(newest_first, key=lambda found: found != self.best)
        return next(self._intact(best_first if step is None else [step]), None)

    def _intact(
        self, steps: Iterable[int], check: Callable[[int, dict[str, Any]], None] = lambda *_: None
    ) -> Iterator[tuple[int, dict[str, jax.Array], dict[str, Any]]]:
        """The checkpoints of these steps that are intact; the others are put aside."""
        for found in steps:
            try:
                loaded, record = self._read(found, check)
            except UserError:  # it is intact, but of another model
                raise
            except Exception as error:  # damage raises various errors of Orbax and TensorStore
                self._put_aside(found, first_line(error))
                if not self._read_only:
                    self._manager.reload()
                continue
            yield found, loaded, record

    def _read(self, step, check) -> tuple[dict[str, jax.Array], dict[str, Any]]:
        restore = self._ocp.args
        record = self._manager.restore(
            step, args=restore.Composite(record=restore.JsonRestore())
        ).record
        check(step, record)
        like = {name: np.empty(*as_saved) for name, as_saved in record["shapes"].items()}
        loaded = self._manager.restore(
            step, args=restore.Composite(arrays=restore.StandardRestore(like))
        ).arrays
        for name, checksum in record["checksums"].items():
            if _checksum(loaded[name]) != checksum:
                raise ValueError(f"{name} is not what was saved")
        return jax.tree.map(jnp.asarray, loaded), record

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints, in order."""
        return sorted(self._manager.all_steps())

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the lowest loss."""
        return self._manager.best_step()

    def close(self) -> None:
        """Wait until everything is written."""
        self._manager.close()

    def _put_aside(self, step, why):
        done = "not used" if self._read_only else "put aside"
        note(f"checkpoint {step} in {self.folder} is damaged ({why}): {done}")
        if self._read_only:
            return
        aside = self.folder / f"damaged-{step}"
        shutil.rmtree(aside, ignore_errors=True)
        (self.folder / str(step)).rename(aside)


def _why_not_listed(checkpoint: Path) -> str:
    """Why Orbax could not list the checkpoints with this one among them; empty if it can."""
    for name in ("_CHECKPOINT_METADATA", "metrics/metrics"):
        try:
            content = json.loads((checkpoint / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            return f"{name}: {first_line(error)}"
        is_whole = isinstance(content, dict)
        if is_whole and name == "metrics/metrics":
            is_whole = isinstance(content.get("loss"), float | int)
        if not is_whole:
            return f"{name} is not what was saved"
    return ""


def _ignore_late_callbacks():
    """Hide the errors of TensorStore's callbacks that arrive after Orbax has reported the first.

    Orbax closes the event loop that they report to, and Python would print a stack trace for each.
    """
    before = sys.unraisablehook
    if hasattr(before, "ignores_late_callbacks"):
        return

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    hook.ignores_late_callbacks = True
    sys.unraisablehook = hook


def _loss(metrics):
    return metrics["loss"]


def as_dict(tree):
    """The arrays of a pytree by their paths. Random keys become integers."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): _raw(leaf) for path, leaf in leaves
    }


def from_dict(arrays, like):
    """The pytree with the structure of `like` and the arrays that `as_dict` returned."""
    leaves, treedef = jax.tree.flatten(like)
    in_order = [arrays[name] for name in as_dict(like)]
    loaded = [
        jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else array
        for array, leaf in zip(in_order, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, loaded)


def _shapes(arrays):
    return {name: [list(array.shape), str(array.dtype)] for name, array in arrays.items()}


def _is_key(leaf):
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf):
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _checksum(array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
