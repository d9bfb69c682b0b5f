"""Where oneDNN's convolution is called: where the user says so, because a mistake ends the process.

It is called on x86-64 under Linux, if the environment variable `JAXCONV_ONEDNN` or the active
`Tuning` asks for it:

    JAXCONV_ONEDNN=on       with the versions of jaxlib on which the tests have passed
    JAXCONV_ONEDNN=probe    with any version on which a trial passes, in a process of its own
    JAXCONV_ONEDNN=off      never, whatever the tuning says
    unset                   if the active tuning says that a trial passed with this version

It is off by default because the calls are no public interface, and random trials found faults: with
jaxlib 0.10 some depthwise layers write beyond their arrays, and with every version some outputs of
one channel are never written. Such calls are not made (`_onednn.py`), but nothing says that there
are no others.

XLA can't serialize a program with such a call. So none is made in a program that is exported, and
none where JAX's persistent compilation cache is on. Whoever serializes a compiled program by other
means must turn it off.
"""

import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata

import jax

from ..._compilation import allows_opaque_calls
from .. import tuning

ENVIRONMENT_VARIABLE = "JAXCONV_ONEDNN"
_SETTINGS = ("on", "off", "probe")

# The versions of jaxlib on which the tests have passed.
_VERSIONS = frozenset({"0.11.0", "0.11.1", "0.11.2", "0.12.0", "0.12.0.1"})

# The trial's command, for Python.
_TRIAL = ("-m", "jaxconv.algorithms.cpu._onednn_probe")
# Seconds after which a trial counts as failed. It takes about three, most of them for importing.
_PATIENCE = 120


def why_not_supported() -> str:
    """Why the program that is being compiled must not call oneDNN; empty if it may."""
    if not allows_opaque_calls():
        return "the program is exported, or XLA distributes its arrays over several devices"
    settings = jax.config.values
    if settings["jax_enable_compilation_cache"] and settings["jax_compilation_cache_dir"]:
        return "JAX's persistent compilation cache is on, and XLA can't store such programs"
    return why_not_here()


def why_not_here(setting: str | None = None) -> str:
    """Why oneDNN must not be called on this machine; empty if it may.

    Args:
      setting: What the environment variable says; by default it is read.
    """
    if setting is None:
        setting = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if setting and setting not in _SETTINGS:
        return f"{ENVIRONMENT_VARIABLE} is {setting!r}, and none of {', '.join(_SETTINGS)}"
    if setting == "off":
        return f"{ENVIRONMENT_VARIABLE} turns it off"
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"it was tried on Linux and x86-64 only, not on {sys.platform}, {platform.machine()}"
    if setting == "probe":
        return probe_onednn()
    if setting == "on":
        version = metadata.version("jaxlib")  # from a file, so only where it is needed
        if version in _VERSIONS:
            return ""
        return f"it was not tried with jaxlib {version}, as {ENVIRONMENT_VARIABLE}=probe would"
    active = tuning.active()
    if active is not None and active.onednn and active.machine.jaxlib == metadata.version("jaxlib"):
        return ""
    return f"neither {ENVIRONMENT_VARIABLE} nor the active tuning asks for it"


@lru_cache
def probe_onednn() -> str:
    """Try oneDNN in a process of its own. Returns why it must not be called; empty if it may."""
    try:
        trial = subprocess.run(
            [sys.executable, *_TRIAL],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            env=os.environ | {"JAX_PLATFORMS": "cpu", ENVIRONMENT_VARIABLE: "off"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the trial failed: {type(error).__name__}"
    if trial.returncode or trial.stdout.split()[-1:] != ["passed"]:
        last = (trial.stderr or trial.stdout).strip().splitlines()[-1:]
        return f"the trial failed with status {trial.returncode}: {''.join(last)}"
    return ""
