"""Suite `memory`: the bytes that the forward pass keeps for the gradient, and temporary memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Literal

from ..command_line import tables
from ..training.steps import to_unit_interval
from .cases import BLOCKS, Case, Conv
from .compile import PEERS
from .networks import flax_network
from .peers import block, forward, shapes
from .step import noise

Row = dict[str, Any]


def count_rows(cases: Iterable[Case], networks: Sequence[str]) -> int:
    """The number of rows that `rows` yields."""
    return sum(1 + (case.name in BLOCKS) for case in cases) + len(networks)


def rows(
    cases: Iterable[Case],
    networks: Iterable[str],
    *,
    dtype: str,
    impl: str | None,
    batch_size: int = 500,
) -> Iterator[Row]:
    """For each case, block and network the bytes of jaxconv and of autodiff.

    `residuals` are the arrays that the forward pass hands to the reverse pass, including arguments
    that it keeps. `temporary` is what the compiled value and gradient allocates besides its
    results.

    Args:
      cases: The cases.
      networks: Names of `cases.NETWORKS`.
      dtype: The dtype of the operands of cases and blocks.
      impl: An algorithm of jaxconv; None for the selected one.
      batch_size: The number of images for the networks.
    """
    for case in cases:
        *arguments, _ = shapes(case, dtype)
        functions = {peer: forward(peer, case, impl) for peer in PEERS}
        kind = "conv" if isinstance(case, Conv) else "pool"
        yield _row(case.name, kind, {p: (f, arguments, ()) for p, f in functions.items()})
        if case.name in BLOCKS:
            bias = jax.ShapeDtypeStruct((case.o,), arguments[0].dtype)
            functions = {peer: block(peer, case, impl) for peer in PEERS}
            calls = {p: (f, [*arguments, bias], ()) for p, f in functions.items()}
            yield _row(f"{case.name} block", "block", calls)
    for name in networks:
        yield _row(name, "network", {peer: _loss(peer, name, batch_size) for peer in PEERS})


def _loss(peer: str, name: str, batch_size: int):
    """The loss of a network, its parameters, and its other arguments."""
    model, score = flax_network(peer, name)
    definition, params, others = nnx.split(model, nnx.Param, ...)

    def loss(params, others, images, labels):
        model = nnx.merge(definition, params, others, copy=True)
        model.train()
        return score(model, to_unit_interval(images), labels)["loss"].mean()

    return loss, [params], (others, *map(jnp.asarray, noise(batch_size)))


def _row(name: str, kind: str, calls) -> Row:
    found = {
        peer: {"residuals": residual_bytes(*call), "temporary": temporary_bytes(*call)}
        for peer, call in calls.items()
    }
    return {
        "case": name,
        "kind": kind,
        "contraction": "value_and_grad",
        "mode": "entry",
        "bytes": found,
    }


def residual_bytes(f: Callable[..., jax.Array], arguments, fixed=()) -> int:
    """The bytes that the forward pass of `f(*arguments, *fixed)` keeps for the gradient."""

    def keep(arguments, fixed):
        return jax.vjp(lambda *arguments: f(*arguments, *fixed), *arguments)[1]

    kept = jax.make_jaxpr(keep)(arguments, fixed).jaxpr.outvars
    unique = {id(v): v.aval for v in kept if not isinstance(v, Literal)}
    return sum(aval.size * aval.dtype.itemsize for aval in unique.values())


def temporary_bytes(f: Callable[..., jax.Array], arguments, fixed=()) -> int:
    """The bytes that the compiled value and gradient allocates besides arguments and results."""

    def whole(arguments, fixed, y_bar):
        y, pull_back = jax.vjp(lambda *arguments: f(*arguments, *fixed), *arguments)
        return y, pull_back(y_bar)

    y_bar = jax.eval_shape(f, *arguments, *fixed)
    compiled = jax.jit(whole).lower(arguments, fixed, y_bar).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def print_table(rows: Iterable[Row]) -> None:
    """Print a line for each row, in megabytes, with the ratio of autodiff to jaxconv."""
    found = tables.table("case", "kind")
    for kind in ("residuals", "temporary"):
        for heading in (f"{kind}: jaxconv MB", "autodiff MB", "ratio"):
            found.add_column(heading, justify="right")
    for row in rows:
        cells = [row["case"], row["kind"]]
        for kind in ("residuals", "temporary"):
            ours, theirs = (row["bytes"][peer][kind] for peer in PEERS)
            cells += [f"{ours / 1e6:,.2f}", f"{theirs / 1e6:,.2f}"]
            cells.append(f"{theirs / ours:.2f}" if ours else "")
        found.add_row(*cells)
    tables.print_table(found)
