"""Several processes that train one model. Each has devices and a part of the images.

They are started with the same options except for their number, and meet at an address of the first:

    python -m experiments.classifier --coordinator HOST:PORT --num-processes 2 --process-id 0
    python -m experiments.classifier --coordinator HOST:PORT --num-processes 2 --process-id 1

Only the first process writes records, checkpoints, tables and figures. If a process dies, the
others end with a message within a minute. If one hangs, they say so, and end after an hour. Started
again with `--resume`, they continue from the checkpoint of the first.

`jax.distributed` connects the processes and notices when one dies. It cannot tell the others why,
which is what this module adds.
"""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..command_line import UserError, note
from ..command_line.notes import first_line
from ..data.part import WHOLE, Part

_BLOCK = 2**20  # pixels that are converted to integers at a time
_MEET_SECONDS = 300  # how long a process waits for the others at the start
_SILENT_SECONDS = 30  # a silent process counts as dead after this time
_LAST_WORDS_SECONDS = 3  # the first process waits, so that the others can report their reason
_FAILED = "experiments/failed/"  # the key under which a process leaves its reason
_ANSWER_SECONDS = 5  # a process that is asked whether it still runs has this time
_HEARD_SECONDS = 1  # another process waits, so that its message arrives
_MET = "experiments/met/"  # the key under which a process counts its meetings
_LATE_SECONDS = 10  # a process that others wait for is named; JAX ends them soon if it is dead
_HANGS_SECONDS = 3600  # and the others end after this one
_END_TOGETHER_SECONDS = 24 * 3600  # the others wait while the first evaluates and draws


def join(coordinator: str, count: int, index: int) -> None:
    """Meet the other processes. Call it before JAX computes anything.

    Raises:
      UserError: The processes did not all arrive.
    """
    if index > 0:
        _wait_for_an_answer(coordinator)  # without an answer, JAX aborts with a C++ stack trace
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            initialization_timeout=_MEET_SECONDS,
            heartbeat_timeout_seconds=_SILENT_SECONDS,
            shutdown_timeout_seconds=_END_TOGETHER_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"the {count} processes did not meet at --coordinator {coordinator}: "
            f"{first_line(error)}"
        ) from error


def _wait_for_an_answer(coordinator):
    host, _, port = coordinator.rpartition(":")
    deadline = time.monotonic() + _MEET_SECONDS
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise UserError(
                    f"nobody answers at --coordinator {coordinator} ({error.strerror or error}): "
                    "the process of --process-id 0 listens there."
                ) from error
        time.sleep(0.1)


def is_first() -> bool:
    """Whether this process writes the files."""
    return jax.process_index() == 0


def part() -> Part:
    """The share of the images that this process reads."""
    if jax.process_count() == 1:
        return WHOLE
    return Part(jax.process_index(), jax.process_count(), jax.local_device_count(), concatenated)


def is_joined() -> bool:
    """Whether this process has met others."""
    return jax.distributed.is_initialized()


def leave(status: int, error: Exception | None = None) -> None:
    """End this process at once if it has met others; they then end, too.

    Python's regular exit would wait for the other processes, which wait for this one.
    """
    if not is_joined():
        return
    if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in str(error):
        # A broken connection. JAX raises some of Gloo's errors as ValueError.
        print(
            f"error: {_who_failed()}. Computing together is not possible without it: start all "
            f"processes again with --resume ({first_line(error)})",
            file=sys.stderr,
        )
    elif error is not None:
        traceback.print_exception(error)
        with contextlib.suppress(Exception):  # the first process may be gone
            _coordination().key_value_set(f"{_FAILED}{jax.process_index()}", first_line(error))
    sys.stdout.flush()
    sys.stderr.flush()
    # The others lose their connection when the first process ends.
    time.sleep(_LAST_WORDS_SECONDS if is_first() else _HEARD_SECONDS)
    os._exit(status)


def _who_failed() -> str:
    """Which of the other processes has failed, and why if it could still say so."""
    try:
        if told := _coordination().key_value_dir_get(_FAILED):
            reasons = (f"process {key.rpartition('/')[2]} failed ({why})" for key, why in told)
            return ", ".join(reasons)
        _coordination().wait_at_barrier("who is there", 1000 * _ANSWER_SECONDS)
    except Exception as error:  # JAX's message names those who did not answer
        missing = re.findall(r"task:(\d+)", str(error).partition("timed out task")[2])
        if not missing and jax.process_count() == 2:
            missing = [str(1 - jax.process_index())]
        elif not missing and not is_first():
            missing = ["0"]  # the others ask the first process, which did not answer
        if missing:
            return f"process {', '.join(missing)} does not answer any more"
    return "one of the processes failed"


def _coordination() -> Any:
    """JAX's connection to the service of the first process, which has no public name."""
    from jax._src import distributed

    return distributed.global_state.client


_meetings = 0


@contextmanager
def meeting() -> Iterator[None]:
    """Run a block that computes something together, when all processes have come to it.

    Gloo, which connects CPUs, gives up after half a minute, but a process may have more images to
    read than another. JAX notices a process that has died, and not one whose Python hangs. A note
    says who is late. After an hour this process ends; what it has saved can be continued.
    """
    global _meetings
    if jax.process_count() == 1:
        yield
        return
    _meetings += 1
    _coordination().key_value_set(f"{_MET}{jax.process_index()}", str(_meetings), True)
    is_over = threading.Event()
    threading.Thread(target=_watch, args=(_meetings, is_over), daemon=True).start()
    try:
        _coordination().wait_at_barrier(f"{_MET}{_meetings}", 2000 * _HANGS_SECONDS)
        yield
    finally:
        is_over.set()


