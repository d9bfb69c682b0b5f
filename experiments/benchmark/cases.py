"""The convolutions and pools that are timed, from well-known networks, as plain data.

The batch sizes are such that a direct algorithm takes about 2 to 60 ms on two cores. A transposed
convolution is given as the convolution whose input gradient it computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Windows:
    """Windows that slide over a batch of feature maps: the options of convolutions and pools."""

    name: str
    origin: str  # the network or layer that has this case
    n: int
    spatial: Sizes
    c: int
    window: Sizes
    strides: Sizes
    padding: str | Pads  # "VALID", "SAME", or (lo, hi) for each axis

    @property
    def pads(self) -> Pads:
        """The padding as `(lo, hi)` for each axis."""
        if self.padding == "VALID":
            return ((0, 0),) * len(self.spatial)
        if isinstance(self.padding, str):
            sides = zip(self._extents, self._reach, self.strides, strict=True)
            totals = [max((-(-size // s) - 1) * s + reach - size, 0) for size, reach, s in sides]
            return tuple((total // 2, total - total // 2) for total in totals)
        return self.padding

    @property
    def output(self) -> Sizes:
        """Spatial shape of the result."""
        sides = zip(self._extents, self._reach, self.strides, self.pads, strict=True)
        return tuple((size + sum(pads) - reach) // s + 1 for size, reach, s, pads in sides)

    @property
    def x_shape(self) -> Sizes:
        """`(n, *spatial, c)`."""
        return (self.n, *self.spatial, self.c)

    @property
    def _extents(self) -> Sizes:
        return self.spatial

    @property
    def _reach(self) -> Sizes:
        return self.window


@dataclass(frozen=True)
class Conv(_Windows):
    """A convolution, with the options of `jaxconv.conv`."""

    o: int
    input_dilation: Sizes
    kernel_dilation: Sizes
    groups: int

    @property
    def kernel_shape(self) -> Sizes:
        """`(*window, c / groups, o)`."""
        return (*self.window, self.c // self.groups, self.o)

    @property
    def y_shape(self) -> Sizes:
        """`(n, *output, o)`."""
        return (self.n, *self.output, self.o)

    @property
    def operations(self) -> int:
        """Additions and multiplications of each contraction, products with padding included."""
        products = self.n * self.c * self.o // self.groups
        return 2 * prod(self.output) * prod(self.window) * products

    @property
    def family(self) -> str:
        """What decides which algorithms are fast for it, besides its sizes."""
        if len(self.spatial) != 2:
            return f"{len(self.spatial)}-D"
        if max(self.input_dilation) > 1:
            return "transposed"
        if max(self.kernel_dilation) > 1:
            return "dilated"
        if self.groups > 1:
            return "depthwise" if self.groups == self.c else "grouped"
        if max(self.strides) > 1:
            return "strided"
        return "pointwise" if max(self.window) == 1 else "dense"

    def shrunk(self) -> "Conv":
        """The same options on little data, for which NumPy loops are fast enough."""
        # The window fits, and can move by two strides.
        spatial = tuple(
            min(size, -(-(reach + 2 * s) // e))
            for size, reach, s, e in zip(
                self.spatial, self._reach, self.strides, self.input_dilation, strict=True
            )
        )
        groups = min(self.groups, 2)
        per_group = min(self.c // self.groups, 2), min(self.o // self.groups, 3)
        c, o = (groups * channels for channels in per_group)
        return replace(self, n=2, spatial=spatial, c=c, o=o, groups=groups)

    @property
    def _extents(self) -> Sizes:
        return _dilated(self.spatial, self.input_dilation)

    @property
    def _reach(self) -> Sizes:
        return _dilated(self.window, self.kernel_dilation)


@dataclass(frozen=True)
class Pool(_Windows):
    """A pool over windows; "up" is nearest-neighbour upscaling by `window`."""

    kind: Literal["max", "avg", "up"]

    @property
    def y_shape(self) -> Sizes:
        """`(n, *output, c)`."""
        if self.kind == "up":
            sides = zip(self.spatial, self.window, strict=True)
            return (self.n, *(size * factor for size, factor in sides), self.c)
        return (self.n, *self.output, self.c)

    @property
    def operations(self) -> int:
        """The elements that the forward pass reads."""
        return prod(self.y_shape) * (1 if self.kind == "up" else prod(self.window))

    def shrunk(self) -> "Pool":
        """The same options on little data, for which NumPy loops are fast enough."""
        spatial = tuple(
            min(size, w + 2 * s)
            for size, w, s in zip(self.spatial, self.window, self.strides, strict=True)
        )
        return replace(self, n=2, spatial=spatial, c=3)


Case = Conv | Pool


def _dilated(sizes: Sizes, dilations: Sizes) -> Sizes:
    return tuple(d * (size - 1) + 1 for size, d in zip(sizes, dilations, strict=True))


def _per_axis(value: int | Sequence[int], rank: int) -> Sizes:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def conv(
    name: str,
    origin: str,
    n: int,
    spatial: Sizes,
    c: int,
    o: int,
    window: int | Sizes,
    strides: int | Sizes = 1,
    padding: str | int | Pads = "VALID",
    *,
    input_dilation: int | Sizes = 1,
    kernel_dilation: int | Sizes = 1,
    groups: int = 1,
) -> Conv:
    """A convolution. An integer option applies to all axes, an integer padding to all sides."""
    rank = len(spatial)
    if isinstance(padding, int):
        padding = ((padding, padding),) * rank
    window, strides = _per_axis(window, rank), _per_axis(strides, rank)
    dilations = _per_axis(input_dilation, rank), _per_axis(kernel_dilation, rank)
    return Conv(name, origin, n, spatial, c, window, strides, padding, o, *dilations, groups)


def _pool(name, origin, kind, n, side, c, window, stride=None, padding="VALID") -> Pool:
    square = ((side,) * 2, c, (window,) * 2, (stride or window,) * 2)
    return Pool(name, origin, n, *square, padding, kind)


CONVOLUTIONS = (
    # The layers of the experiments' networks, and one case of each other kind.
    conv("A", "classifier, first layer", 500, (28, 28), 1, 32, 5),
    conv("B", "classifier, second layer", 500, (12, 12), 32, 32, 5),
    conv("C", "classifier, branch", 500, (28, 28), 1, 32, 10),
    conv("D", "VGG on CIFAR", 128, (32, 32), 64, 64, 3, 1, "SAME"),
    conv("E", "downsampling", 32, (56, 56), 64, 128, 3, 2, "SAME"),
    conv("P", "patches", 8, (64, 64), 3, 64, 16, 16),
    conv("G", "depthwise", 16, (28, 28), 128, 128, 3, 1, "SAME", groups=128),
    conv("L", "signal", 64, (1024,), 32, 64, 9, 1, "SAME"),
    conv("V", "volume", 4, (16, 16, 16), 16, 32, 3, 1, "SAME"),
    conv("T", "DCGAN, transposed", 32, (32, 32), 32, 64, 4, 2, 1),
    conv("S", "super-resolution, transposed", 8, (64, 64), 32, 64, 16, 4),
    # Classification.
    conv("resnet-stem", "ResNet", 8, (224, 224), 3, 64, 7, 2, 3),
    conv("resnet-56", "ResNet", 16, (56, 56), 64, 64, 3, 1, 1),
    conv("resnet-28", "ResNet", 16, (28, 28), 128, 128, 3, 1, 1),
    conv("resnet-14", "ResNet", 16, (14, 14), 256, 256, 3, 1, 1),
    conv("resnet-7", "ResNet", 16, (7, 7), 512, 512, 3, 1, 1),
    conv("resnet-1x1", "ResNet bottleneck", 16, (56, 56), 256, 64, 1),
    conv("resnet-1x1-s2", "ResNet shortcut", 16, (56, 56), 256, 512, 1, 2),
    conv("alexnet-stem", "AlexNet", 16, (224, 224), 3, 64, 11, 4, 2),
    conv("vit-stem", "ViT", 16, (224, 224), 3, 768, 16, 16),
    conv("resnext-28", "ResNeXt", 16, (28, 28), 128, 128, 3, 1, 1, groups=32),
    conv("mobilenet-dw", "MobileNet", 4, (56, 56), 128, 128, 3, 1, 1, groups=128),
    conv("mobilenet-dw-s2", "MobileNet", 8, (56, 56), 128, 128, 3, 2, 1, groups=128),
    conv("mobilenet-pw", "MobileNet", 32, (28, 28), 128, 256, 1),
    conv("convnext-dw", "ConvNeXt", 2, (56, 56), 96, 96, 7, 1, 3, groups=96),
    # Segmentation.
    conv("unet-first", "U-Net", 16, (128, 128), 1, 64, 3, 1, 1),
    conv("unet-128", "U-Net", 4, (128, 128), 64, 64, 3, 1, 1),
    conv("unet-up", "U-Net, transposed", 8, (128, 128), 64, 128, 2, 2),
    conv("deeplab-28", "DeepLab, atrous", 4, (28, 28), 256, 256, 3, 1, 2, kernel_dilation=2),
    conv("medical-first", "3-D U-Net", 8, (32, 32, 32), 1, 16, 3, 1, 1),
    conv("medical-32", "3-D U-Net", 4, (32, 32, 32), 16, 16, 3, 1, 1),
    conv("medical-down", "3-D U-Net", 8, (32, 32, 32), 16, 32, 3, 2, 1),
    conv("medical-up", "3-D U-Net, transposed", 16, (32, 32, 32), 16, 32, 2, 2),
    # Generation.
    conv("dcgan-16", "DCGAN, transposed", 64, (16, 16), 128, 256, 4, 2, 1),
    conv("dcgan-32", "DCGAN, transposed", 64, (32, 32), 64, 128, 4, 2, 1),
    conv("dcgan-64", "DCGAN, transposed", 64, (64, 64), 3, 64, 4, 2, 1),
    # Upsampling by an input dilation. On every platform, autodiff's kernel gradient of it is slow
    # (jax#31662 reports the volume).
    conv("upsampled-2d", "generator, lhs_dilation", 8, (32, 32), 64, 32, 4, 1, 2, input_dilation=2),
    conv("upsampled-3d", "jax#31662", 2, (16, 16, 16), 32, 16, 4, 1, 2, input_dilation=2),
    # Sound and other signals.
    conv("wavenet-1", "WaveNet", 8, (8192,), 64, 64, 2, 1, ((1, 0),)),
    conv("wavenet-16", "WaveNet", 8, (8192,), 64, 64, 2, 1, ((16, 0),), kernel_dilation=16),
    conv("wavenet-256", "WaveNet", 8, (8192,), 64, 64, 2, 1, ((256, 0),), kernel_dilation=256),
    conv("signal-4000", "ECG, raw sound", 64, (4000,), 1, 32, 25),
)

POOLS = (
    _pool("m2", "classifier, first pool", "max", 500, 24, 32, 2),
    _pool("m2s", "classifier, second pool", "max", 500, 8, 32, 2),
    _pool("m5", "classifier, branch", "max", 500, 19, 32, 5),
    _pool("m32", "ResNet stem", "max", 32, 112, 64, 3, 2, ((1, 1), (1, 1))),
    _pool("m31", "Inception, branch", "max", 32, 28, 192, 3, 1, ((1, 1), (1, 1))),
    _pool("a31", "Inception, branch", "avg", 32, 28, 192, 3, 1, ((1, 1), (1, 1))),
    _pool("a2", "average pool", "avg", 500, 24, 32, 2),
    _pool("up", "autoencoder, nearest", "up", 500, 12, 32, 2),
)

CASES: tuple[Case, ...] = (*CONVOLUTIONS, *POOLS)

# The convolutions that are also run as a block with bias, relu and max pool; the side of the pool.
BLOCKS = {"A": 2, "B": 2, "C": 5}

# The networks of the experiments whose training steps are timed.
NETWORKS = ("standard", "modified", "autoencoder")

# The public models whose gradient steps are timed, and the packages they are from; see `zoo.py`.
MODELS = {
    "efficientnet-b0": "keras",
    "mobilenet-v2": "keras",
    "resnet50": "keras",
    "densenet121": "keras",
    "convnext-tiny": "keras",
    "xception": "keras",
    "nasnet-mobile": "keras",
    "inception-v3": "keras",
    "haiku-resnet18": "haiku",
    "haiku-mobilenet-v1": "haiku",
    "linen-resnet18": "flaxmodels",
    "linen-resnet34": "flaxmodels",
    "nnx-unet": "flax",
    "equinox-convnext-atto": "equimo",
    "equinox-mobilenet-v3": "equimo",
}


def matching(patterns: Sequence[str]) -> list[Case]:
    """The cases whose names match a shell pattern, in the order of `CASES`."""
    return [case for case in CASES if fits(case.name, patterns)]


def matching_networks(patterns: Sequence[str]) -> list[str]:
    """The networks whose names match a shell pattern, in the order of `NETWORKS`."""
    return [name for name in NETWORKS if fits(name, patterns)]


def matching_models(patterns: Sequence[str]) -> list[str]:
    """The public models whose names match a shell pattern, in the order of `MODELS`."""
    return [name for name in MODELS if fits(name, patterns)]


def fits(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name matches one of the shell patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
