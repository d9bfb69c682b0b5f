"""What all tests share: float64, seeded data, and a compilation cache for the whole run."""

import gc
import logging
import os
import shutil
import tempfile

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

# The tests of sharding need several devices. The others use the first one.
jax.config.update("jax_num_cpu_devices", 8)

# Most of a test's time is compilation. Two things make it shorter. Every program is compiled once a
# run: all processes, xdist's workers and the programs that tests start, share a cache in a
# temporary folder. And LLVM does not optimise; XLA's own passes stay as they are.
# A setting in the environment wins: JAX_COMPILATION_CACHE_DIR keeps the programs for later runs,
# JAX_DISABLE_MOST_OPTIMIZATIONS=0 runs what a user runs.
COMPILER = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": True,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
}
# XLA of JAX 0.10 has two generators of code for fused operations. Its default one takes twice as
# long to compile; later versions have no other.
if jax.__version_info__ < (0, 11) and "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ:
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")


class Raises(logging.Handler):
    """Raises what the verifier logs and goes on without: an error in its diagnosis."""

    def emit(self, record):
        raise record.exc_info[1] if record.exc_info else AssertionError(record.getMessage())


def pytest_configure(config):
    logging.getLogger("jaxconv.verify").addHandler(Raises())
    settings = {}
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="jaxconv-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        settings = {"JAX_COMPILATION_CACHE_DIR": folder}
    for name, value in (COMPILER | settings).items():
        if name not in os.environ:
            os.environ[name] = str(value)
            jax.config.update(name.lower(), value)  # JAX has already read its environment


gc.disable()  # until all tests are collected


def pytest_collection_finish():
    """Spare the garbage collector what was imported: it stays until the end, a million objects.

    Tracing and compiling make many objects that live on, so it also looks less often.
    """
    gc.freeze()
    gc.set_threshold(50_000, *gc.get_threshold()[1:])
    gc.enable()


@pytest.fixture
def optimised():
    """Compile with all optimisations, as a user does, to compare the bits of two programs."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.clear_caches()  # programs that were compiled without optimisations
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def compiled_anew():
    """Switch the compilation cache off, for tests that look at the compilation itself."""
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    reset_cache()


@pytest.fixture
def normal():
    """A function that draws an array of standard normal values, the same ones in every run."""
    rng = np.random.default_rng(0)

    def draw(shape, dtype=np.float64):
        values = rng.normal(size=shape).astype(jnp.dtype(dtype))
        return jax.device_put(values)  # jnp.asarray would compile a program

    return draw


@pytest.fixture
def float64():
    """Compute in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def no_type_checker():
    """Call functions without the type checker that the tests put around them, as a user does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
