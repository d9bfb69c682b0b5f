"""The networks of the experiments: with jaxconv's layers, in plain Flax, and in PyTorch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax
from flax import nnx

from ..networks import autoencoders, classifiers, plain


def flax_network(peer: str, name: str) -> tuple[nnx.Module, Callable[..., Any]]:
    """The model and its score, as `training.trainer.Trainer` takes them.

    Args:
      peer: "jaxconv", or "autodiff" for plain Flax.
      name: One of `cases.NETWORKS`.
    """
    ours, rngs = peer == "jaxconv", nnx.Rngs(0)
    layers = {} if ours else {"nn": plain, "relu": plain.relu}
    if name != "autoencoder":
        score = classifiers.score if ours else plain.with_optax_loss(classifiers.score)
        return classifiers.NETWORKS[name](rngs, **layers), score
    layers |= {} if ours else {"tanh": plain.tanh}
    sizes = {"code_size": 256, "dropout": 0.5, "tied": True, "brightness": 0.13}
    model = autoencoders.Autoencoder(**sizes, rngs=rngs, **layers)
    if ours:
        return model, autoencoders.score
    return model, partial(autoencoders.score, squared_error=optax.squared_error)


def torch_network(name: str):
    """The network in PyTorch, a module from images to logits or to reconstructions."""
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
