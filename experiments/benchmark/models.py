"""Suite `models`: gradient steps of public models, as they are and accelerated.

Each model runs plain, as `accelerate(loss)` under `jax.grad` ("before") and as `accelerate` of the
gradient ("after"), at top level and in `lax.scan`. The same compiled programs give the time to
compile and the temporary memory.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxconv

from ..command_line import tables
from . import report, zoo
from .ops import timed
from .timing import Machine, Program

Row = dict[str, Any]
ORDERS = ("plain", "before", "after")
LEARNING_RATE = 1e-4  # small, so that a few steps on noise do not diverge
STEPS = 2  # of a loop; its second step starts from other parameters
# By how much more than rounding the losses may differ: these networks are up to 200 layers deep.
TOLERANCE = 1e-3


def rows(
    names: Iterable[str],
    *,
    modes: Sequence[str],
    repeats: int,
    machine: Machine,
) -> Iterator[Row]:
    """For each model and mode the seconds of a step, and of its compilation, and temporary bytes.

    A model whose package is not installed gives one row with the reason among its errors.

    Args:
      names: Names of `cases.MODELS`.
      modes: "entry", "scan" or both.
      repeats: The number of runs of each program, fewer for slow ones.
      machine: Measures the rate of the machine before and after.
    """
    for name in names:
        about = {"case": name, "kind": "model", "contraction": "step"}
        try:
            model = zoo.load(name)
        except ModuleNotFoundError as error:
            message = (
                f'not measured, because {error.name} is missing: pip install "jaxconv[models]"'
            )
            yield about | {"mode": "", "seconds": {}, "errors": {"model": message}}
            continue
        for mode in modes:
            yield about | {"mode": mode} | _measured(model, mode, repeats, machine)


def _measured(model: zoo.Model, mode: str, repeats: int, machine: Machine) -> Row:
    programs, compile_seconds, temporary, losses = {}, {}, {}, {}
    for order in ORDERS:
        step = gradient_step(model.loss, order)
        f = jax.jit(partial(_loop, step) if mode == "scan" else step)
        arguments = model.params, model.images, model.labels
        start = time.perf_counter()
        compiled = f.lower(*arguments).compile()
        compile_seconds[order] = time.perf_counter() - start
        temporary[order] = compiled.memory_analysis().temp_size_in_bytes
        run = partial(_run, compiled, arguments)
        losses[order] = float(run()[0])
        programs[order] = Program(run, lambda result: [np.asarray(result[0])], _steps(mode))
    errors = {
        order: f"wrong result: the loss is {loss}, plain {losses['plain']}"
        for order, loss in losses.items()
        if not abs(loss - losses["plain"]) <= TOLERANCE * abs(losses["plain"])
    }
    right = {order: program for order, program in programs.items() if order not in errors}
    measured = {"compile_seconds": compile_seconds, "temporary": temporary, "losses": losses}
    return timed(right, repeats, machine) | measured | {"errors": errors}


def _steps(mode: str) -> int:
    return STEPS if mode == "scan" else 1


def gradient_step(loss: Callable[..., Any], order: str) -> Callable[..., Any]:
    """From parameters, images and labels to the loss and the parameters after one step.

    Args:
      loss: The loss of a `zoo.Model`.
      order: One of `ORDERS`.
    """
    if order == "before":
        loss = jaxconv.accelerate(loss)

    def step(params, images, labels):
        value, gradient = jax.value_and_grad(loss)(params, images, labels)
        moved = jax.tree.map(lambda a, b: a - LEARNING_RATE * b, params, gradient)
        return value, moved

    return jaxconv.accelerate(step) if order == "after" else step


def _loop(step: Callable[..., Any], params, images, labels):
    """Steps in `lax.scan`; the mean loss and the parameters."""

    def body(params, _):
        value, params = step(params, images, labels)
        return params, value

    params, values = lax.scan(body, params, None, length=STEPS)
    return jnp.mean(values), params


def _run(compiled: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return jax.block_until_ready(compiled(*arguments))


def print_table(rows: Sequence[Row]) -> None:
    """Print a line for each row, and geometric means of the ratios of plain to accelerated."""
    found = tables.table("model", "mode", "plain ms", "before ms", "after ms")
    headings = ("ratio before", "after", "compile s: plain", "before", "after")
    for heading in (*headings, "MB: plain", "before", "after"):
        found.add_column(heading, justify="right")
    for row in rows:
        if "compile_seconds" not in row:
            continue
        cells = [row["case"], row["mode"]]
        cells += [f"{1e3 * _median(row, order):,.1f}" for order in ORDERS]
        cells += [f"{ratio(row, order):.2f}" for order in ORDERS[1:]]
        cells += [f"{row['compile_seconds'][order]:.1f}" for order in ORDERS]
        cells += [f"{row['temporary'][order] / 1e6:,.0f}" for order in ORDERS]
        found.add_row(*cells)
    tables.print_table(found)
    report.print_errors(rows)
    for mean in summary(rows):
        print(
            f"{mean['mode']}: {mean['cases']} models, geometric mean {mean['before']:.2f} before "
            f"and {mean['after']:.2f} after differentiation, least {mean['least']:.2f} "
            f"({mean['least_case']}); compile time {mean['compile']:.2f} of plain"
        )


def summary(rows: Iterable[Row]) -> list[Row]:
    """For each mode the geometric means, and the model with the lowest ratio in either order."""
    means = []
    measured = [row for row in rows if set(row["seconds"]) == set(ORDERS)]
    for mode in dict.fromkeys(row["mode"] for row in measured):
        of_mode = [row for row in measured if row["mode"] == mode]
        least, case = min((ratio(row, o), row["case"]) for row in of_mode for o in ORDERS[1:])
        mean: Row = {"mode": mode, "cases": len(of_mode), "least": least, "least_case": case}
        for order in ORDERS[1:]:
            mean[order] = _geometric_mean([ratio(row, order) for row in of_mode])
        mean["compile"] = _geometric_mean(
            [
                row["compile_seconds"][order] / row["compile_seconds"]["plain"]
                for row in of_mode
                for order in ORDERS[1:]
            ]
        )
        means.append(mean)
    return means


def ratio(row: Row, order: str) -> float:
    """The plain step's time divided by the accelerated one's."""
    return _median(row, "plain") / _median(row, order)


def _median(row: Row, order: str) -> float:
    return row["seconds"].get(order, {}).get("median", float("nan"))


def _geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))
