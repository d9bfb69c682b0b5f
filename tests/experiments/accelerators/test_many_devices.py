"""Training steps on several devices: the gradients are summed in one message, and nothing is sent
besides.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from experiments.accelerators.kernels import COLLECTIVES, kernels
from experiments.accelerators.program import arrays_of, parse
from experiments.accelerators.steps import step
from experiments.accelerators.workloads import matching
from experiments.benchmark.cases import NETWORKS
from experiments.benchmark.networks import flax_network
from experiments.data.dataset import Split
from experiments.training import steps


def collectives(program):
    return [k for k in kernels(parse(program.as_text())) if k.kind in COLLECTIVES]


def assert_only_gradients_are_sent(name, target):
    """One sum over the devices, of the gradients by all parameters and of the loss.

    The gradient by a kernel that encoder and decoder share is sent in two parts.
    """
    (workload,) = matching([name])
    found = collectives(workload.compiled("jaxconv", "float32", target.mesh))
    assert [(k.kind, k.runs) for k in found] == [("all-reduce", 1)]
    sent = sum(array.size for array in arrays_of(found[0].result))
    params, *_ = step(name, "jaxconv", "float32")[1]
    leaves = jax.tree.leaves(params)
    shared = [leaf for leaf in leaves if name == "autoencoder" and leaf.ndim == 4]
    assert sent == sum(leaf.size for leaf in [*leaves, *shared]) + 1


@pytest.mark.parametrize(
    "name", ["standard", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in NETWORKS[1:])]
)
def test_on_eight_gpus(name, compiled_for):
    assert_only_gradients_are_sent(name, compiled_for("8xh100"))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NETWORKS)
def test_on_eight_tpus(name, compiled_for):
    assert_only_gradients_are_sent(name, compiled_for("v5e:2x4"))


def test_the_trainer_on_eight_gpus(compiled_for):
    """Besides the gradients, each step sends its images, as bytes, to the devices that get them."""
    mesh = compiled_for("8xh100").mesh
    images, batch_size = 4000, 400
    model, score = flax_network("jaxconv", "standard")
    definition, params, others = nnx.split(model, nnx.Param, ...)
    optimiser = optax.sgd(0.01, 0.9, nesterov=True)
    sums = {"loss": jnp.zeros(()), "accuracy": jnp.zeros(())}
    memory, key = optimiser.init(params), jax.random.key(0)
    state = steps.State(params, others, memory, None, key, sums, jnp.int32(0))
    advance = partial(
        steps.advance,
        definition=definition,
        score=score,
        optimiser=optimiser,
        average=0.0,
        dtype=jnp.float32,
        batch=partial(steps.batch_of, batch_size=batch_size, augment=None, mesh=mesh),
        steps_per_epoch=images // batch_size,
    )
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(steps.DATA))

    def placed(leaf, sharding=whole):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    train = Split(
        placed(jax.ShapeDtypeStruct((images, 28, 28, 1), np.uint8), split),
        placed(jax.ShapeDtypeStruct((images,), np.int32)),
    )
    arguments = jax.tree.map(placed, (state, train.labels, np.int32(0), np.int32(1)))
    state, _, *between = arguments
    program = jax.jit(advance, out_shardings=whole).lower(state, train, *between).compile()
    of_images, of_gradients = collectives(program)
    assert of_images.kind == "reduce-scatter"
    assert arrays_of(of_images.result) == (("u8", (batch_size // 8, 28, 28, 1), 0),)
    assert of_gradients.kind == "all-reduce"
    sent = sum(array.size for array in arrays_of(of_gradients.result))
    assert sent == sum(leaf.size for leaf in jax.tree.leaves(params)) + len(sums)


def test_the_check_sees_a_map_that_is_gathered(compiled_for):
    """A batch that must lie whole on every device."""
    mesh = compiled_for("8xh100").mesh
    (workload,) = (w for w in matching(["m2s"]) if w.corner == "forward")
    function, (argument,) = workload.make("jaxconv", "float32")
    n, *others = argument.shape
    split, whole = NamedSharding(mesh, P(*mesh.axis_names)), NamedSharding(mesh, P())
    x = jax.ShapeDtypeStruct((8 * n, *others), "float32", sharding=split)
    program = jax.jit(function, out_shardings=whole).lower(x).compile()
    assert [k.kind for k in collectives(program)] == ["all-gather"]