def _watch(number: int, is_over: threading.Event) -> None:
    if is_over.wait(_LATE_SECONDS):
        return
    who = _who_is_late(number)
    note(f"{who} has kept the others waiting for {_LATE_SECONDS} s")
    if is_over.wait(_HANGS_SECONDS - _LATE_SECONDS):
        note(f"{who} goes on")
        return
    print(
        f"error: {who} has kept the others waiting for {_HANGS_SECONDS} s: end it, and start all "
        "processes again with --resume",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def _who_is_late(number: int) -> str:
    """The processes that have not come to a meeting. All may have, and one does not go on."""
    try:
        met = {key.rpartition("/")[2]: int(n) for key, n in _coordination().key_value_dir_get(_MET)}
    except Exception:  # the first process may be the one that hangs
        return "process 0"
    late = [str(i) for i in range(jax.process_count()) if met.get(str(i), 0) < number]
    return f"process {', '.join(late)}" if late else "one of the processes"


# ---- messages --------------------------------------------------------------------------------
# In each exchange, every process first says whether it can continue. If one cannot, the others
# receive its reason in place of the value that they expect.


class OtherFailed(UserError):
    """Another process could not do its part."""


@contextmanager
def ending_together() -> Iterator[None]:
    """Run a block that may fail in one process alone, such as reading a part of the images.

    Raises:
      OtherFailed: The block failed in another process. The message is its reason.
    """
    if jax.process_count() == 1:
        yield
        return
    try:
        yield
    except (OtherFailed, jax.errors.JaxRuntimeError):  # the latter: nobody may be there to tell
        raise
    except Exception as error:  # whatever it is, the other processes must not wait for this one
        said = first_line(error) if isinstance(error, UserError) else repr(error)[:200]
        with contextlib.suppress(Exception):
            _exchange({"failure": said})
        raise
    from_all(None)


def from_all(value: Any) -> list[Any]:
    """The values of all processes, in their order. JSON must be able to hold them.

    Raises:
      OtherFailed: A block that was to end together failed in another process.
    """
    if jax.process_count() == 1:
        return [value]
    messages = _exchange({"value": value})
    for index, message in enumerate(messages):
        if "failure" in message:
            raise OtherFailed(f"process {index} failed, and all end with it: {message['failure']}")
    return [message["value"] for message in messages]


def _exchange(message: dict[str, Any]) -> list[dict[str, Any]]:
    line = np.frombuffer(json.dumps(message).encode() + b"\n", np.uint8)
    with meeting():
        return [json.loads(line) for line in _concatenated(line).tobytes().splitlines()]


def concatenated(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, in their order. Their numbers may differ."""
    if jax.process_count() == 1:
        return rows
    from_all(None)
    with meeting():
        return _concatenated(rows)


def _concatenated(rows: np.ndarray) -> np.ndarray:
    counts = multihost_utils.process_allgather(np.int32(len(rows)))
    padded = np.zeros((counts.max(), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    everyone = multihost_utils.process_allgather(padded)
    return np.concatenate([of[:count] for of, count in zip(everyone, counts, strict=True)])


def moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """The mean and the standard deviation of each channel, in [0, 1], over all processes' images.

    Args:
      images: Those of this process, uint8 `(n, h, w, c)`.
    """
    pixels = images.reshape(-1, images.shape[-1])
    sums = np.zeros((2, pixels.shape[-1]), np.int64)  # of integers: the order does not matter
    for start in range(0, len(pixels), _BLOCK):
        block = pixels[start : start + _BLOCK].astype(np.int64)
        sums += [block.sum(axis=0), (block**2).sum(axis=0)]
    every = from_all([len(pixels), *sums.tolist()])
    count = sum(each[0] for each in every)
    mean, square = (np.sum([each[i] for each in every], axis=0) / count / 255**i for i in (1, 2))
    return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 0)).tolist()


def arrays_from_first(arrays: Any) -> Any:
    """The first process's arrays. All processes pass pytrees of the same structure."""
    if jax.process_count() == 1:
        return arrays
    from_all(None)
    with meeting():
        return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, arrays))


# ---- arrays on the devices of all processes --------------------------------------------------


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copy arrays that are the same in all processes to every device."""
    sharding = NamedSharding(mesh, P())

    def place(array):
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            data = place(jax.random.key_data(array))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
        held = np.asarray(array)
        return jax.make_array_from_callback(held.shape, sharding, lambda index: held[index])

    return jax.tree.map(place, tree)


def local(tree: Any) -> Any:
    """The copy of replicated arrays on the first device of this process."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def spread(rows: np.ndarray, size: int, mesh: Mesh) -> jax.Array:
    """Distribute rows over the devices of all processes.

    Args:
      rows: The rows `part().rows(size)` that this process holds.
      size: The number of rows in all. Rows of zeros fill it up to a multiple of the devices.
      mesh: The devices.
    """
    processes = jax.process_count()
    block = Part(0, processes, mesh.size // processes).block(size)
    padded = np.zeros((block, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    shape = (block * processes, *rows.shape[1:])
    sharding = NamedSharding(mesh, P(mesh.axis_names[0]))
    return jax.make_array_from_process_local_data(sharding, padded, shape)
