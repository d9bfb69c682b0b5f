"""Where the time of a program goes: a profile for TensorBoard, and its longest instructions."""

import gzip
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

_CALLS = 10


def profiled(call: Callable[[], Any], folder: Path) -> dict[str, float]:
    """Run a program some times under JAX's profiler.

    Args:
      call: Starts the program.
      folder: Where the profile is written.

    Returns:
      The seconds of a call in each instruction of the program, the longest first. It is empty if
      the profile names none.
    """
    jax.block_until_ready(call())
    with jax.profiler.trace(str(folder)):
        for _ in range(_CALLS):
            result = call()
        jax.block_until_ready(result)
    newest = max(folder.rglob("*.trace.json.gz"), key=lambda file: file.stat().st_mtime)
    with gzip.open(newest) as opened:
        events = json.load(opened)["traceEvents"]
    seconds: dict[str, float] = defaultdict(float)
    for event in events:
        if instruction := event.get("args", {}).get("hlo_op"):
            seconds[instruction] += 1e-6 * event["dur"] / _CALLS
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
