"""Check the transposes of an operation against its definition."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._arguments import described
from ._operation import Operation

# A platform's map may add in another order than the definition: so many units of rounding of the
# largest element.
_UNITS = 64


def check(operation: Operation, *operands: Any, **params: Any) -> None:
    """Check an operation's derivatives and its maps for each platform, at one point.

    The definition is the map that the operation was made of, as JAX differentiates it. Checked are
    - the derivative in every mode of `jaxconv.verify`: reverse and forward mode, second order,
      `vmap`, `jit`, `scan`, `checkpoint` and others. For the linear operands of a form it is
      compared along every coordinate, and so is <f(x), y> = <x, fᵀ(y)>. A wrong transpose is named
      with its slip, such as a kernel that was not rotated;
    - the values of the maps for the platforms that are here, and that the maps for the others can
      be compiled into a program;
    - the shapes and dtypes of all maps.

    Operands in float64, with `jax.enable_x64`, make the check sharpest. Choose sizes that differ
    from axis to axis. Those of at most a few thousand elements are checked element by element.

    Args:
      operation: An operation of `jaxconv.forms`.
      *operands: Its operands: arrays of any shape, or pytrees.
      **params: Its static parameters.

    Returns:
      None.

    Raises:
      ValueError: The operation is wrong. The message says how, or is the report of
        `jaxconv.verify`.
      TypeError: It is not an operation, or shapes or dtypes of its maps disagree.

    Source: the identity is that of `linear_pair`; how the derivatives are compared is derived in
    `jaxconv.verify.check_gradients`.

    >>> from jaxconv import forms
    >>> import jax.numpy as jnp
    >>> shift, _ = forms.linear_pair(lambda x: jnp.roll(x, 1), lambda y: jnp.roll(y, 1))
    >>> check(shift, jnp.array([1.0, 2.0, 4.0, -3.0]))
    Traceback (most recent call last):
    ...
    ValueError: jaxconv.forms.check: ...
    """
    if not isinstance(operation, Operation):
        raise TypeError(f"check: it takes an operation, got {type(operation).__name__}.")
    from .. import verify  # the verifier takes as long to import as this library

    _require_fitting_transposes(operation, operands, params)
    wrong = list(_not_linear(operation, operands, params))
    if not wrong:
        wrong += _wrong_platforms(operation, operands, params)
        wrong += _wrong_batches(operation, operands, params)
    if not wrong:
        report = _report(verify.check_gradients, operation, operands, params)
        if report is not None and not report.ok:
            # Without the rounding of a narrow dtype, a slip is easier to recognise.
            with jax.enable_x64(True), suppress(Exception):  # the maps may insist on their dtype
                wide = _report(verify.check_gradients, operation, _widened(operands), params)
                if wide is not None and not wide.ok and _crashed(wide) <= _crashed(report):
                    report = wide
            raise ValueError(f"jaxconv.forms.check: {report}")
    if wrong:
        lines = "\n".join(wrong)
        raise ValueError(f"jaxconv.forms.check: {operation.name} is wrong: {lines}")


def _require_fitting_transposes(operation, operands, params):
    """Trace each transpose, which raises a TypeError if its shape or dtype is not the operand's.

    Integers in an operand stay as they are: they have no cotangent to ask for.
    """
    for i in operation.linear_slots:
        leaves, tree = jax.tree.flatten(operands[i])
        moving = [j for j, leaf in enumerate(leaves) if _is_inexact(leaf)]
        if not moving:
            continue

        def back_and_forth(moved, i=i, leaves=leaves, tree=tree, moving=moving):
            def f(moved):
                at = dict(zip(moving, moved, strict=True))
                x = tree.unflatten([at.get(j, leaf) for j, leaf in enumerate(leaves)])
                return operation(*operands[:i], x, *operands[i + 1 :], **params)

            y, transpose = jax.vjp(f, moved)
            return transpose(jax.tree.map(_cotangent, y))

        jax.eval_shape(back_and_forth, [leaves[j] for j in moving])


def _cotangent(y):
    """An array that may be a cotangent of y; the values don't matter."""
    return y if _is_inexact(y) else np.zeros(jnp.shape(y), jax.dtypes.float0)


def _report(check_gradients, operation, operands, params):
    """The report of the verifier; None if no operand can be differentiated."""
    wanted = [
        i for i in operation.differentiable if any(map(_is_inexact, jax.tree.leaves(operands[i])))
    ]
    if not wanted:
        return None
    return check_gradients(
        _called(operation.name, operation, params),
        operands,
        argnums=wanted,
        linear_in=wanted if operation.linear_slots else None,
        reference=_called(operation.name, operation.definition, params),
    )


def _crashed(report) -> set[str]:
    """The modes in which a rule raised."""
    return {mode.name for mode in report.modes if mode.status == "crashed"}


def _called(name: str, map_: Callable[..., Any], params: dict[str, Any]) -> Callable[..., Any]:
    """A function of the operands with a name for the report."""

    def f(*operands):
        return map_(*operands, **params)

    f.__name__ = name
    with suppress(TypeError, ValueError):
        f.__signature__ = inspect.signature(partial(map_, **params))
    return f


def _widened(operands: Any) -> Any:
    def widen(a):
        if not _is_inexact(a):
            return a
        return np.asarray(a).astype(np.complex128 if _is_complex(a) else np.float64)

    return jax.tree.map(widen, operands)


