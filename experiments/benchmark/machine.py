"""What ran the benchmark: versions and processor, for the record."""

import os
import platform
from importlib import metadata
from typing import Any

import jax

from . import torch_peer


def cores() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def description() -> dict[str, Any]:
    """Versions, platform and cores."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "torch": torch_peer.version(),
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cores": cores(),
    }
