"""The forward pass of a trained model: as a function of uint8 images, and as a file that holds it.

The file is StableHLO with the parameters in it; to run it needs JAX, and nothing of this code:

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

from ._user_error import UserError
from .records import write_atomically
from .steps import to_unit_interval

Shape = tuple[int, int, int]  # (h, w, c)
# What a model is asked: `answer(model, images)`, with images in [0, 1].
Answer = Callable[[Any, jax.Array], jax.Array]

PLATFORMS = ("cpu", "cuda", "tpu")


class Forward:
    """A trained model's answer, in float32, to uint8 images `(n, h, w, c)`.

    Args:
      answer: What the model is asked.
      model: Set to evaluation.
      dtype: What it computes in, as in the evaluations of its training.
    """

    def __init__(self, answer: Answer, model: nnx.Module, dtype: Any = jnp.float32):
        definition, params, others = nnx.split(model, nnx.Param, ...)
        params = jax.tree.map(lambda array: array.astype(dtype), params)

        def forward(images):
            # A copy, whose variables belong to this trace.
            model = nnx.merge(definition, params, others, copy=True)
            return answer(model, to_unit_interval(images).astype(dtype)).astype(jnp.float32)

        self.params, self.dtype = params, dtype
        self.function = jax.jit(forward)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.function(images))

    def rounding(self) -> float:
        """By how much two right ways to compute an answer in [0, 1] may differ.

        A layer's sums, in float32, have as many terms as a kernel has entries for each of its
        outputs; what they come to is rounded once to the model's dtype.
        """
        kernels = [a.shape for a in jax.tree.leaves(self.params) if a.ndim > 1]
        terms = sum(math.prod(shape[:-1]) for shape in kernels)
        return float(terms * jnp.finfo(jnp.float32).eps + len(kernels) * jnp.finfo(self.dtype).eps)


def write(forward: Forward, image_shape: Shape, file: Path) -> str:
    """Write the forward pass for any number of images, read it again, and compare.

    Returns:
      What there is now, in a line.

    Raises:
      UserError: The file can't be written, or does not compute what the model does; then there is
        none.
    """
    (n,) = export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((n, *image_shape), jnp.uint8)
    exported = export.export(forward.function, platforms=PLATFORMS)(images)
    write_atomically(file, bytes(exported.serialize()))
    again, _ = read(file)
    some = np.random.default_rng(0).integers(0, 256, (3, *image_shape), np.uint8)
    worst = float(np.abs(again(some) - forward(some)).max())
    if not worst <= forward.rounding():  # true also of NaN
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
    """A function of uint8 images from a file of `write`, and the images' `(h, w, c)`.

    The file is a program: run none whose origin you don't trust.

    Raises:
      UserError: It can't be read, is of something else, or is not for this machine's device.
    """
    try:
        exported = export.deserialize(bytearray(file.read_bytes()))
        (images,) = exported.in_avals
        h, w, c = images.shape[1:]
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}.") from error
    except Exception as error:  # flatbuffers and JAX raise many kinds; a newer JAX's file is one
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{file} is no forward pass that --export wrote: {reason}") from error
    platform = jax.default_backend()
    platform = "cuda" if platform == "gpu" else platform
    if platform not in exported.platforms:
        raise UserError(f"{file} is for {', '.join(exported.platforms)}, and this is {platform}.")
    call = jax.jit(exported.call)
    return lambda images: np.asarray(call(images)), (h, w, c)
