"""The contractions of a multilinear form as operations, each the transpose of the others.

`_multilinear.py` derives (1) to (3), of which these are the rules for JAX.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from .._typing import Array
from ._arguments import check_function, check_lowerings, default_name, described
from ._operation import LEAF, Call, Level, Operation
from ._rules import in_every_member


class Form:
    """The contractions of one form, and the rules that they share."""

    def __init__(self, result, batch, shard):
        self.result, self.batch, self.shard = result, batch, shard
        self.operations: dict[Any, Operation] = {}
        self.sign = 0  # of the exchange of two slots; 0 for a form without symmetry

    def add_all(self, function, maps, name, lowerings):
        for slot, contraction in maps.items():
            check_lowerings(function, lowerings.get(slot, {}))
            check_function(f"{function}: the map of {slot!r}", contraction)
            own = f"{name}_{slot}" if name else default_name(contraction)
            self._add(slot, own, contraction, lowerings.get(slot, {}), len(maps) - 1)

    def add_symmetric(self, contraction, count, sign, name, lowerings):
        self.sign = sign
        self._add("out", name, contraction, lowerings, count - 1)

    def _add(self, slot, name, contraction, lowerings, linear):
        result, shard = self.result, self.shard
        operation = Contraction(
            self,
            slot,
            name,
            contraction,
            lowerings,
            linear=linear,
            result=result and (lambda *avals, **params: result(slot, *avals, **params)),
            shard=shard and (lambda shape, /, *a, **params: shard(slot, shape, *a, **params)),
        )
        self.operations[slot] = operation

    def turned(self, slot: Any, wanted: int) -> tuple[Operation, list[int], int]:
        """The transpose of a contraction with respect to one operand, (2).

        Returns:
          Its operation; which operands it takes, where the number after the last is the cotangent;
          and its sign.
        """
        if self.sign:
            last = self.operations[slot].linear
            order = [i for i in range(last + 1) if i != wanted]
            return self.operations[slot], order, self.sign ** (last - wanted)
        slots = list(self.operations)
        others = [s for s in slots if s != slot]
        place = {s: i for i, s in enumerate(others)} | {slot: len(others)}
        empty = others[wanted]
        return self.operations[empty], [place[s] for s in slots if s != empty], 1


class Contraction(Operation):
    """The contraction of a form that leaves `slot` empty; made by `multilinear_form`."""

    def __init__(self, form: Form, slot: Any, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.form, self.slot = form, slot
        self.define(jvp=self._jvp, batch=self._batch, transpose=self._transpose)

    @property
    def linear_slots(self) -> Sequence[int]:
        """The positions of the operands in which the map itself is linear."""
        return range(self.linear)

    def transposes(self) -> Sequence[tuple[Operation, list[int]]]:
        """For each linear operand, the transpose with respect to it and the operands it takes."""
        return [self.form.turned(self.slot, i)[:2] for i in range(self.linear)]

    def _jvp(self, primals, tangents, call, params):
        """One term for each operand that has a tangent, by linearity."""
        call_ = call or plain(len(primals))
        groups, dots = call_.split(primals), call_.split(tangents)
        linear = self.linear
        for i, constant in enumerate(dots[linear:]):
            if any(map(is_nonzero, constant)):
                raise TypeError(
                    f"{self.name}: constant {i} has no derivative, since only the first "
                    f"{_counted(linear)} linear; see jax.lax.stop_gradient."
                )
        out, _ = self.bind(primals, call, params)
        out_dot: list[Any] | None = None
        for i, group in enumerate(dots[:linear]):
            if any(map(is_nonzero, group)):
                filled = [
                    dot if is_nonzero(dot) else jnp.zeros_like(x)
                    for x, dot in zip(groups[i], group, strict=True)
                ]
                operands = [*groups[:i], filled, *groups[i + 1 :]]
                term, _ = self.bind([a for g in operands for a in g], call, params)
                out_dot = term if out_dot is None else list(map(ad.add_jaxvals, out_dot, term))
        if out_dot is None:
            return out, [zero_tangent(y) for y in out]
        return out, [
            y_dot if has_tangent(y) else zero_tangent(y)
            for y, y_dot in zip(out, out_dot, strict=True)
        ]

    def _transpose(self, cotangents, operands, call, params):
        """(2): the cotangent of the result takes the empty slot."""
        call_ = call or plain(len(operands))
        groups, linear = call_.split(operands), self.linear
        wanted = [i for i, group in enumerate(groups) if any(map(ad.is_undefined_primal, group))]
        if len(wanted) != 1 or wanted[0] >= linear:
            raise TypeError(
                f"{self.name}: it is linear in each of its first {linear} operands alone, "
                f"not in operands {wanted} together."
            )
        (i,) = wanted
        missing = [a.aval if ad.is_undefined_primal(a) else jax.typeof(a) for a in groups[i]]
        if all(isinstance(bar, ad.Zero) for bar in cotangents):
            bars = [ad.Zero(aval.to_ct_aval()) for aval in missing]
        else:
            bars = self._contract(i, groups, missing, cotangents, call, params)
        found: list[list[Any]] = [[None] * len(group) for group in groups]
        found[i] = [
            bar if ad.is_undefined_primal(a) else None
            for a, bar in zip(groups[i], bars, strict=True)
        ]
        return [bar for group in found for bar in group]

    def _contract(self, wanted, groups, missing, cotangents, call, params):
        linear = self.linear
        transpose, order, sign = self.form.turned(self.slot, wanted)
        avals = [
            *(jax.typeof(a) for g in groups[:wanted] for a in g),
            *missing,
            *(jax.typeof(a) for g in groups[wanted + 1 :] for a in g),
        ]
        tree, out_avals = self.results(avals, call, params)
        filled = [_filled(bar, aval) for bar, aval in zip(cotangents, out_avals, strict=True)]
        given, constants = [*groups[:linear], filled], groups[linear:]
        turned = [a for group in [*(given[j] for j in order), *constants] for a in group]
        call_ = call or plain(len(groups))
        trees = [*call_.trees[:linear], tree]
        levels = tuple(
            Level(tuple(level.slots[j] for j in [*order, wanted]), level.constants)
            for level in call_.levels
        )
        new = Call((*(trees[j] for j in order), *call_.trees[linear:]), levels)
        bars, bars_tree = transpose.bind(turned, None if new.is_plain() else new, params)
        if bars_tree != call_.trees[wanted]:
            raise TypeError(
                f"{self.name}: its transpose {transpose.name} must return the structure of "
                f"operand {wanted}, {call_.trees[wanted]}, but returned {bars_tree}."
            )
        for bar, aval in zip(bars, missing, strict=True):
            own = jax.typeof(bar)
            if (own.shape, own.dtype) != (aval.shape, aval.dtype):
                raise TypeError(
                    f"{self.name}: its transpose {transpose.name} must return "
                    f"{described(aval)}, as operand {wanted} is, but returned {described(own)}."
                )
        if self.form.shard is None and self.form.result is None:
            bars = [_laid_out_as(bar, aval) for bar, aval in zip(bars, missing, strict=True)]
        return [-bar for bar in bars] if sign < 0 else bars

    def _batch(self, operands, batched, call, params):
        """The author's rule, or (3)."""
        call_ = call or plain(len(operands))
        leaves, by_operand = [], []
        for group, flags in zip(call_.split(operands), call_.split(batched), strict=True):
            is_linear = len(by_operand) < self.linear
            if any(flags) and (is_linear or self.form.batch is not None):
                group = in_every_member(group, flags)
                flags = [True] * len(group)
            leaves += group
            by_operand.append(flags)
        if self.form.batch is not None:
            rule, operands = self.form.batch, call_.join(leaves)
            out = rule(self.form.operations, self.slot, operands, [*map(any, by_operand)], **params)
            return jax.tree.leaves(out)
        linear = self.linear
        level = Level(
            (*(any(flags) for flags in by_operand[:linear]), True),
            tuple(flag for flags in by_operand[linear:] for flag in flags),
        )
        return self.bind(leaves, call_._replace(levels=(*call_.levels, level)), params)[0]


def zero_tangent(out: Array) -> ad.Zero:
    """The tangent of a result that does not change."""
    return ad.Zero(jax.typeof(out).to_tangent_aval())


def plain(count: int) -> Call:
    return Call((LEAF,) * count)


def is_nonzero(tangent: Any) -> bool:
    return not isinstance(tangent, ad.Zero) and tangent.dtype != jax.dtypes.float0


def has_tangent(y: Array) -> bool:
    return jax.typeof(y).to_tangent_aval().dtype != jax.dtypes.float0


def _filled(bar: Any, aval: Any) -> Any:
    """A cotangent as an array of the result's dtype, which the map expects."""
    if isinstance(bar, ad.Zero) or bar.dtype == jax.dtypes.float0:
        return ad.instantiate_zeros(ad.Zero(aval))
    return bar


def _laid_out_as(bar: Any, aval: Any) -> Any:
    """A cotangent on a mesh with explicit axes, sharded as its operand is."""
    own = jax.typeof(bar).sharding
    if own.mesh.empty or own == aval.sharding:
        return bar
    return jax.sharding.reshard(bar, aval.sharding)


def _counted(linear: int) -> str:
    return "operand is" if linear == 1 else f"{linear} operands are"
