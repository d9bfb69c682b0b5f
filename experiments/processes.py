"""Several processes that train one model together, each with devices and images of its own.

They are started alike but for their number, and meet at an address of the first one:

    python -m experiments.classifier --coordinator HOST:PORT --num-processes 2 --process-id 0
    python -m experiments.classifier --coordinator HOST:PORT --num-processes 2 --process-id 1

The first one alone writes: records, checkpoints, tables, figures. Where one dies, the others end
with a message within a minute; started again with `--resume`, they go on from its checkpoint.
"""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ._notes import first_line
from ._user_error import UserError
from .data.part import WHOLE, Part

_MEET_SECONDS = 300  # how long they wait for each other in the beginning
_SILENT_SECONDS = 30  # one that says nothing is dead then; one whose connection breaks, at once
_LAST_WORDS_SECONDS = 3  # the first process's, in which the others can still give their reason
_HEARD_SECONDS = 1  # another's, in which what it told the others arrives
_END_TOGETHER_SECONDS = 24 * 3600  # the first one may draw and evaluate while the others wait


def join(coordinator: str, count: int, index: int) -> None:
    """Meet the other processes. Before this, nothing may have been computed.

    Raises:
      UserError: Not all came to the same place.
    """
    if index > 0:
        _wait_for_an_answer(coordinator)  # JAX would stop the process with a stack of C++ calls
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
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the {count} processes did not meet at --coordinator {coordinator}: {reason}"
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
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def part() -> Part:
    """What this process reads."""
    if jax.process_count() == 1:
        return WHOLE
    return Part(jax.process_index(), jax.process_count(), jax.local_device_count())


def is_joined() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized()


def leave(code: int) -> NoReturn:
    """End this process at once where there are others, which then do so too.

    A regular end waits for them, as they wait for this one.
    """
    if not is_joined():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    # With the first ends the place where they meet, and they do before they can say why.
    time.sleep(_LAST_WORDS_SECONDS if is_first() else _HEARD_SECONDS)
    os._exit(code)


# ---- what they tell each other ---------------------------------------------------------------


# Before anything else is exchanged, each says whether it can go on: where one can't, the others
# learn why in place of what they wait for.


class OtherFailed(UserError):
    """Another process could not do its part."""


@contextmanager
def ending_together() -> Iterator[None]:
    """What one process may fail at alone, such as reading its part: then none goes on.

    Raises:
      OtherFailed: Another process failed; the message is its reason.
    """
    if jax.process_count() == 1:
        yield
        return
    try:
        yield
    except (OtherFailed, jax.errors.JaxRuntimeError):  # the latter: there may be nobody to tell
        raise
    except Exception as error:  # whatever it is, the others wait for this process and are told
        said = first_line(error) if isinstance(error, UserError) else repr(error)[:200]
        with contextlib.suppress(Exception):
            _exchange({"failure": said})
        raise
    from_all(None)


def from_all(value: Any) -> list[Any]:
    """A value of each process that JSON can hold, in their order.

    Raises:
      OtherFailed: One of them has failed in what was to end together.
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
    return [json.loads(line) for line in _concatenated(line).tobytes().splitlines()]


def concatenated(rows: np.ndarray) -> np.ndarray:
    """The rows of all processes, in their order; their number may differ."""
    if jax.process_count() == 1:
        return rows
    from_all(None)
    return _concatenated(rows)


def _concatenated(rows: np.ndarray) -> np.ndarray:
    counts = multihost_utils.process_allgather(np.int32(len(rows)))
    padded = np.zeros((counts.max(), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    everyone = multihost_utils.process_allgather(padded)
    return np.concatenate([of[:count] for of, count in zip(everyone, counts, strict=True)])


def arrays_from_first(arrays: Any) -> Any:
    """The first process's arrays, for each of them; all have a pytree of this structure."""
    if jax.process_count() == 1:
        return arrays
    from_all(None)
    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, arrays))


# ---- arrays on the devices of all ------------------------------------------------------------


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Arrays that are alike in all processes, whole on each device."""
    sharding = NamedSharding(mesh, P())

    def place(array):
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            data = place(jax.random.key_data(array))
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
        held = np.asarray(array)
        return jax.make_array_from_callback(held.shape, sharding, lambda index: held[index])

    return jax.tree.map(place, tree)


def local(tree: Any) -> Any:
    """What is whole on each device, on the first one of this process."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def spread(rows: np.ndarray, size: int, mesh: Mesh) -> jax.Array:
    """Rows over the devices of all processes, from each process's part of them.

    Args:
      rows: Those of `part().rows(size)`.
      size: How many there are in all. Rows of zeros make it a multiple of the devices.
    """
    processes = jax.process_count()
    block = Part(0, processes, mesh.size // processes).block(size)
    padded = np.zeros((block, *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    shape = (block * processes, *rows.shape[1:])
    sharding = NamedSharding(mesh, P(mesh.axis_names[0]))
    return jax.make_array_from_process_local_data(sharding, padded, shape)
