"""What each mechanism for hand-written derivatives can do. The program tries every cell.

    python -m experiments.forms
    python -m experiments.forms --overhead

One bilinear function with its two transposes is written for `jaxconv.forms`, `jax.custom_vjp`,
`jax.custom_jvp`, `jax.custom_derivatives.linear_call` and `torch.autograd.Function`, which is left
out if PyTorch is not installed. JAX's private `custom_transpose` is gone since JAX 0.10. A cell
says whether the result equals autodiff of the plain function, and whether the stated transposes
computed it: they are replaced by wrong ones, and the result must change. `--overhead` times a form
beside the plain function, in turns, and prints the ratio of the fastest runs.
"""

import gc
import inspect
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.sharding import PartitionSpec

from jaxconv import forms

from ..command_line import run
from . import rivals

MARKS = {"stated": "✓", "derived": "autodiff", "wrong": "✗", "raises": "–", "absent": ""}


@dataclass(frozen=True)
class Config:
    """Try every transformation with every mechanism, and print a table."""

    overhead: bool = False  # time a form beside the plain function instead
    repeats: int = 30  # of each timing, of which the fastest counts
    length: int = 64  # of the signal; the kernel has 5 elements


def main(config: Config) -> dict[str, dict[str, Any]]:
    """Print a table; return its cells by row and column."""
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch
        found = overhead(config) if config.overhead else table(config)
    columns = list(next(iter(found.values())))
    print("| " + " | ".join(["", *columns]) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, cells in found.items():
        print("| " + " | ".join([name, *(MARKS.get(v, str(v)) for v in cells.values())]) + " |")
    return found


def square(f: Callable[..., Any]) -> Callable[..., Any]:
    """The sum of the squares of a function."""
    return lambda *args: jnp.sum(f(*args) ** 2)


def _both(f, x, k):
    return jax.jvp(f, (x, k), (x, k))[1], jax.grad(square(f), (0, 1))(x, k)


def _sharded(f, x, k):
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    each = jax.shard_map(
        jax.vmap(jax.grad(square(f), (0, 1)), (0, None)),
        mesh=mesh,
        in_specs=(PartitionSpec("d"), PartitionSpec()),
        out_specs=PartitionSpec("d"),
    )
    return jax.jit(each)(jnp.stack([x, 2 * x]), k)


def _exported(f, x, k):
    exported = export.export(jax.jit(jax.grad(square(f), (0, 1))), platforms=("cpu", "tpu"))(x, k)
    return export.deserialize(exported.serialize()).call(x, k)


# For each row, a function of f, x and k.
MODES: dict[str, Callable[..., Any]] = {
    "forward": lambda f, x, k: jax.jvp(f, (x, k), (jnp.sin(x), k))[1],
    "reverse": lambda f, x, k: jax.grad(square(f), (0, 1))(x, k),
    "both": _both,
    "second order, forward over reverse": lambda f, x, k: jax.jvp(
        jax.grad(square(f), (0, 1)), (x, k), (x, k)
    )[1],
    "second order, reverse over forward": lambda f, x, k: jax.grad(
        lambda x, k: jax.jvp(square(f), (x, k), (x, k))[1], (0, 1)
    )(x, k),
    "second order, reverse over reverse": lambda f, x, k: jax.grad(
        lambda x, k: jnp.sum(jax.grad(square(f))(x, k) ** 2), (0, 1)
    )(x, k),
    "transpose": lambda f, x, k: jax.linear_transpose(lambda x: f(x, k), x)(f(x, k)),
    "vmap": lambda f, x, k: jax.vmap(f, (0, None))(jnp.stack([x, 2 * x]), k),
    "vmap of grad": lambda f, x, k: jax.vmap(jax.grad(square(f), (0, 1)), (0, None))(
        jnp.stack([x, 2 * x]), k
    ),
    "scan": lambda f, x, k: jax.grad(
        lambda k: jax.lax.scan(lambda c, x: (c + square(f)(x, k), None), 0.0, jnp.stack([x, x]))[0]
    )(k),
    "checkpoint": lambda f, x, k: jax.grad(jax.checkpoint(square(f)), (0, 1))(x, k),
    "shard_map": _sharded,
    "export": _exported,
}
WITHOUT_TRANSPOSES = ("forward", "vmap")


def table(config: Config) -> dict[str, dict[str, Any]]:
    """The verdict of each mode for each mechanism; lines of code; time to trace."""
    rng = np.random.default_rng(0)
    x, k = jnp.asarray(rng.normal(size=config.length)), jnp.asarray(rng.normal(size=5))
    found: dict[str, dict[str, Any]] = {mode: {} for mode in MODES}
    found |= {"a map for each platform": {}, "lines of code": {}, "time to trace a gradient": {}}
    expected = {mode: jax.tree.leaves(of(rivals.of_y, x, k)) for mode, of in MODES.items()}
    for name, mechanism in rivals.MECHANISMS.items():
        right = mechanism(rivals.of_x, rivals.of_k, rivals.of_y)
        planted = rivals.planted(mechanism)
        for mode, of in MODES.items():
            found[mode][name] = _verdict(
                mode, lambda f, of=of: of(f, x, k), right, planted, expected[mode]
            )
        found["a map for each platform"][name] = _platforms(mechanism, x, k)
        found["lines of code"][name] = _lines(mechanism)
    maps = rivals.of_x, rivals.of_k, rivals.of_y
    makers = {"plain": lambda: rivals.copied(rivals.of_y)} | {
        name: lambda mechanism=mechanism: mechanism(*map(rivals.copied, maps))
        for name, mechanism in rivals.MECHANISMS.items()
    }
    tracing = {name: _tracing(make, x, k, gradient=True) for name, make in makers.items()}
    times = _in_turns(tracing, config.repeats)
    for name in rivals.MECHANISMS:
        found["time to trace a gradient"][name] = f"{times[name] / times['plain']:.2f}×"
    if find_spec("torch"):
        for row, verdict in _of_torch(np.asarray(x), np.asarray(k)).items():
            found[row]["torch"] = verdict
        for cells in found.values():
            cells.setdefault("torch", "absent")
    return found


def _verdict(mode: str, of: Callable[..., Any], right, planted, expected: list[Any]) -> str:
    """What a mode makes of a mechanism; `of` applies the mode to a function.

    `expected` holds the arrays that the mode gives for the plain function.
    """
    try:
        actual = jax.tree.leaves(of(right))
    except Exception:  # a mechanism that can't do it raises one of many errors
        return "raises"
    if not all(map(_equal, actual, expected)):
        return "wrong"
    wrong = jax.tree.leaves(of(planted))
    is_used = not all(map(_equal, wrong, expected))
    return "stated" if is_used or mode in WITHOUT_TRANSPOSES else "derived"


def _equal(a, b) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=1e-12)


