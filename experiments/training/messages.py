"""What a run prints after training."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..command_line import note
from ..command_line.tables import number
from .options import TrainingOptions
from .records import Entry


def titles(name: str, options: TrainingOptions) -> list[str]:
    """The name of the network for each seed, with the seed if there are several."""
    seeds = range(options.seed, options.seed + options.seeds)
    return [f"{name} (seed {seed})" if options.seeds > 1 else name for seed in seeds]


def note_if_nothing_was_learned(
    title: str, history: Sequence[Entry], measure: str, constant: float, advice: str
) -> None:
    """Warn if an error has not fallen below that of a constant answer.

    Args:
      title: Of the network.
      history: Its last entry counts in training, and its best one in validation, where nothing is
        dropped out.
      measure: The metric, such as "loss".
      constant: The measure of the best answer that is the same for all images.
      advice: What may help.
    """
    best = min(entry[f"validation_{measure}"] for entry in history)
    least = min(history[-1][f"train_{measure}"], best)
    if least > 0.95 * constant:
        note(
            f"{title} has learned next to nothing: its {measure} is {number(least, 4)} after "
            f"{len(history)} epochs, and {number(constant, 4)} if the answer is the same for all "
            f"images. {advice}"
        )


def print_place(folder: Path, histories: Mapping[str, Sequence[Sequence[Entry]]], channels: int):
    """Print the run's folder, and the command to predict with its best network."""

    def loss(name):
        return min(entry["validation_loss"] for run in histories[name] for entry in run)

    place = shlex.quote(str(folder / min(histories, key=loss)))
    use = f"; to use it: python -m experiments.predict --run {place} IMAGE.png"
    print(f"Results are in {folder}{use if channels in (1, 3) else ''}")  # files have 1 or 3
