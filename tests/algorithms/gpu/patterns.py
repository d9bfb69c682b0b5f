"""What XLA's GPU compiler makes of a StableHLO program: which cuDNN routine a convolution becomes.

The rules are those of the docstring of `jaxconv/algorithms/gpu/_cudnn.py`, applied to a program's
text. No GPU is needed to lower a program for one.
"""

import re
from dataclasses import dataclass

import jax

_CONVOLUTION = re.compile(
    r"stablehlo\.convolution\((?P<lhs>%\w+), (?P<rhs>%\w+)\) "
    r"dim_numbers = \[(?P<lhs_axes>[^]]*)\]x\[(?P<rhs_axes>[^]]*)\]->\[(?P<out_axes>[^]]*)\], "
    r"window = \{(?P<window>[^}]*)\} \{(?P<groups>[^}]*)\} : "
    r"\(tensor<(?P<lhs_type>\S+)>, tensor<(?P<rhs_type>\S+)>\) -> tensor<(?P<out_type>\S+)>"
)


@dataclass(frozen=True)
class Convolution:
    """What the rules look at in a convolution of a lowered program."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    base_dilation: tuple[int, ...]
    window_dilation: tuple[int, ...]
    feature_groups: int
    batch_groups: int
    window: tuple[int, ...]
    output: tuple[int, ...]
    reversed_kernel: bool

    def routine(self) -> str:
        """The cuDNN routine that this becomes."""
        if self._is_data_gradient():
            return "data gradient"
        return "filter gradient" if self._is_filter_gradient() else "forward"

    def runs_over_zeros(self) -> bool:
        """Whether this runs over an input full of zeros."""
        return self.routine() == "forward" and max(self.base_dilation) > 1

    def _is_data_gradient(self):
        plain = {*self.strides, *self.window_dilation, self.feature_groups} == {1}
        sides = zip(self.window, self.padding, strict=True)
        return plain and self.reversed_kernel and all(r - 1 - lo >= 0 for r, (lo, _) in sides)

    def _is_filter_gradient(self):
        plain = {*self.strides, *self.base_dilation, self.feature_groups} == {1}
        larger = [r > p for r, p in zip(self.window, self.output, strict=True)]
        enough = any(larger) if max(self.window_dilation) > 1 else all(larger)
        return plain and enough and all(lo >= 0 for lo, _ in self.padding)


def lowered(f, *args, platform="cuda") -> str:
    """The program that `f` becomes on a GPU, as text; no GPU is needed."""
    return jax.jit(f).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def convolutions(text: str) -> list[Convolution]:
    """The convolutions of a program, in order."""
    return [_read(match, text) for match in _CONVOLUTION.finditer(text)]


def _read(match, text):
    def numbers(name):
        found = re.search(rf"{name} = \[([^a-z]*)\](?:,|$)", match["window"])
        return [int(n) for n in re.findall(r"-?\d+", found[1])]

    def spatial(slot):
        sizes, axes = match[f"{slot}_type"].split("x"), match[f"{slot}_axes"].split(", ")
        return tuple(int(size) for size, axis in zip(sizes, axes, strict=False) if axis.isdigit())

    def groups(name):
        return int(re.search(rf"{name}_group_count = (\d+)", match["groups"])[1])

    pads = numbers("pad")
    axes = [str(n) for n, axis in enumerate(match["rhs_axes"].split(", ")) if axis.isdigit()]
    reversed_by = rf"{match['rhs']} = stablehlo\.reverse %\w+, dims = \[{', '.join(axes)}\] "
    return Convolution(
        strides=tuple(numbers("stride")),
        padding=tuple(zip(pads[::2], pads[1::2], strict=True)),
        base_dilation=tuple(numbers("lhs_dilate")),
        window_dilation=tuple(numbers("rhs_dilate")),
        feature_groups=groups("feature"),
        batch_groups=groups("batch"),
        window=spatial("rhs"),
        output=spatial("out"),
        reversed_kernel=bool(re.search(reversed_by, text)),
    )