def _platforms(mechanism: Callable[..., Any], x: Any, k: Any) -> str:
    """Whether the gradient can be compiled from one map on TPUs and from another elsewhere.

    A form is given both. In the other mechanisms the maps call `jax.lax.platform_dependent`.
    """

    def marked(*operands):
        return rivals.of_y(*operands) + jax.lax.erf_inv(0.0)

    def either(*operands):
        return jax.lax.platform_dependent(*operands, tpu=marked, default=rivals.of_y)

    if mechanism is rivals.forms:
        maps = {"x": rivals.of_x, "k": rivals.of_k, "y": rivals.of_y}
        f = forms.multilinear_form(maps, lowerings={"y": {"tpu": marked}})[2]
    else:
        f = mechanism(rivals.of_x, rivals.of_k, either)
    try:
        traced = jax.jit(jax.value_and_grad(square(f), (0, 1))).trace(x, k)
        programs = [
            traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "tpu")
        ]
    except Exception:  # a mechanism that can't do it raises one of many errors
        return "raises"
    return "stated" if ["erf_inv" in program for program in programs] == [False, True] else "wrong"


def _lines(f: Callable[..., Any]) -> int:
    """The lines of a function's body that are neither empty nor its docstring."""
    body = inspect.getsource(f).split('"""')[-1].splitlines()
    return len([line for line in body if line.strip()])


