"""Run every option of the training programs once: `python -m tests.experiments.every_option`.

It needs the extra `experiments` only. CI runs it in an environment without other packages, which
finds imports that the extra lacks. The options and choices in the command lines below are compared
with those of the programs, so that a new option must be added here.
"""

import contextlib
import dataclasses
import importlib
import io
import itertools
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import typing
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

CLASSIFIER = (
    "--preset original --dataset npz:arrays.npz --output-dir runs/c0 --model modified --epochs 2"
    " --batch-size 16 --export --profile --checkpoint-epochs 1 --checkpoint-seconds 30 --keep 1"
    " --patience 5",
    "--output-dir runs/c0 --epochs 3 --resume --no-export --no-profile",
    "--skip-bad-files "
    "--preset best --dataset folder:images --cache-dir cache --image-size 20 24 --epochs 1"
    " --output-dir runs/c1 --seeds 2 --seed 3 --model large --optimiser adamw --schedule one_cycle"
    " --momentum 0.8 --weight-decay 0.01 --clip-norm 5 --average 0.9 --augment affine"
    " --batch-size 4 --mesh data=1 --no-malloc-tuning",
    "--model both --dataset npz:arrays.npz --output-dir runs/c3 --epochs 1 --batch-size 32"
    " --optimiser sgd --schedule constant --precision float32 --augment none --gradients jaxconv"
    " --no-skip-bad-files",
    "--model standard --dataset npz:arrays.npz --output-dir runs/c4 --epochs 1 --batch-size 32"
    " --gradients autodiff --class-weights balanced",
    "--preset photo --model photo --dataset npz:arrays.npz --output-dir runs/c5 --epochs 1",
    "--model auto --dataset npz:arrays.npz --output-dir runs/c6 --epochs 1 --class-weights none",
    "--resume runs/c5",
    # Processes meet before JAX computes anything: this line comes first in a process of its own.
    "--preset fast --dataset digits --data-dir unused --output-dir runs/c2 --epochs 1 --model small"
    " --batch-size 200 --precision bfloat16 --optimiser adam --schedule cosine --augment shift"
    " --learning-rate 0.001 --malloc-tuning --coordinator localhost:{port} --num-processes 1"
    " --process-id 0",
)
AUTOENCODER = (
    "--preset original --dataset npz:arrays.npz --output-dir runs/a0 --kind plain --decoder both"
    " --epochs 2 --batch-size 16 --code-size 3 --dropout 0.2 --export --profile --keep 1"
    " --checkpoint-epochs 1 --checkpoint-seconds 30 --patience 5 --optimiser sgd"
    " --schedule constant --precision float32",
    "--output-dir runs/a0 --epochs 3 --resume --no-export --no-profile",
    "--preset variational --decoder untied --dataset npz:arrays.npz --output-dir runs/a1 --epochs 1"
    " --batch-size 32 --beta 2 --binarise --draws 3 --code-size 2 --hidden 8 --average 0.9"
    " --seeds 2 --seed 3 --mesh data=1 --output sigmoid",
    "--preset best --kind variational --no-binarise --dataset npz:arrays.npz --data-dir unused"
    " --output-dir runs/a2 --epochs 1 --batch-size 32 --hidden 8 --draws 2 --optimiser adamw"
    " --weight-decay 0.01 --momentum 0.8 --precision bfloat16",
    "--skip-bad-files "
    "--preset denoising --dataset folder:images --cache-dir cache --image-size 20 24 --epochs 1"
    " --output-dir runs/a3 --batch-size 4 --kind denoising --noise gaussian --noise-level 0.3"
    " --hidden 8 --output relu --optimiser adam --schedule cosine --clip-norm 5"
    " --learning-rate 0.001 --no-malloc-tuning",
    "--preset denoising --noise salt_and_pepper --dataset npz:arrays.npz --output-dir runs/a5"
    " --no-skip-bad-files"
    " --epochs 1 --batch-size 32 --hidden 8",
    "--preset denoising --decoder tied --dataset npz:arrays.npz --output-dir runs/a4 --epochs 1"
    " --batch-size 32 --noise masking --hidden 8 --schedule one_cycle --malloc-tuning"
    " --coordinator localhost:{port} --num-processes 1 --process-id 0",
)
PREDICT = (
    "--run runs/c1 --seed-index 1 --step {step} --output classes.csv images",
    "--checkpoint runs/c1/large/checkpoints/{step} --invert images/a/0.png images/b/1.png",
    "--artifact runs/a0/tied/forward.stablehlo --no-invert --output-dir seen images/a/0.png",
)
COMPARE = (
    "runs/c0 runs/c1 runs/a0",
    "runs/c0/modified runs/c1 --metric test_loss --output compared/losses.png",
)
PROGRAMS = {
    "classifier": CLASSIFIER,
    "autoencoder": AUTOENCODER,
    "predict": PREDICT,
    "compare": COMPARE,
}


