"""No operation is slower than autodiff's on a GPU or a TPU, by the estimate of its program.

The default run compiles for an H100 and a TPU v5e what once was slower there. The exhaustive tests
compile every case of the benchmark, and the training steps.
"""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import jaxconv
from experiments.accelerators import rows
from experiments.accelerators.kernels import in_words
from experiments.accelerators.workloads import Workload, matching, workloads
from experiments.benchmark.cases import CASES, NETWORKS, Pool, conv

# Case, corner and dtype. For each there is a reason why a form made for CPUs was the slower one.
ON_A_GPU = [
    # Depthwise kernel gradients: a reduction for each tap.
    ("G", "gradients", "float32"),
    ("mobilenet-dw", "gradients", "bfloat16"),
    ("mobilenet-dw-s2", "gradients", "bfloat16"),
    ("convnext-dw", "gradients", "float32"),
    ("convnext-dw", "gradients", "bfloat16"),
    # Windows side by side, and strided 1×1: a transposed copy of the map before the product.
    ("P", "forward", "float32"),
    ("P", "forward", "bfloat16"),
    ("vit-stem", "forward", "float32"),
    ("vit-stem", "forward", "bfloat16"),
    ("unet-up", "forward", "float32"),
    ("unet-up", "gradients", "float32"),
    ("unet-up", "gradients", "bfloat16"),
    ("resnet-1x1-s2", "forward", "float32"),
    ("resnet-1x1-s2", "gradients", "bfloat16"),
    # A product in float32, and then a reduction.
    ("resnet-1x1", "gradients", "bfloat16"),
    ("mobilenet-pw", "gradients", "float32"),
    ("mobilenet-pw", "gradients", "bfloat16"),
    # Narrow groups: one copy more.
    ("resnext-28", "gradients", "float32"),
    # Upsampling by an input dilation: a sum after the product.
    ("upsampled-2d", "forward", "bfloat16"),
    # Pools: barriers made for CPUs, and maps widened to float32 in memory.
    ("m32", "forward", "float32"),
    ("m31", "forward", "bfloat16"),
    ("a31", "forward", "bfloat16"),
    ("a31", "gradients", "bfloat16"),
]
# Convolutions and pools that are no case of the benchmark, with the same reasons.
UNLISTED_ON_A_GPU = [
    # Depthwise input gradients of several outputs a channel.
    (conv("dw-x2", "", 64, (7, 7), 32, 64, 7, 1, "SAME", groups=32), "gradients"),
    (conv("dw-x8-s2", "", 16, (28, 28), 96, 768, 3, 2, "SAME", groups=96), "gradients"),
    # Pools over a whole map: a division, or a second reduction, in a kernel of its own.
    (Pool("avg-7", "", 32, (7, 7), 2048, (7, 7), (7, 7), "VALID", "avg"), "forward"),
    (Pool("max-7", "", 32, (7, 7), 16, (7, 7), (7, 7), "VALID", "max"), "forward"),
]
# Slower to compile: a depthwise input gradient of many taps.
UNLISTED_ON_A_GPU_TOO = [
    (conv("dw-11", "", 16, (28, 28), 64, 64, 11, 1, "SAME", groups=64), "gradients")
]
ON_A_TPU = [("G", "gradients"), ("resnet-7", "gradients"), ("unet-up", "gradients")]
ON_A_TPU_TOO = [
    (name, "gradients")
    for name in (
        *("D", "P", "S", "resnet-28", "resnet-14", "mobilenet-dw", "mobilenet-dw-s2"),
        *("convnext-dw", "resnext-28", "vit-stem", "medical-down", "medical-up", "dcgan-16"),
        "m32",
    )
]
# Gradients of max pools over maps that lie row by row, where lax copies them; the least ratio.
POOLS_ON_A_TPU = [(Pool("max-2", "", 64, (16, 16), 128, (2, 2), (2, 2), "VALID", "max"), 1.5)]
POOLS_ON_A_TPU_TOO = [
    (Pool("max-3-s2", "", 32, (112, 112), 128, (3, 3), (2, 2), "SAME", "max"), 2.0),
    (Pool("max-3", "", 32, (56, 56), 512, (3, 3), (1, 1), "SAME", "max"), 2.0),
    # Where examples and channels fill tiles, the taps are all that is read and written besides.
    (Pool("max-3-s1", "", 32, (28, 28), 192, (3, 3), (1, 1), "SAME", "max"), 0.7),
]