def _dtype(a: Any) -> np.dtype:
    return jax.dtypes.result_type(a)


def _is_inexact(a: Any) -> bool:
    return jnp.issubdtype(_dtype(a), jnp.inexact)


def _is_complex(a: Any) -> bool:
    return jnp.issubdtype(_dtype(a), jnp.complexfloating)


# Linearity of the maps themselves.


def _not_linear(operation, operands, params) -> Iterator[str]:
    """A sentence for each contraction that is not linear in an operand."""
    for contraction, given in _contractions(operation, operands, params):
        f = partial(contraction.definition, **params)
        for i in contraction.linear_slots:
            u, v = given[i], _random_like(given[i], seed=i + 1)

            def at(x, f=f, given=given, i=i):
                return jax.tree.leaves(f(*given[:i], x, *given[i + 1 :]))

            both = at(jax.tree.map(lambda a, b: (2 * a + b).astype(a.dtype), u, v))
            parts = [2 * a + b for a, b in zip(at(u), at(v), strict=True)]
            if not all(map(_is_close, both, parts)):
                yield (
                    f"{contraction.name} is not linear in operand {i}: f(2u + v) differs from "
                    "2 f(u) + f(v)."
                )


def _contractions(operation, operands, params):
    """Each contraction of the operation's form, with operands for it."""
    operands = [jax.tree.map(jnp.asarray, x) for x in operands]
    if operation.linear_slots:
        yield operation, operands
    given, linear = operands[: operation.linear], operation.linear
    result = _random_like(jax.eval_shape(partial(operation.definition, **params), *operands), 0)
    for transpose, order in operation.transposes():
        yield transpose, [*([*given, result][j] for j in order), *operands[linear:]]


def _random_like(tree: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)

    def draw(a):
        values = rng.normal(size=np.shape(a))
        if jnp.issubdtype(_dtype(a), jnp.integer):
            values = rng.integers(0, 4, np.shape(a))
        if _is_complex(a):
            values = values + 1j * rng.normal(size=np.shape(a))
        return jnp.asarray(values, _dtype(a))

    return jax.tree.map(draw, tree)


def _is_close(actual: Any, expected: Any) -> bool:
    """Whether two arrays agree up to the order of their sums."""
    actual, expected = jnp.asarray(actual), jnp.asarray(expected)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if not jnp.issubdtype(actual.dtype, jnp.inexact):
        return bool((actual == expected).all())
    wide = np.complex128 if _is_complex(actual) else np.float64
    a, b = np.asarray(actual).astype(wide), np.asarray(expected).astype(wide)
    finite = np.isfinite(b)  # the others must be equal, and say nothing of the size of these
    largest = np.abs(b[finite]).max(initial=1e-30)
    bound = _UNITS * float(jnp.finfo(actual.dtype).eps) * largest
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, and what goes beyond inf
        return bool(np.all(same | finite & (np.abs(a - b) <= bound)))


def _agree(actual: Any, expected: Any) -> bool:
    if jax.tree.structure(actual) != jax.tree.structure(expected):
        return False
    return all(map(_is_close, jax.tree.leaves(actual), jax.tree.leaves(expected)))


# Batching rules, and what is compiled elsewhere.


def _wrong_batches(operation, operands, params) -> Iterator[str]:
    """A sentence for each operand whose batch changes the values."""
    ours, definition = partial(operation, **params), partial(operation.definition, **params)
    for i, operand in enumerate(operands):
        if not jax.tree.leaves(operand):
            continue
        given = list(operands)
        given[i] = jax.tree.map(
            lambda a: jnp.stack([a, a[..., ::-1] if jnp.ndim(a) else a]), operand
        )
        axes = tuple(0 if j == i else None for j in range(len(operands)))
        if not _agree(*(jax.vmap(f, axes)(*given) for f in (ours, definition))):
            yield f"{operation.name}: vmap over operand {i} gives other values than the map itself."


def _wrong_platforms(operation, operands, params) -> Iterator[str]:
    """A sentence for each map of a platform that differs from the definition."""
    every = list(_contractions(operation, operands, params))
    if not operation.linear_slots:
        every.append((operation, list(operands)))
    for contraction, given in every:
        definition = partial(contraction.definition, **params)
        for platform, lowering in contraction.lowerings.items():
            complaint = _on_platform(
                partial(contraction, **params),
                definition,
                partial(lowering, **params),
                platform,
                given,
            )
            if complaint:
                yield f"{contraction.name}: its map for {platform} {complaint}."


def _on_platform(operation, definition, lowering, platform, operands) -> str:
    """What is wrong with the map of a platform; empty if nothing is."""
    try:
        found, wanted = (
            jax.tree.map(described, jax.eval_shape(f, *operands)) for f in (lowering, definition)
        )
        if found != wanted:
            return f"returns {found}, not {wanted}"
        try:
            device = jax.devices(platform)[0]
        except RuntimeError:  # not here, but the program for it can be made
            jax.jit(operation).trace(*operands).lower(lowering_platforms=(platform,))
            return ""
        with jax.default_device(device):
            actual, expected = (jax.jit(f)(*operands) for f in (lowering, definition))
    except Exception as error:  # the map is the user's, and may raise anything
        return "can't be compiled: " + " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return "" if _agree(actual, expected) else "gives other values"
