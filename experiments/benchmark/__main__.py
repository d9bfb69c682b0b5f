"""Measure the speed of jaxconv beside lax's autodiff, Flax and PyTorch on this machine.

    python -m experiments.benchmark
    python -m experiments.benchmark --suite ops --cases A B "resnet-*" --modes entry
    python -m experiments.benchmark --suite step
    python -m experiments.benchmark --suite models --cases "mobilenet-*" --modes entry
    python -m experiments.benchmark --tune --shape "x=(500,12,12,32) kernel=(5,5,32,32)"

The program prints a table of medians with their spread, which is half the distance of the
quartiles, and geometric means. It saves the results as JSON after each row, and a figure at the
end. The programs of a row run in turn, round by round. A row is measured again if the machine
became slower meanwhile.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..command_line import make_output_dir, require, run
from ..command_line.files import write_figure, write_json
from ..training import memory
from . import cases, shapes


@dataclass(frozen=True)
class Config:
    """Measure times of convolutions and pools, training steps and compilation, or memory."""

    # the suite to run; models needs `pip install "jaxconv[models]"`
    suite: Literal["ops", "step", "compile", "memory", "models", "all"] = "ops"
    cases: tuple[str, ...] = ("*",)  # names or shell patterns, see benchmark/cases.py
    # A convolution of your own, in place of --cases or beside them; may be repeated:
    # "x=(n,h,w,c) kernel=(kh,kw,c,o) strides=1 padding=SAME kernel_dilation=1 groups=1"
    shape: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    modes: tuple[Literal["entry", "scan"], ...] = ("entry", "scan")  # at top level; inside a loop
    # default: all
    contractions: tuple[Literal["F", "DX", "DW", "DX+DW", "F+DX", "F+DX+DW"], ...] | None = None
    peers: tuple[Literal["autodiff", "torch"], ...] | None = None  # default: the installed ones
    repeats: int = 9  # runs of a program; at least 3 if a run takes longer than half a second
    impl: str | None = None  # an algorithm of jaxconv; default: the selected one
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    output_dir: Path = Path("results")  # for benchmark.json and benchmark.png
    malloc_tuning: bool = True  # keep freed memory, which avoids page faults
    tune: bool = False  # measure jaxconv's algorithms, and write the fastest to a tuning file


def main(config: Config) -> dict[str, Any]:
    """Run the suites, print tables, write `benchmark.json` and `.png`; return the results.

    Raises:
      UserError: The options cannot be followed.
    """
    if config.malloc_tuning:  # before JAX allocates anything large
        memory.keep_freed_memory()
    from . import suites  # imports JAX

    chosen = _chosen(config)
    suites.check_options(config)
    make_output_dir(config.output_dir)
    with suites.precision_of(config.dtype):
        if config.tune:
            return suites.tune(chosen, config)
        record = {"config": asdict(config)}
        file = config.output_dir / "benchmark.json"
        suites.run(chosen, config, record, lambda: write_json(file, record))
    write_json(file, record)
    if record.get("ops"):
        from .figures import overview  # Matplotlib takes a second to import

        write_figure(config.output_dir / "benchmark.png", overview(record))
    return record


def _chosen(config: Config) -> list[cases.Case]:
    """The cases that the options name. With --shape, --cases has no default."""
    own = [shapes.parse(text) for text in config.shape]
    patterns = () if own and config.cases == ("*",) else config.cases
    for pattern in patterns:
        known = (cases.matching, cases.matching_networks, cases.matching_models)
        require(
            any(matching([pattern]) for matching in known), f"--cases {pattern!r} matches no case."
        )
    return own + cases.matching(patterns)


if __name__ == "__main__":
    run(main, Config)
