"""Suite `step`: training steps of the experiments' networks, several in one call.

jaxconv and plain Flax run in the training loop of the experiments. PyTorch runs eager steps,
channels last. The images are noise, because the time of a step does not depend on them.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import optax

from ..data import NUM_CLASSES, Split
from ..training.trainer import Trainer
from . import machine as host
from .networks import flax_network, torch_network
from .ops import timed
from .timing import Machine, Program

Row = dict[str, Any]
LEARNING_RATE, MOMENTUM = 1e-5, 0.9  # small, so that training on noise does not diverge


def rows(
    networks: Iterable[str],
    *,
    peers: tuple[str, ...],
    repeats: int,
    machine: Machine,
    batch_size: int = 500,
    steps: int = 3,
) -> Iterator[Row]:
    """For each network the seconds of a training step.

    Args:
      networks: Names of `cases.NETWORKS`.
      peers: "autodiff" (plain Flax), "torch" or both.
      repeats: The number of runs of each program, fewer for slow ones.
      machine: Measures the rate of the machine before and after.
      batch_size: The number of images of a step.
      steps: The number of steps of a run.
    """
    images = noise(batch_size * steps)
    for name in networks:
        programs = {}
        for peer in ("jaxconv", *peers):
            make = torch_program if peer == "torch" else jax_program
            programs[peer] = make(peer, name, images, batch_size)
        errors = {
            peer: message for peer, program in programs.items() if (message := _check(program))
        }
        right = {peer: program for peer, program in programs.items() if peer not in errors}
        names = {"case": name, "kind": "step", "contraction": f"batch {batch_size}", "mode": "scan"}
        yield names | timed(right, repeats, machine) | {"errors": errors}


def noise(size: int) -> Split:
    """Random images and labels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, 28, 28, 1), np.uint8)
    return Split(images, rng.integers(0, NUM_CLASSES, size).astype(np.int32))


def _check(program: Program) -> str | None:
    """Run the program once. What is wrong with the loss; None if it is finite."""
    (loss,) = program.arrays(program.run())
    return None if np.isfinite(loss) else f"wrong result: the loss is {loss}"


def jax_program(peer: str, name: str, images: Split, batch_size: int) -> Program:
    """An epoch of the training loop of the experiments."""
    model, score = flax_network(peer, name)
    optimiser = optax.sgd(LEARNING_RATE, MOMENTUM, nesterov=True)
    trainer = Trainer(score, optimiser, images, batch_size=batch_size)
    trainer.start(model, seed=0)
    steps = trainer.images_per_epoch // batch_size
    return Program(trainer.epoch, lambda metrics: [np.asarray(metrics["loss"])], steps)


def torch_program(peer: str, name: str, images: Split, batch_size: int) -> Program:
    """The same number of eager steps of the same network, on all cores."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(host.cores())
    torch.manual_seed(0)
    model = torch_network(name).to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(model.parameters(), LEARNING_RATE, MOMENTUM, nesterov=True)
    pixels = torch.from_numpy(images.images.transpose(0, 3, 1, 2).copy())
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(images.labels.astype(np.int64))

    def loss(x, rows):
        if name == "autoencoder":
            return (model(x) - x).square().sum() / len(x)
        return functional.cross_entropy(model(x), labels[rows])

    def run():
        values = []
        for rows in torch.randperm(len(labels)).split(batch_size):
            optimiser.zero_grad(set_to_none=True)
            value = loss(pixels[rows].float() / 255, rows)
            value.backward()
            optimiser.step()
            values.append(value.detach())
        return torch.stack(values).mean()

    return Program(run, lambda value: [value.numpy()], len(labels) // batch_size)
