"""The forward pass of a trained model: as a function of uint8 images, and as a file.

The file is StableHLO with the parameters in it. Running it needs JAX, and nothing of this package:

    forward = jax.export.deserialize(bytearray(Path("forward.stablehlo").read_bytes())).call
    forward(images)  # uint8 (n, h, w, c), any n: probabilities (n, classes), or images in [0, 1]
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from ..command_line import UserError, write_whole
from ..command_line.notes import first_line
from .steps import to_unit_interval

Shape = tuple[int, int, int]  # (h, w, c)
Answer = Callable[[Any, jax.Array], jax.Array]  # of a model and images in [0, 1]

PLATFORMS = ("cpu", "cuda", "tpu")


class Forward:
    """The answer of a trained model, in float32, to uint8 images `(n, h, w, c)`.

    Args:
      answer: A function of the model and images.
      model: The model in evaluation mode.
      dtype: The dtype it computes in.
    """

    def __init__(self, answer: Answer, model: nnx.Module, dtype: Any = jnp.float32):
        definition, params, others = nnx.split(model, nnx.Param, ...)
        params = jax.tree.map(lambda array: array.astype(dtype), params)

        def forward(images):
            # A copy, because Flax's variables belong to one trace.
            model = nnx.merge(definition, params, others, copy=True)
            return answer(model, to_unit_interval(images).astype(dtype)).astype(jnp.float32)

        self.params, self.dtype = params, dtype
        self.function = jax.jit(forward)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(images))

    def rounding(self) -> float:
        """By how much two correct computations of an answer in [0, 1] may differ.

        The sums of a layer, in float32, have as many terms as the kernel has entries for each
        output. Each layer's result is rounded once to the model's dtype.
        """
        kernels = [a.shape for a in jax.tree.leaves(self.params) if a.ndim > 1]
        terms = sum(math.prod(shape[:-1]) for shape in kernels)
        return float(terms * jnp.finfo(jnp.float32).eps + len(kernels) * jnp.finfo(self.dtype).eps)


def write(forward: Forward, image_shape: Shape, file: Path) -> str:
    """Write the forward pass for any number of images, read it again, and compare the answers.

    Returns:
      A line that says what was written.

    Raises:
      UserError: The file cannot be written, or its answers differ; then it is removed.
    """
    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *image_shape), jnp.uint8)
    exported = export.export(forward.function, platforms=PLATFORMS)(images)
    write_whole(file, bytes(exported.serialize()))
    again, _ = read(file)
    some = np.random.default_rng(0).integers(0, 256, (3, *image_shape), np.uint8)
    worst = float(np.abs(again(some) - forward(some)).max())
    if not worst <= forward.rounding():  # also if it is NaN
        file.unlink()
        raise UserError(
            f"{file} differs by {worst:.2g} from the model's answers, where rounding explains "
            f"{forward.rounding():.2g}: it is not kept."
        )
    return (
        f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB; {', '.join(PLATFORMS)}), which agrees "
        f"with the model to {worst:.1g}"
    )


def read(file: Path) -> tuple[Callable[[np.ndarray], np.ndarray], Shape]:
    """The function in a file of `write`, and the image shape `(h, w, c)`.

    The file is a program. Do not run one from a source that you do not trust.

    Raises:
      UserError: The file cannot be read, is not such a file, or is not for this device.
    """
    try:
        exported = export.deserialize(bytearray(file.read_bytes()))
        (images,) = exported.in_avals
        h, w, c = images.shape[1:]
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}.") from error
    except Exception as error:  # flatbuffers and JAX raise various errors
        message = f"{file} is not a forward pass written by --export: {first_line(error)}"
        raise UserError(message) from error
    platform = "cuda" if jax.default_backend() == "gpu" else jax.default_backend()
    if platform not in exported.platforms:
        raise UserError(f"{file} is for {', '.join(exported.platforms)}, and this is {platform}.")
    call = jax.jit(exported.call)

    def answer(images: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(call(images))
        except jax.errors.JaxRuntimeError as error:  # damage that only the compiler notices
            raise UserError(f"{file} cannot be run: {first_line(error)}") from error

    return answer, (h, w, c)
