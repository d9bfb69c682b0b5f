"""The machine and the versions that the benchmark ran with."""

import os
import platform
from importlib import metadata
from typing import Any

import jax


def cores() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def torch_version() -> str | None:
    """The version of PyTorch, or None if it is not installed."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def description() -> dict[str, Any]:
    """Versions, platform and cores."""
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": metadata.version("jaxlib"),
        "torch": torch_version(),
        "platform": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
        "cores": cores(),
    }