def _of_torch(x: np.ndarray, k: np.ndarray) -> dict[str, Any]:
    import torch
    from torch.utils.checkpoint import checkpoint

    f = rivals.torch_function(*rivals.TORCH_MAPS)
    planted = rivals.planted(rivals.torch_function, rivals.TORCH_MAPS)
    x, k = torch.tensor(x), torch.tensor(k)
    pair, leaves = torch.stack([x, 2 * x]), [a.clone().requires_grad_() for a in (x, k)]

    def loss(f):
        return lambda x, k: (f(x, k) ** 2).sum()

    def grad(f):
        return torch.func.grad(loss(f), (0, 1))

    modes = {
        "forward": lambda f: torch.func.jvp(f, (x, k), (torch.sin(x), k))[1],
        "reverse": lambda f: grad(f)(x, k),
        "both": lambda f: (torch.func.jvp(f, (x, k), (x, k))[1], *grad(f)(x, k)),
        "second order, forward over reverse": lambda f: torch.func.jvp(grad(f), (x, k), (x, k))[1],
        "second order, reverse over forward": lambda f: torch.func.grad(
            lambda x, k: torch.func.jvp(loss(f), (x, k), (x, k))[1], (0, 1)
        )(x, k),
        "second order, reverse over reverse": lambda f: torch.func.grad(
            lambda x, k: (torch.func.grad(loss(f))(x, k) ** 2).sum(), (0, 1)
        )(x, k),
        "vmap": lambda f: torch.func.vmap(f, (0, None))(pair, k),
        "vmap of grad": lambda f: torch.func.vmap(grad(f), (0, None))(pair, k),
        "checkpoint": lambda f: torch.autograd.grad(
            checkpoint(loss(f), *leaves, use_reentrant=False), leaves
        ),
    }  # fmt: skip
    found: dict[str, Any] = {"lines of code": _lines(rivals.torch_function)}
    for name, of in modes.items():
        found[name] = _verdict(name, of, f, planted, jax.tree.leaves(of(rivals.torch_of_y)))
    return found


# Timings.


def overhead(config: Config) -> dict[str, dict[str, Any]]:
    """How long a form takes beside the plain function, as the ratio of the fastest runs."""
    rng = np.random.default_rng(0)
    x, k = jnp.asarray(rng.normal(size=config.length)), jnp.asarray(rng.normal(size=5))
    makers = {
        "plain": lambda: rivals.copied(rivals.of_y),
        "form": lambda: rivals.forms(*map(rivals.copied, (rivals.of_x, rivals.of_k, rivals.of_y))),
    }
    rows = {
        "trace": lambda make: _tracing(make, x, k),
        "trace a gradient": lambda make: _tracing(make, x, k, gradient=True),
        "trace a gradient again": lambda make: _tracing_again(make, x, k),
        "trace and lower": lambda make: _tracing(make, x, k, lower=True),
        "trace and lower a gradient": lambda make: _tracing(make, x, k, gradient=True, lower=True),
        "run, compiled": lambda make: _running(jax.jit(make()), x, k),
        "run a gradient, compiled": lambda make: _running(
            jax.jit(jax.grad(square(make()), (0, 1))), x, k
        ),
        "run, not compiled": lambda make: _running(make(), x, k),
    }
    found = {}
    for name, row in rows.items():
        timings = {column: row(make) for column, make in makers.items()}
        times = _in_turns(timings, config.repeats)
        found[name] = {
            "plain, µs": f"{times['plain'] * 1e6:.0f}",
            "form, µs": f"{times['form'] * 1e6:.0f}",
            "ratio": f"{times['form'] / times['plain']:.2f}",
        }
    return found


def _tracing(make, *operands, gradient=False, lower=False):
    """The time of tracing a function for the first time: each time it is another one."""

    def trace():
        made = make()
        f = jax.grad(square(made), (0, 1)) if gradient else made
        start = time.perf_counter()
        traced = jax.jit(lambda *a: f(*a)).trace(*operands)
        if lower:
            traced.lower()
        return time.perf_counter() - start

    return trace


def _tracing_again(make, *operands):
    """The time of tracing a gradient in a second program, with a function that JAX knows."""
    gradient = jax.grad(square(make()), (0, 1))
    jax.jit(lambda *a: gradient(*a)).trace(*operands)

    def trace():
        start = time.perf_counter()
        jax.jit(lambda *a: gradient(*a)).trace(*operands)
        return time.perf_counter() - start

    return trace


def _running(f, *operands):
    jax.block_until_ready(f(*operands))

    def run():
        start = time.perf_counter()
        for _ in range(100):
            out = f(*operands)
        jax.block_until_ready(out)
        return (time.perf_counter() - start) / 100

    return run


def _in_turns(timings: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The fastest of each timing, in turns: whatever else the machine does makes it slower."""
    seconds: dict[str, list[float]] = {name: [] for name in timings}
    gc.collect()
    gc.disable()  # as timeit does
    try:
        for _ in range(repeats):
            for name, timing in timings.items():
                seconds[name].append(timing())
    finally:
        gc.enable()
    return {name: min(values) for name, values in seconds.items()}


if __name__ == "__main__":
    run(main, Config)
