"""What is compiled: each case, block, network and model with jaxconv and with autodiff.

A workload has two corners, "forward" and "gradients", but for a network, whose one corner is the
"step". Gradients are those by all arguments, from the arguments and the output gradient. A public
model has two corners as well: its gradient step is accelerated "before" or "after" differentiation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from unittest.mock import patch

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ..benchmark import cases as benchmark
from ..benchmark import zoo
from ..benchmark.cases import BLOCKS, Case, Conv
from ..benchmark.models import gradient_step
from ..benchmark.peers import block, forward, shapes
from . import steps

PEERS = ("autodiff", "jaxconv")
CORNERS = ("forward", "gradients", "step", "before", "after")
STEPS = ("step", "before", "after")


@dataclass(frozen=True)
class Workload:
    """Something to compile for each peer.

    Attributes:
      case: The name of the case.
      corner: One of `CORNERS`.
      make: From a peer and a dtype the function, and its arguments as shapes and dtypes.
      batched: The places of the arguments whose first axis is the batch.
      dtypes: The dtypes that it can be made in.
    """

    case: str
    corner: str
    make: Callable[[str, str], tuple[Callable[..., Any], tuple[Any, ...]]]
    batched: tuple[int, ...]
    dtypes: tuple[str, ...] = ("float32", "bfloat16")

    def compiled(self, peer: str, dtype: str, mesh: Mesh) -> Any:
        """The program for the devices of a mesh, each of which gets a batch of its own."""
        function, arguments = self.make(peer, dtype)
        placed = [
            jax.tree.map(partial(_placed, mesh=mesh, is_batch=place in self.batched), argument)
            for place, argument in enumerate(arguments)
        ]
        # A step updates parameters and optimiser in place, as the trainer's does.
        donated = range(min(self.batched)) if self.corner in STEPS else ()
        platform = mesh.devices.flat[0].platform
        with (
            # Pallas kernels ask the mesh which device they are compiled for, …
            jax.sharding.use_abstract_mesh(mesh.abstract_mesh),
            # … and `accelerate` asks JAX what it will run on.
            patch.object(jax, "default_backend", lambda: platform),
        ):
            return jax.jit(function, donate_argnums=tuple(donated)).lower(*placed).compile()


def _placed(leaf: Any, mesh: Mesh, is_batch: bool) -> jax.ShapeDtypeStruct:
    """An argument: a batch for each device, split over them, or whole on every device."""
    if not is_batch:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, P()))
    n, *others = leaf.shape
    split = NamedSharding(mesh, P(mesh.axis_names[0]))
    return jax.ShapeDtypeStruct((n * mesh.size, *others), leaf.dtype, sharding=split)


def workloads(
    chosen: Sequence[Case], blocks: Sequence[str], networks: Sequence[str]
) -> list[Workload]:
    """The workloads of cases, blocks and networks.

    Args:
      chosen: The cases.
      blocks: Names of convolutions that are followed by bias, relu and max pool.
      networks: Names of networks.
    """
    found = [w for case in chosen for w in _of_function(case.name, partial(_case, case))]
    for case in benchmark.matching(blocks):
        found += _of_function(f"{case.name}-block", partial(_block, case))
    return found + [
        Workload(name, "step", partial(_step, name), batched=(3, 4)) for name in networks
    ]


def matching(patterns: Sequence[str]) -> list[Workload]:
    """The workloads whose names match one of the shell patterns."""
    blocks = [name for name in BLOCKS if benchmark.fits(f"{name}-block", patterns)]
    networks = benchmark.matching_networks(patterns)
    return workloads(benchmark.matching(patterns), blocks, networks)


def models(patterns: Sequence[str]) -> list[Workload]:
    """The public models whose names match one of the shell patterns.

    They compute in the dtype that their packages give them.
    """
    return [
        Workload(name, order, partial(_model, name, order), batched=(1, 2), dtypes=("float32",))
        for name in benchmark.matching_models(patterns)
        for order in ("before", "after")
    ]


def _of_function(name: str, make) -> Iterator[Workload]:
    """The two corners of a function of feature maps, whose result comes last in its shapes."""

    def of_forward(peer, dtype):
        function, (*arguments, _) = make(peer, dtype)
        return function, tuple(arguments)

    def of_gradients(peer, dtype):
        function, (*arguments, result) = make(peer, dtype)

        def gradients(y_bar, *arguments):
            return jax.vjp(function, *arguments)[1](y_bar)

        return gradients, (result, *arguments)

    yield Workload(name, "forward", of_forward, batched=(0,))
    yield Workload(name, "gradients", of_gradients, batched=(0, 1))


def _case(case: Case, peer: str, dtype: str):
    return forward(peer, case), shapes(case, dtype)


def _block(case: Conv, peer: str, dtype: str):
    *arguments, y = shapes(case, dtype)
    function = block(peer, case)
    arguments.append(jax.ShapeDtypeStruct((case.o,), y.dtype))
    return function, [*arguments, jax.eval_shape(function, *arguments)]


def _step(name: str, peer: str, dtype: str):
    function, state = steps.step(name, peer, dtype)
    return function, (*state, *steps.batch())


def _model(name: str, order: str, peer: str, _: str):
    model = _loaded(name)
    step = gradient_step(model.loss, order if peer == "jaxconv" else "plain")
    return step, (model.params, model.images, model.labels)


@cache
def _loaded(name: str) -> zoo.Model:
    return zoo.load(name)
