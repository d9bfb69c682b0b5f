"""From a multilinear map and its transposes to operations of JAX.

A *multilinear form* is a function that is linear in each of its slots, say T(a, b, c), and whose
value is a number. Leave one slot empty and contract the others, and the form becomes a map, here
called a *contraction*:

    f_c(a, b) = ∂T(a, b, c)/∂c,       so that       <f_c(a, b), c> = T(a, b, c)                  (1)

Every contraction is linear in each operand, and its transposes follow from (1). The cotangent of
the result takes the empty slot, and the slot of the operand becomes the empty one:

    <f_c(a, b), c_bar> = T(a, b, c_bar) = <a, f_a(b, c_bar)>                                     (2)

The transpose of a contraction is therefore another contraction of the same form, and derivatives of
every order stay inside the form. A form with two slots is a linear map and its transpose. A form
with three slots is a bilinear map and its two transposes. That reverse mode is forward mode,
linearised and transposed, is how JAX works: Radul et al., "You Only Linearize Once", POPL 2023,
arXiv:2204.10923. On adjoints in general see Griewank & Walther, "Evaluating Derivatives", 2008.

<·, ·> is the sum of products, without conjugation: like JAX, a form of complex arrays has
transposes, not adjoints.

A batch belongs to some of the slots. With the letter n for the members of a batch that a and c have
and b has not,

    T_n(a, b, c) = Σ_n T(a[n], b, c[n])                                                          (3)

is another form. Its contractions are those of T under `jax.vmap`, summed over n where the empty
slot has no batch. (3) is how a form is batched by default.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding

from ._arguments import (
    check_function,
    check_lowerings,
    default_name,
    positional_count,
    remember,
)
from ._contraction import Form
from ._operation import Map, Operation
from ._rules import Partition

SYMMETRIES = ("symmetric", "antisymmetric")


def multilinear_form(
    maps: Mapping[Any, Map] | Map,
    *,
    symmetry: str | None = None,
    slots: int | None = None,
    name: str | None = None,
    result: Callable[..., jax.ShapeDtypeStruct] | None = None,
    batch: Callable[..., Any] | None = None,
    shard: Callable[..., Partition | NamedSharding] | None = None,
    lowerings: Mapping[Any, Any] | None = None,
    verify: Sequence[Any] | None = None,
) -> Any:
    """Make the contractions of a form into operations, each with the others as its transposes.

    For a form T(a, b, c) the map of each slot leaves it empty:

        <f_c(a, b), c> = <f_b(a, c), b> = <f_a(b, c), a> = T(a, b, c)                          (1)

    The transpose of f_c with respect to a is f_a, and so on, which is all that derivatives of any
    order need. The maps take the other slots in the order of `maps`, then constants, which are not
    differentiated, then static keyword parameters. Operands and results are arrays or pytrees.

    A form that is symmetric, T(a, b, c) = T(b, a, c) and so on, has a single map f, and so has one
    that changes its sign when two slots change places. The transpose of f is then f itself, up to
    the sign of a permutation:

        <f(a, b), c> = ±<f(b, c), a>                                                           (2)

    Args:
      maps: For each slot, in order, the contraction that leaves it empty; or with `symmetry` the
        one map.
      symmetry: None, `"symmetric"` or `"antisymmetric"`.
      slots: With `symmetry`, the number of slots. None means one more than the map has positional
        parameters.
      name: The primitive of a contraction is called `{name}_{slot}`. None takes the names of the
        maps.
      result: `result(slot, *avals, **params)` gives shape and dtype of that contraction's result,
        an array. None traces the map.
      batch: `batch(contractions, slot, operands, batched, **params)` evaluates a contraction for
        operands that carry a leading batch axis where `batched` says so. The result carries a
        leading batch axis, too. None applies `jax.vmap` to the maps.
      shard: `shard(slot, shape, *avals, **params)` gives the mesh axes over which each axis of a
        result of that shape is sharded, over a mesh with explicit axes. The mesh is that of the
        operands; a rule that knows another mesh returns a `NamedSharding`. None lays the result out
        as JAX lays out that of the map; with `result`, nothing may be sharded.
      lowerings: For a slot, `{platform: map}`: the map to compile on that platform ("cpu", "cuda",
        "rocm", "tpu") in place of the one in `maps`. With `symmetry`, `{platform: map}`.
      verify: Operands of the last contraction, for which `check` is called at once.

    Returns:
      A tuple with one `Operation` for each slot, in order; with `symmetry` the one `Operation`.

    Raises:
      ValueError: There are fewer than two slots, an option is out of range, or the check fails.
      TypeError: A map is not a function, or an option has the wrong type. When it is differentiated
        an operation raises it if shapes or dtypes of the maps disagree.

    Source: derived in the docstring of `jaxconv/forms/_multilinear.py`.

    >>> import jax, jax.numpy as jnp
    >>> scores, _, _ = multilinear_form({  # T(s, q, k) = Σ s[i,j] q[i,d] k[j,d]
    ...     "s": lambda q, k: q @ k.T,
    ...     "q": lambda s, k: s @ k,
    ...     "k": lambda s, q: s.T @ q,
    ... })
    >>> jax.grad(lambda q: scores(q, jnp.ones((3, 2))).sum())(jnp.ones((1, 2)))
    Array([[3., 3.]], dtype=float32)
    >>> cross = multilinear_form(jnp.cross, symmetry="antisymmetric", slots=3)
    >>> jax.grad(lambda a: cross(a, jnp.array([1.0, 2.0, 3.0]))[0])(jnp.zeros(3))
    Array([ 0.,  3., -2.], dtype=float32)
    """
    form = Form(result, batch, shard)
    given: Any = maps
    if symmetry is None:
        if not isinstance(maps, Mapping):
            raise TypeError(
                "multilinear_form: maps must be a mapping from each slot to a function, got "
                f"{type(maps).__name__}; a single map needs a symmetry."
            )
        _check_slots(len(maps))
        form.add_all("multilinear_form", maps, name, lowerings or {})
        made = tuple(form.operations.values())
    else:
        if symmetry not in SYMMETRIES:
            raise ValueError(
                f"multilinear_form: symmetry must be None, {' or '.join(map(repr, SYMMETRIES))}, "
                f"got {symmetry!r}."
            )
        check_function("multilinear_form: maps", maps)
        check_lowerings("multilinear_form", lowerings or {})
        count = positional_count(given) + 1 if slots is None else slots
        _check_slots(count)
        sign = 1 if symmetry == "symmetric" else -1
        form.add_symmetric(maps, count, sign, name or default_name(given), lowerings or {})
        made = form.operations["out"]
    options = {
        "symmetry": symmetry,
        "slots": slots,
        "name": name,
        "result": result,
        "batch": batch,
        "shard": shard,
        "lowerings": lowerings,
    }
    remember(multilinear_form, (maps,), options, made if isinstance(made, tuple) else (made,))
    verified(made[-1] if isinstance(made, tuple) else made, verify)
    return made


def linear_pair(
    forward: Map,
    transpose: Map,
    *,
    name: str | None = None,
    result: Callable[..., jax.ShapeDtypeStruct] | None = None,
    batch: Callable[..., Any] | None = None,
    shard: Callable[..., Partition | NamedSharding] | None = None,
    lowerings: Mapping[str, tuple[Map, Map]] | None = None,
    verify: Sequence[Any] | None = None,
) -> tuple[Operation, Operation]:
    """Make a linear map and its transpose into two operations, each the other's derivative.

        <forward(x), y> = <x, transpose(y)>         for all x and y                            (1)

    Both take one linear operand, an array or a pytree of any shape, then constants, which are not
    differentiated, then static keyword parameters. <·, ·> is the sum of products, without
    conjugation. `multilinear_form` is the same for maps of several operands.

    Args:
      forward: The linear map.
      transpose: Its transpose.
      name: The primitives are called `{name}_out` and `{name}_in`. None takes the names of the
        maps.
      result: As for `multilinear_form`, with the slot "out" for the result of `forward` and "in"
        for that of `transpose`.
      batch: As for `multilinear_form`.
      shard: As for `multilinear_form`.
      lowerings: `{platform: (forward, transpose)}`: the maps to compile on that platform.
      verify: Operands of `forward`, for which `check` is called at once.

    Returns:
      `(forward, transpose)` as operations.

    Raises:
      ValueError: The check fails, or a platform is unknown.
      TypeError: A map is not a function. When it is differentiated an operation raises it if shapes
        or dtypes of the maps disagree.

    Source: derived in the docstring of `jaxconv/forms/_multilinear.py`.

    >>> import jax, jax.numpy as jnp
    >>> def total(x):  # y[i] = Σ_{j ≤ i} x[j]
    ...     return jnp.cumsum(x)
    >>> def total_transpose(y):  # x_bar[j] = Σ_{i ≥ j} y_bar[i]
    ...     return jnp.cumsum(y[::-1])[::-1]
    >>> total, _ = linear_pair(total, total_transpose, verify=(jnp.ones(3),))
    >>> jax.grad(lambda x: total(x)[1])(jnp.ones(3))
    Array([1., 1., 0.], dtype=float32)
    """
    # The contraction that leaves "out" empty takes "in" as its operand: it is the forward map.
    form = Form(result, batch, shard)
    given = lowerings or {}
    check_lowerings("linear_pair", given)
    form.add_all(
        "linear_pair",
        {"in": transpose, "out": forward},
        name,
        {
            "in": {platform: maps[1] for platform, maps in given.items()},
            "out": {platform: maps[0] for platform, maps in given.items()},
        },
    )
    made = form.operations["out"], form.operations["in"]
    options = {
        "name": name,
        "result": result,
        "batch": batch,
        "shard": shard,
        "lowerings": lowerings,
    }
    remember(linear_pair, (forward, transpose), options, made)
    verified(made[0], verify)
    return made


def _check_slots(count: Any) -> None:
    if not isinstance(count, int) or count < 2:
        raise ValueError(f"multilinear_form: a form has at least two slots, got {count!r}.")


def verified(operation: Operation, operands: Sequence[Any] | None) -> None:
    if operands is not None:
        from ._check import check

        check(operation, *operands)