# ---- the options of the programs -------------------------------------------------------------


def listed(program) -> set[str]:
    """The options that `--help` lists, and `--preset`, which is read before the others."""
    from experiments.command_line import run

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        run(program.main, program.Config, ["--help"])
    # The line of an option begins with it; help texts may name others.
    names = re.findall(
        r"^[\s│]*(?:-h, )?((?:--[a-z][\w-]+(?:, )?)+)", shown.getvalue(), re.MULTILINE
    )
    found = {name for line in names for name in line.split(", ")} - {"--help", ""}
    return found | ({"--preset"} if hasattr(program, "PRESETS") else set())


def choices(program) -> set[tuple[str, str]]:
    """The options with a fixed set of values, and each of the values."""
    hints = typing.get_type_hints(program.Config)
    found = {
        (f"--{field.name.replace('_', '-')}", value)
        for field in dataclasses.fields(program.Config)
        if typing.get_origin(hints[field.name]) is typing.Literal
        for value in typing.get_args(hints[field.name])
    }
    return found | {("--preset", name) for name in getattr(program, "PRESETS", ())}


def complaints(runs: Iterable[str], options: set[str], values: set[tuple[str, str]]) -> list[str]:
    """The options and values that the command lines lack, and those that no longer exist."""
    words = [shlex.split(line) for line in runs]
    used = {word for line in words for word in line if word.startswith("--")}
    pairs = {pair for line in words for pair in itertools.pairwise(line)}
    return [
        *(f"{option} is run nowhere" for option in sorted(options - used)),
        *(f"{option} is run and does not exist" for option in sorted(used - options)),
        *(f"{option} {value} is run nowhere" for option, value in sorted(values - pairs)),
    ]


def program_named(name: str):
    return importlib.import_module(f"experiments.{name}")


def all_complaints() -> list[str]:
    """The complaints about all programs."""
    return [
        f"{name}: {complaint}"
        for name, runs in PROGRAMS.items()
        for program in [program_named(name)]
        for complaint in complaints(runs, listed(program), choices(program))
    ]


# ---- the runs --------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    """Write images of 20×20 pixels in two classes, as arrays and as files."""
    from PIL import Image

    images = np.random.default_rng(0).integers(0, 256, (48, 20, 20, 1), np.uint8)
    images[::2, :10] = 0
    labels = np.arange(48) % 2
    np.savez(folder / "arrays.npz", images=images, labels=labels)
    for number, (image, label) in enumerate(zip(images[:12], labels, strict=False)):
        of_class = folder / "images" / "ab"[label]
        of_class.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(of_class / f"{number}.png")


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("localhost", 0))
        return opened.getsockname()[1]


def run_here(*given: tuple[str, str]) -> None:
    """Run command lines, each a program's name and its options, in this process and folder."""
    from experiments.command_line import run

    for name, line in given:
        step = next((at.name for at in Path().glob("runs/c1/large/checkpoints/[0-9]*")), "")
        args = shlex.split(line.format(port=free_port(), step=step))
        program, shown = program_named(name), io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            try:
                run(program.main, program.Config, args, presets=getattr(program, "PRESETS", None))
            except SystemExit as end:
                sys.__stderr__.write(f"{shown.getvalue()}\n{name} {line}: exit status {end.code}\n")
                raise
        print(f"{name} {line}", flush=True)


def main() -> None:
    if found := all_complaints():
        sys.exit("\n".join(found))
    # Compiling takes most of the time, and the compiled programs are tested elsewhere.
    environment = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"} | os.environ
    environment["PYTHONPATH"] = os.pathsep.join((os.getcwd(), environment.get("PYTHONPATH", "")))
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder))

        def run_all(*programs: str) -> None:
            lines = [(name, line) for name in programs for line in PROGRAMS[name]]
            first = [[each] for each in lines if "--coordinator" in each[1]]
            for group in [*first, [each for each in lines if [each] not in first]]:
                code = f"from tests.experiments.every_option import run_here; run_here(*{group!r})"
                command = [sys.executable, "-c", code]
                subprocess.run(command, cwd=folder, env=environment, check=True)

        with ThreadPoolExecutor() as pool:  # each training program has a process
            list(pool.map(run_all, ("classifier", "autoencoder")))
        run_all("predict", "compare")  # which read what the others wrote


if __name__ == "__main__":
    main()
