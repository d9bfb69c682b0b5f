"""What all tests share: float64 and seeded data."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

# The tests of sharding need several devices; the others take the first.
jax.config.update("jax_num_cpu_devices", 8)


@pytest.fixture
def normal():
    """Draw arrays of independent standard normal numbers, the same ones in every run."""
    rng = np.random.default_rng(0)

    def draw(shape, dtype=np.float64):
        return jnp.asarray(rng.normal(size=shape), dtype)

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
