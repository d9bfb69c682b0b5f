"""Checkpoints of a run, written by Orbax: the newest few and the best, each whole or not at all."""

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

from ._notes import first_line, note, reason, settle
from ._user_error import UserError


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is a folder named for its step, which holds the arrays of a pytree and a record in
    JSON. It is written beside and renamed, so a run that is killed leaves the earlier ones as they
    were. Arrays and JSON are data: loading runs no code from the files. Of several processes that
    train together, one has the checkpoints; arrays must be whole on each device.

    Args:
      folder: Where they lie; made if need be.
      keep: How many of the newest are kept, beside the one of the lowest `loss`.
      read_only: Change nothing there: another process may be training.
    """

    def __init__(self, folder: Path, *, keep: int = 2, read_only: bool = False):
        import orbax.checkpoint as ocp  # seconds to import, which only runs that save spend
        from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

        # Orbax warns of checkpoints without a metric, as ours between two epochs are, and of what
        # it shall only read. Of what fails, it prints whole stacks, where a note says it in a line.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        _pass_over_late_callbacks()
        self.folder = folder.absolute()
        self._ocp, self._read_only = ocp, read_only
        common = {
            "best_fn": _loss,
            "best_mode": "min",
            "create": False,
            # It need not wait for other processes, which don't come here.
            "multiprocessing_options": ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}
            ),
        }
        if read_only:
            options = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, **common)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
            return
        best = BestN(get_metric_fn=_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(keep), best]),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=False,
            **common,
        )
        for cut_short in sorted(self.folder.glob("*.orbax-checkpoint-tmp*")):
            note(f"{cut_short.name} in {folder} was not written to its end and is not used")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise UserError(f"cannot keep checkpoints in {folder}: {error.strerror}.") from error

    def save(self, step: int, tree: Any, record: dict[str, Any], *, loss: float | None) -> bool:
        """Save a pytree of arrays and a record; whether it could be: a failure is a note.

        Training goes on where the disk is full: the arrays in memory are the better copy. Without
        a loss, the checkpoint is kept as long as it is among the newest.
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
        except Exception as error:  # a full disk, in many kinds of Orbax's and TensorStore's
            why = f"checkpoint {step} could not be saved in {self.folder}: {reason(error)}"
            settle(f"save in {self.folder}", why)
            for remains in self.folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(remains, ignore_errors=True)
            self._manager.reload()
            return False
        settle(f"save in {self.folder}")
        return True

    def restore(self, like: Any, step: int | None = None) -> tuple[Any, dict[str, Any]] | None:
        """The newest checkpoint that is whole, or None where there is none.

        A damaged one is named, put aside as `damaged-STEP`, and the one before it is used.

        Args:
          like: A pytree of the same structure, shapes and dtypes.
          step: Of the checkpoint wanted; by default the newest.

        Raises:
          UserError: The newest whole checkpoint is of another structure.
        """
        shapes = _shapes(as_dict(like))

        def require_same(found, record):
            if record["shapes"] != shapes:
                raise UserError(f"checkpoint {found} in {self.folder} is of another model.")

        steps = sorted(self.steps if step is None else [step], reverse=True)
        for _, loaded, record in self._whole(steps, require_same):
            return from_dict(loaded, like), record
        return None

    def load(
        self, step: int | None = None
    ) -> tuple[int, dict[str, jax.Array], dict[str, Any]] | None:
        """A checkpoint whatever it is of: (step, arrays by their names, record).

        Args:
          step: Of the checkpoint wanted; by default the best that is whole, or else the newest.

        Returns:
          None where there is none that is whole. A damaged one is named.
        """
        newest_first = sorted(self.steps, reverse=True)
        best_first = sorted(newest_first, key=lambda found: found != self.best)
        return next(self._whole(best_first if step is None else [step]), None)

    def _whole(
        self, steps: Iterable[int], check: Callable[[int, dict[str, Any]], None] = lambda *_: None
    ) -> Iterator[tuple[int, dict[str, jax.Array], dict[str, Any]]]:
        """Of these steps, those that are whole; the others are put aside as they are met."""
        for found in steps:
            try:
                loaded, record = self._read(found, check)
            except UserError:  # it is whole, and of something else
                raise
            except Exception as error:  # what damage makes Orbax and TensorStore raise is open
                self._put_aside(found, error)
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
        """The steps of which there are checkpoints, in order."""
        return sorted(self._manager.all_steps())

    @property
    def best(self) -> int | None:
        """The step of the lowest loss."""
        return self._manager.best_step()

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.close()

    def _put_aside(self, step, error):
        if self._read_only:
            note(f"checkpoint {step} in {self.folder} is damaged ({first_line(error)}): not used")
            return
        note(f"checkpoint {step} in {self.folder} is damaged ({first_line(error)}): put aside")
        aside = self.folder / f"damaged-{step}"
        shutil.rmtree(aside, ignore_errors=True)
        (self.folder / str(step)).rename(aside)
        self._manager.reload()


def _pass_over_late_callbacks():
    """Print no stacks of TensorStore's: where one of its reads or writes has failed, the others end
    after Orbax has closed the event loop that they report to.
    """
    before = sys.unraisablehook
    if hasattr(before, "passes_over_late_callbacks"):
        return

    def hook(unraisable):
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    hook.passes_over_late_callbacks = True
    sys.unraisablehook = hook


def _loss(metrics):
    return metrics["loss"]


def as_dict(tree):
    """The arrays by their place in the pytree; random keys as the integers they are made of."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): _raw(leaf) for path, leaf in leaves
    }


def from_dict(arrays, like):
    """A pytree structured as `like`, of the arrays by their place in it."""
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
