"""How fast jaxconv is, beside lax's autodiff, Flax and PyTorch, on this machine.

    python -m experiments.benchmark
    python -m experiments.benchmark --suite ops --cases A B "resnet-*" --modes entry
    python -m experiments.benchmark --suite step
    python -m experiments.benchmark --tune --shape "x=(500,12,12,32) kernel=(5,5,32,32)"

Prints a table of medians and their spread (half the distance of the quartiles), closes with
geometric means, and saves everything as JSON and a figure. Programs are run in turn, round by
round; a row is taken again where the machine's own rate fell meanwhile.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from .. import _malloc
from .._command_line import make_output_dir, require, run
from . import cases, shapes


@dataclass(frozen=True)
class Config:
    """Time convolutions and pools, training steps, compilation, or count what is remembered."""

    suite: Literal["ops", "step", "compile", "memory", "all"] = "ops"  # the question asked first
    cases: tuple[str, ...] = ("*",)  # names or shell patterns, see benchmark/cases.py
    # A convolution of your own, in place of --cases where that is not given; may be repeated:
    # "x=(n,h,w,c) kernel=(kh,kw,c,o) strides=1 padding=SAME kernel_dilation=1 groups=1"
    shape: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    modes: tuple[Literal["entry", "scan"], ...] = ("entry", "scan")  # top level, inside a loop
    corners: tuple[Literal["F", "DX", "DW", "DX+DW", "F+DX", "F+DX+DW"], ...] | None = None  # all
    peers: tuple[Literal["autodiff", "torch"], ...] | None = None  # default: those installed
    repeats: int = 9  # runs of a program; down to 3 of one that takes longer than half a second
    impl: str | None = None  # one algorithm of jaxconv's; default: the one that it selects
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    output_dir: Path = Path("results")  # for benchmark.json and benchmark.png
    malloc_tuning: bool = True  # keep freed memory: else large results cost a page fault a page
    tune: bool = False  # measure jaxconv's algorithms, and have later runs use the fastest


def main(config: Config) -> dict[str, Any]:
    """Run the suites, print their tables, write `benchmark.json` and `.png`; returns the record.

    Raises:
      UserError: An option can't be followed.
    """
    if config.malloc_tuning:  # before JAX allocates anything large
        _malloc.keep_freed_memory()
    from . import suites  # imports JAX

    chosen = _chosen(config)
    suites.check_options(config)
    make_output_dir(config.output_dir)
    with suites.precision_of(config.dtype):
        if config.tune:
            return suites.tune(chosen, config)
        record = {"config": asdict(config)} | suites.run(chosen, config)
    save(record, config.output_dir)
    return record


def _chosen(config: Config) -> list[cases.Case]:
    """The cases that the options name; shapes of the user's own stand alone unless both do."""
    own = [shapes.parse(text) for text in config.shape]
    patterns = () if own and config.cases == ("*",) else config.cases
    for pattern in patterns:
        fits = cases.matching([pattern]) or cases.matching_networks([pattern])
        require(bool(fits), f"--cases {pattern!r} fits no case.")
    return own + cases.matching(patterns)


def save(record: dict[str, Any], folder: Path) -> None:
    """Write what was measured, and draw it."""
    text = json.dumps(record, indent=2, default=str)
    (folder / "benchmark.json").write_text(text + "\n", encoding="utf-8")
    if record.get("ops"):
        from .figures import overview  # matplotlib is slow to import

        overview(record).savefig(folder / "benchmark.png", dpi=150)


if __name__ == "__main__":
    run(main, Config)
