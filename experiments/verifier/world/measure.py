"""Ask verifiers about the right gradients of the functions of the world, and about wrong ones.

Each function is checked at a random point and at its awkward points, in float32 and in float64.
With each slip of slips.py it is checked at a random point in float64, and with one slip in float32,
too. All verifiers get the same function and arguments and are asked for the first derivative.
`jaxconv.verify` alone is also asked with its own options, which include second derivatives, about
one function in FULL at the random point in float32.
"""

import functools
import importlib
import json
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import peers
from .entries import Entry, Library
from .faults import fault
from .slips import SLIPS, changes, with_slip

TABLES = (
    *("jnp_elementwise", "jnp_arrays", "jnp_linalg", "lax_", "nn_special"),
    *("scipy_", "stats", "libraries"),
)
DTYPES = ("float32", "float64")
ASKED = ("jaxconv.verify", "jax.test_util.check_grads", "chex.assert_numerical_grads")
# The modes of jaxconv.verify that check a reverse rule, the value that it returns, and its
# linearity.
SLIP_MODES = ("reverse", "primal_value", "cotangent_linearity")
# The tolerances of functions with approximate values, which jaxconv.verify is told. The other
# verifiers have a tolerance of 5e-5 for every function. kl_div is a series near p = q.
TOLERANCES = {"jax.scipy.special.kl_div": 1e-7}
# jaxconv.verify is asked with all of its options, which takes some seconds, about one function in
# so many.
FULL = 4
# JAX's compiled programs are dropped after so many functions.
KEPT = 25


@dataclass(frozen=True)
class Check:
    """A gradient to ask about.

    Attributes:
      entry: The function.
      point: The name of the point, see `Entry.points`.
      dtype: The dtype of the arguments.
      slip: The slip of its rule; empty for a right gradient.
      seed: The seed of the arguments.
    """

    entry: Entry
    point: str
    dtype: str
    slip: str = ""
    seed: int = 0

    @property
    def key(self) -> tuple[str, ...]:
        return (str(self.entry), self.point, self.dtype, self.slip, str(self.seed))

    @property
    def fault(self) -> str:
        """What is known to be wrong with JAX's own gradient."""
        return "" if self.slip else fault(str(self.entry), self.point, self.dtype)


@functools.cache
def entries() -> tuple[Entry, ...]:
    """All entries whose library is installed."""
    found = []
    for table in TABLES:
        module = importlib.import_module(f"{__package__}.{table}")
        members = (*vars(module).values(), *getattr(module, "LIBRARIES", {}).values())
        found += [entry for member in members if isinstance(member, Library) for entry in member]
    return tuple(found)


def right_checks(entry: Entry, seed: int = 0) -> Iterator[Check]:
    """The function with its right gradient, at all of its points."""
    for point in entry.points:
        for dtype in DTYPES:
            yield Check(entry, point, dtype, seed=seed)


def slip_checks(entry: Entry, number: int, seed: int = 0) -> Iterator[Check]:
    """The slips that change the gradient of this function, one of them in float32, too."""
    if fault(str(entry), "random", "float64"):
        return
    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = entry.draw("random", seed, "float64")
        try:
            slips = [slip for slip in SLIPS if changes(entry.call, args, slip)]
        except NotImplementedError:  # JAX has no derivative; the right checks say so
            return
    for i, slip in enumerate(slips):
        yield Check(entry, "random", "float64", slip, seed)
        if i == number % len(slips):
            yield Check(entry, "random", "float32", slip, seed)


def arguments(check: Check) -> tuple[Any, ...]:
    """The arguments of a check; of awkward rows those at which the function is finite."""
    args = check.entry.draw(check.point, check.seed, check.dtype)
    if check.point not in ("awkward", "far apart"):
        return args
    count = len(args[0])
    kept = np.ones(count, bool)
    for result in jax.tree.leaves(check.entry.call(*args)):
        if result.shape[:1] == (count,):
            kept &= np.isfinite(np.asarray(result)).reshape(count, -1).all(1)
    return tuple(a[kept] for a in args)


def ask(verifiers: Mapping[str, peers.Verifier], check: Check) -> dict[str, Any]:
    """The answer of each verifier, and how long it takes."""
    said = {}
    entry = check.entry
    with jax.enable_x64(check.dtype == "float64"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = arguments(check)
        f = with_slip(entry.call, args, check.slip) if check.slip else entry.call
        for name, verifier in verifiers.items():
            began = time.perf_counter()
            question = _question(check, verifier)
            if verifier is peers.ours and question.hints:
                verifier = peers.ours_with_hints
            answer = verifier(f, args, question)
            said[name] = answer._asdict() | {"seconds": round(time.perf_counter() - began, 3)}
    return said


def _question(check, verifier):
    name = str(check.entry)
    hints = {"tolerance": TOLERANCES[name]} if name in TOLERANCES else {}
    if check.slip:
        return peers.Question(1, check.seed, SLIP_MODES, hints)
    is_full = zlib.crc32(name.encode()) % FULL == 0
    if is_full and verifier is peers.ours and (check.point, check.dtype) == ("random", "float32"):
        return peers.Question(check.entry.order, check.seed, "all", hints)
    return peers.Question(1, check.seed, peers.QUICK, hints)


def measure(
    verifiers: Mapping[str, peers.Verifier],
    chosen: Iterable[Entry],
    seeds: Iterable[int],
    path: Path,
    report: Any,
) -> list[dict[str, Any]]:
    """Ask about every gradient, and write each answer to a file at once.

    Args:
      verifiers: The verifiers by name.
      chosen: The entries.
      seeds: The seeds of the arguments.
      path: A file with a line of JSON for each gradient. Gradients in it are not asked about again.
      report: Called with the name of each function when it is done.

    Returns:
      All answers.
    """
    numbers = {str(entry): i for i, entry in enumerate(entries())}
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {tuple(row["key"]) for row in rows}
    for i, entry in enumerate(chosen):
        for seed in seeds:
            for check in (
                *right_checks(entry, seed),
                *slip_checks(entry, numbers[str(entry)], seed),
            ):
                if check.key in known:
                    continue
                row = {
                    "key": check.key,
                    "function": str(entry),
                    "library": entry.library,
                    "point": check.point,
                    "dtype": check.dtype,
                    "slip": check.slip,
                    "fault": check.fault,
                    "seed": seed,
                    "said": ask(verifiers, check),
                }
                rows.append(row)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
        if i % KEPT == KEPT - 1:
            jax.clear_caches()
        report(str(entry))
    return rows
