"""Which options each library can differentiate. The program evaluates every cell of the table.

    python -m experiments.coverage
    python -m experiments.coverage --rows "max*" --libraries jaxconv lax

A row is an option, such as a max pool with dilated windows, and a column is a library. A cell has a
mark for each mode: the result equals the definition, differs from it, or the library raises an
error. PyTorch and Equinox are left out if they are not installed.
"""

import fnmatch
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from ..command_line import require, run
from . import convolutions, modes, pools
from .rows import Row

MARKS = {"right": "✓", "wrong": "✗", "raises": "–", "absent": " "}


@dataclass(frozen=True)
class Config:
    """Evaluate every option in every library and mode, and print a table."""

    rows: tuple[str, ...] = ("*",)  # names or shell patterns
    libraries: tuple[str, ...] = ("jaxconv", "lax", "flax", "equinox", "torch")  # those installed


def main(config: Config) -> dict[str, dict[str, dict[str, str]]]:
    """Print the table; return the verdict for each row, library and mode.

    Raises:
      UserError: No row matches.
    """
    names = [name for name in config.libraries if name == "lax" or find_spec(name)]
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries
        rows = [*convolutions.rows(), *pools.rows()]
        chosen = [row for row in rows if any(fnmatch.fnmatch(row.name, p) for p in config.rows)]
        require(bool(chosen), f"--rows {' '.join(config.rows)} matches no row.")
        verdicts = {row.name: tried(row, names) for row in chosen}
    print(table(verdicts, names))
    return verdicts


def tried(row: Row, names: list[str]) -> dict[str, dict[str, str]]:
    """The verdict for each library and mode of a row."""
    y_shape = jax.eval_shape(row.definition, row.x).shape
    by_definition = modes.of_jax(row.definition, row.x, y_shape)
    expected = {mode: np.asarray(by_definition[mode]()) for mode in modes.MODES}
    verdicts = {}
    for name in names:
        f = row.libraries.get(name)
        of = modes.of_torch if name == "torch" else modes.of_jax
        found = of(f, row.x, y_shape) if f else {}
        verdicts[name] = {mode: verdict(found.get(mode), expected[mode]) for mode in modes.MODES}
    return verdicts


def verdict(compute: Callable[[], Any] | None, expected: np.ndarray) -> str:
    """Whether a computation returns the expected array, to rounding."""
    if compute is None:
        return "absent"
    try:
        result = np.asarray(compute(), np.float64)
    except Exception:  # whatever a library raises, the mode does not work there
        return "raises"
    if result.shape != expected.shape:
        return "wrong"
    scale = np.max(np.abs(expected), initial=1, where=np.isfinite(expected))
    bound = expected.size * np.finfo(float).eps * scale
    same = np.isclose(result, expected, rtol=0, atol=bound, equal_nan=True)
    return "right" if same.all() else "wrong"


def table(verdicts: Mapping[str, Mapping[str, Mapping[str, str]]], names: list[str]) -> str:
    """The verdicts as a Markdown table. Each cell has a mark for each mode."""
    legend = (
        f"In each cell: {', '.join(modes.MODES)}. ✓ equals the definition, ✗ differs, – raises; "
        "blank was not tried, in most cases because the library has no such option."
    )
    lines = [legend, "", f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row, cells in verdicts.items():
        marks = ("".join(MARKS[cells[name][mode]] for mode in modes.MODES) for name in names)
        lines.append(f"| {row} | {' | '.join(marks)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main, Config)
