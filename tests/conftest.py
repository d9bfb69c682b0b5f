"""What all tests share: float64, seeded data, and each program compiled once."""

import os
import shutil
import tempfile

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

# The tests of sharding need several devices; the others take the first.
jax.config.update("jax_num_cpu_devices", 8)

# Compiling small programs is what takes the time. So each is compiled once, for all processes of a
# run: xdist's workers, and what the tests start, find the folder in their environment. And LLVM is
# told not to optimise, which changes no pass of XLA's own. What is set outside stays as it is:
# JAX_COMPILATION_CACHE_DIR to keep the programs for later runs, JAX_DISABLE_MOST_OPTIMIZATIONS=0 to
# run what a user runs.
COMPILER = {
    "JAX_DISABLE_MOST_OPTIMIZATIONS": True,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": -1,
}


def pytest_configure(config):
    settings = {}
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = tempfile.mkdtemp(prefix="jaxconv-tests-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        settings = {"JAX_COMPILATION_CACHE_DIR": folder}
    for name, value in (COMPILER | settings).items():
        if name not in os.environ:
            os.environ[name] = str(value)
            jax.config.update(name.lower(), value)  # JAX has read its environment before


@pytest.fixture
def optimised():
    """Compile as a user does: for results of two programs that are to have the same bits."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.clear_caches()  # what was compiled without
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture
def compiled_anew():
    """Let a test that is about compiling compile, though its program was compiled before."""
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()
    yield
    jax.config.update("jax_enable_compilation_cache", True)
    reset_cache()


@pytest.fixture
def normal():
    """Draw arrays of independent standard normal numbers, the same ones in every run."""
    rng = np.random.default_rng(0)

    def draw(shape, dtype=np.float64):
        numbers = rng.normal(size=shape).astype(jnp.dtype(dtype))
        return jax.device_put(numbers)  # what jnp.asarray would compile a program for

    return draw


@pytest.fixture
def float64():
    """Let a test compute in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def no_type_checker():
    """Call functions as a user does, without the type checker that the tests put around them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
