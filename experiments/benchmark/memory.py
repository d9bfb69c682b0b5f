"""Suite `memory`: what the forward pass keeps for the gradient, and what else a program needs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import Literal

import jaxconv

from ..steps import to_unit_interval
from .cases import Case, Conv
from .compile import PEERS
from .networks import flax_network
from .peers import forward, lax_conv, shapes
from .step import noise

Row = dict[str, Any]
# Convolution, bias, relu and max pool as the classifiers have them: the side of the pool by case.
BLOCKS = {"A": 2, "B": 2, "C": 5}


def count_rows(cases: Iterable[Case], networks: Sequence[str]) -> int:
    """How many rows `rows` will yield."""
    return sum(1 + (case.name in BLOCKS) for case in cases) + len(networks)


def rows(
    cases: Iterable[Case],
    networks: Iterable[str],
    *,
    dtype: str,
    impl: str | None,
    batch_size: int = 500,
) -> Iterator[Row]:
    """For each case, block and network the bytes of ours and of autodiff.

    `residuals` is what the forward pass hands to the reverse pass, arguments that it keeps
    included; `temporary` what the compiled value and gradient allocates besides its results.

    Args:
      cases: What to look at, with the blocks of those that have one.
      networks: Of `cases.NETWORKS`.
      dtype: Of all operands of cases and blocks.
      impl: The algorithm of jaxconv; None for its own choice.
      batch_size: Images that the networks see.
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


def block(peer: str, case: Conv, impl: str | None = None) -> Callable[..., jax.Array]:
    """A function of x, k and bias: convolution, relu and max pool."""
    window = (BLOCKS[case.name],) * 2
    if peer == "jaxconv":
        return lambda x, k, b: jaxconv.conv_block(
            x, k, b, window_shape=window, strides=case.strides, padding=case.pads, impl=impl
        )
    return lambda x, k, b: nnx.max_pool(nnx.relu(lax_conv(case, x, k) + b), window, window)


def _loss(peer: str, name: str, batch_size: int):
    """The loss of a network: a function, its parameters, and what else it takes."""
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
    return {"case": name, "kind": kind, "corner": "value_and_grad", "mode": "entry", "bytes": found}


def residual_bytes(f: Callable[..., jax.Array], arguments, fixed=()) -> int:
    """What the forward pass of `f(*arguments, *fixed)` keeps for the gradient of `arguments`."""

    def keep(arguments, fixed):
        return jax.vjp(lambda *arguments: f(*arguments, *fixed), *arguments)[1]

    kept = jax.make_jaxpr(keep)(arguments, fixed).jaxpr.outvars
    unique = {id(v): v.aval for v in kept if not isinstance(v, Literal)}
    return sum(aval.size * aval.dtype.itemsize for aval in unique.values())


def temporary_bytes(f: Callable[..., jax.Array], arguments, fixed=()) -> int:
    """What the compiled value and gradient allocates besides arguments and results."""

    def whole(arguments, fixed, y_bar):
        y, pull_back = jax.vjp(lambda *arguments: f(*arguments, *fixed), *arguments)
        return y, pull_back(y_bar)

    y_bar = jax.eval_shape(f, *arguments, *fixed)
    compiled = jax.jit(whole).lower(arguments, fixed, y_bar).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def print_table(rows: Iterable[Row]) -> None:
    """A line a row, in megabytes, with the ratio of autodiff's to ours."""
    from .._tables import print_table, table

    found = table("case", "kind")
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
    print_table(found)
