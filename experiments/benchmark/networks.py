"""The networks of the experiments, as ours, as plain Flax and as PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax
from flax import nnx

import jaxconv.nn
from jaxconv import relu, tanh

from .. import autoencoder, baseline, classifier


def flax_network(peer: str, name: str) -> tuple[nnx.Module, Callable[..., Any]]:
    """The model and its score, as `training.Trainer` takes them.

    Args:
      peer: "jaxconv", or "autodiff" for plain Flax.
      name: One of `cases.NETWORKS`.
    """
    ours = peer == "jaxconv"
    layers = {"nn": jaxconv.nn, "relu": relu} if ours else {"nn": baseline, "relu": baseline.relu}
    rngs = nnx.Rngs(0)
    if name != "autoencoder":
        score = classifier.score if ours else baseline.with_optax_loss(classifier.score)
        return classifier.NETWORKS[name](rngs, **layers), score
    model = autoencoder.Autoencoder(
        code_size=256,
        dropout=0.5,
        tied=True,
        brightness=0.13,
        rngs=rngs,
        tanh=tanh if ours else baseline.tanh,
        **layers,
    )
    if ours:
        return model, autoencoder.score
    return model, partial(autoencoder.score, squared_error=optax.squared_error)


def torch_network(name: str):
    """The same in PyTorch: a module from images to logits, or to the images' reconstructions."""
    import torch
    from torch import nn

    def trunk():
        return nn.Sequential(
            nn.Conv2d(1, 32, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(512, 256),
            nn.ReLU(),
        )

    class Modified(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = trunk()
            self.branch = nn.Sequential(
                nn.Conv2d(1, 32, 10), nn.ReLU(), nn.MaxPool2d(5), nn.Flatten()
            )
            self.last = nn.Sequential(nn.Dropout(0.5), nn.Linear(256 + 288, 10))

        def forward(self, x):
            return self.last(torch.cat([self.trunk(x), self.branch(x)], dim=1))

    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 32, 5), nn.Conv2d(32, 32, 5)
            self.biases = nn.ParameterList([torch.zeros(32), torch.full((1,), 0.13)])
            self.code = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(512, 256), nn.Tanh())
            self.decode = nn.Sequential(nn.Dropout(0.5), nn.Linear(256, 512), nn.Tanh())

        def forward(self, x):
            f = nn.functional
            x = f.max_pool2d(torch.tanh(self.first(x)), 2)
            x = f.max_pool2d(torch.tanh(self.second(x)), 2)
            x = self.decode(self.code(x)).reshape(-1, 32, 4, 4)
            x = x.contiguous(memory_format=torch.channels_last)
            x = f.interpolate(x, scale_factor=2)
            x = torch.relu(f.conv_transpose2d(x, self.second.weight, self.biases[0]))
            x = f.interpolate(x, scale_factor=2)
            return torch.relu(f.conv_transpose2d(x, self.first.weight, self.biases[1]))

    if name == "standard":
        return nn.Sequential(trunk(), nn.Dropout(0.5), nn.Linear(256, 10))
    return Modified() if name == "modified" else Autoencoder()