def compared(case, corner, dtype, target):
    """The row of a workload, and the number of kernels of autodiff's program and of ours."""
    found = matching([case]) if isinstance(case, str) else workloads([case], (), ())
    (workload,) = (w for w in found if w.corner == corner)
    row = rows.row(workload, dtype, target)
    assert row["errors"] == {}
    counts = [sum(row["programs"][peer]["kernels"].values()) for peer in rows.PEERS]
    return row, counts


def told(row):
    """What the two programs of a row do, a line for each."""
    return "\n".join(
        f"{peer}: {1e6 * found['seconds']:.1f} μs, {in_words(found['kernels'])}"
        for peer, found in row["programs"].items()
    )


def id_of(parts):
    return "-".join(parts)


@pytest.mark.parametrize("what", ON_A_GPU, ids=id_of)
def test_on_a_gpu(what, compiled_for):
    """At least as fast, and with more kernels only where that is clearly faster."""
    row, (theirs, ours) = compared(*what, compiled_for("h100"))
    assert row["ratio"] >= rows.ENOUGH, told(row)
    assert ours <= theirs or row["ratio"] > 1.1, told(row)


@pytest.mark.parametrize(
    "what",
    [
        *UNLISTED_ON_A_GPU,
        *(pytest.param(what, marks=pytest.mark.exhaustive) for what in UNLISTED_ON_A_GPU_TOO),
    ],
    ids=lambda what: f"{what[0].name}-{what[1]}",
)
def test_unlisted_on_a_gpu(what, compiled_for):
    row, _ = compared(*what, "bfloat16", compiled_for("h100"))
    assert row["ratio"] >= rows.ENOUGH, told(row)


def channels_first(multiplier, order, peer, dtype):
    """The gradients of a depthwise layer between activations, channels first."""
    groups = 32

    def loss(x, kernel):
        y = lax.conv_general_dilated(
            *(jnp.tanh(x), kernel, (1, 1), "SAME"), feature_group_count=groups
        )
        return (jnp.tanh(y) ** 2).sum()

    if peer == "jaxconv" and order == "before":
        loss = jaxconv.accelerate(loss)
    gradients = jax.value_and_grad(loss, (0, 1))
    if peer == "jaxconv" and order == "after":
        gradients = jaxconv.accelerate(gradients)
    shapes = (32, groups, 28, 28), (multiplier * groups, 1, 3, 3)
    return gradients, tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)


@pytest.mark.parametrize(
    ("multiplier", "order"), [(1, "before"), (2, "before"), (2, "after")], ids=str
)
def test_channels_first_on_a_gpu(multiplier, order, compiled_for):
    """The axes of a map are exchanged once, and not in the slice of every tap."""
    make = partial(channels_first, multiplier, order)
    workload = Workload("channels first", order, make, batched=(0,))
    row = rows.row(workload, "float32", compiled_for("h100"))
    assert row["errors"] == {}
    assert row["ratio"] >= rows.ENOUGH, told(row)


@pytest.mark.parametrize(
    "what",
    [*ON_A_TPU, *(pytest.param(what, marks=pytest.mark.exhaustive) for what in ON_A_TPU_TOO)],
    ids=id_of,
)
def test_on_a_tpu(what, compiled_for):
    row, _ = compared(*what, "bfloat16", compiled_for("v5e"))
    assert row["ratio"] >= rows.ENOUGH, told(row)


@pytest.mark.parametrize(
    ("pool", "least"),
    [
        *POOLS_ON_A_TPU,
        *(pytest.param(*what, marks=pytest.mark.exhaustive) for what in POOLS_ON_A_TPU_TOO),
    ],
    ids=lambda what: getattr(what, "name", ""),
)
def test_max_pools_on_a_tpu(pool, least, compiled_for):
    row, _ = compared(pool, "gradients", "bfloat16", compiled_for("v5e"))
    assert row["programs"]["jaxconv"]["kernels"]["pallas"] == 2, told(row)
    assert row["ratio"] >= least, told(row)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("corner", ["forward", "gradients"])
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_every_case_on_a_gpu(name, corner, dtype, compiled_for):
    row, _ = compared(name, corner, dtype, compiled_for("h100"))
    assert row["ratio"] >= rows.ENOUGH, told(row)


@pytest.mark.parametrize(
    "name", ["standard", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in NETWORKS[1:])]
)
def test_training_steps_on_a_gpu(name, compiled_for):
    """Faster, and with less temporary memory."""
    row, _ = compared(name, "step", "float32", compiled_for("h100"))
    assert row["ratio"] > 1.2, told(row)
    theirs, ours = (row["programs"][peer]["temporary"] for peer in rows.PEERS)
    assert ours < theirs
