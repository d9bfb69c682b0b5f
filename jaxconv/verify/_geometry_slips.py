"""The true gradient with the geometry of one of its convolutions or pools changed.

A rule is written for the forward pass's geometry, for that of its transpose, or for the correlation
that gives the kernel's gradient, see `Grid`; an option that is wrong in one of them moves the
padding in another. So each change is made in all three.
"""

from collections.abc import Container, Iterator
from dataclasses import replace
from math import prod

import numpy as np

from . import _constants
from ._arrays import Change
from ._grids import Grid, extent
from ._program import Program
from ._sliding import Slide, compute, slide_of

# From the geometry of the equation to one that a rule may be written for; each is its own inverse.
_FORMS = (lambda g: g, Grid.transposed, Grid.correlated)

_GRIDS = ("strides", "input_dilation", "kernel_dilation")


def geometry_slips(program: Program) -> Iterator[Change]:
    """What the gradients of all arguments are, flat, after each slip of geometry."""
    from_cotangent = program.depends(program.cotangents)
    slides = slides_of(program, from_cotangent)
    for slide in slides if len(slides) <= _constants.SLIP_CONVOLUTIONS else ():
        kernel = slide.sources[-1]
        is_correlation = len(slide.sources) > 1 and kernel in from_cotangent
        operands = slide.operands(*(np.asarray(program.values[v]) for v in slide.sources))
        for slip, what, result in _changed(slide, operands, is_correlation):
            (variable,) = slide.equation.outvars
            yield slip, what, program({variable: slide.result(result)})


def slides_of(program: Program, among: Container) -> list[Slide]:
    """The convolutions and window sums that give a variable `among` these.

    Those of the function itself are left out: a rule takes its values from the function.
    """
    producers = {v: equation for equation in program.live for v in equation.outvars}
    found = []
    for equation in program.live:
        slide = slide_of(equation, producers) if equation.outvars[0] in among else None
        if slide is not None and _is_understood(slide, program):
            found.append(slide)
    return found


def _is_understood(slide, program):
    """Whether the form gives what the equation does."""
    if not all(source in program.values for source in slide.sources):
        return False
    values = [np.asarray(program.values[source]) for source in slide.sources]
    if not slide.geometry.rank or not all(0 < v.size <= _constants.SLIP_NUMBERS for v in values):
        return False
    x, kernel = slide.operands(*values)
    if prod(slide.geometry.output_size) * kernel.size * len(x) > _constants.SLIP_PRODUCTS:
        return False
    found = slide.result(compute(x, kernel, slide.geometry, slide.batch_groups))
    expected = np.asarray(program.values[slide.equation.outvars[0]])
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-9, atol=1e-9)


def _changed(slide, operands, is_correlation):
    """The result of (1) in `_sliding` after each slip."""
    x, kernel = operands
    seen = {_key(slide.geometry)}
    for slip, what, geometry in geometries(slide.geometry, is_correlation):
        if _key(geometry) in seen:
            continue
        seen.add(_key(geometry))
        yield slip, what, compute(x, kernel, geometry, slide.batch_groups)
    if slide.geometry.groups > 1 or slide.batch_groups > 1:
        yield from _groups_ignored(slide, x, kernel)
    if slide.is_pool:
        yield from _of_pools(slide, x)


def _key(geometry):
    """What a geometry with these sizes computes."""
    return tuple(axis[3:] for axis in geometry.axes())


def geometries(geometry: Grid, is_correlation: bool = False) -> Iterator[tuple[str, str, Grid]]:
    """Every geometry that a slip makes of one, its sizes kept.

    Args:
      geometry: Of an equation.
      is_correlation: Whether it is the correlation that gives the gradient of a kernel.

    Yields:
      The slip's name, what is changed, and the geometry.
    """
    is_correlation |= prod(geometry.window) > prod(geometry.output_size)
    for change in (_exchanged_grids, _moved_padding, _other_grids):
        for form in _FORMS:
            right = form(geometry)
            for written in _each_padding(right, change(right)):
                found = form(written)
                if any(value < 1 for name in _GRIDS for value in getattr(found, name)):
                    continue
                slip, what = _described(geometry, found, is_correlation)
                yield slip, what, found


def _each_padding(right, written):
    """Each geometry as it is, and with the padding that its name gives for its own options."""
    names = [is_lower for is_lower in (False, True) if right.same(is_lower) == right.low]
    for g in written:
        yield g
        if names and g.low == right.low:
            yield replace(g, low=g.same(names[0]))


def _exchanged_grids(g):
    """Stride, kernel dilation and input dilation taken for one another."""
    yield replace(g, strides=g.kernel_dilation, kernel_dilation=g.strides)
    yield replace(g, input_dilation=g.kernel_dilation, kernel_dilation=g.input_dilation)
    yield replace(g, strides=g.input_dilation, input_dilation=g.strides)
    if g.rank > 1:
        for name in (*_GRIDS, "low"):
            yield replace(g, **{name: getattr(g, name)[::-1]})


def _moved_padding(g):
    """The low padding off by one; that of another padding altogether; none at all."""
    for axes in _axis_sets(g.rank):
        for step in (1, -1, 2, -2):
            yield replace(g, low=tuple(lo + step * (a in axes) for a, lo in enumerate(g.low)))
    yield replace(g, low=(0,) * g.rank)
    yield replace(g, low=g.same(False))
    yield replace(g, low=g.same(True))


def _other_grids(g):
    """A stride or a dilation left out, or off by one."""
    for name in _GRIDS:
        for axes in _axis_sets(g.rank):
            for new in (lambda _: 1, lambda n: n + 1, lambda n: n - 1):
                values = tuple(
                    new(n) if axis in axes else n for axis, n in enumerate(getattr(g, name))
                )
                if all(value >= 1 for value in values):
                    yield replace(g, **{name: values})


def _axis_sets(rank):
    return ([tuple(range(rank))] if rank > 1 else []) + [(axis,) for axis in range(rank)]


def _described(old, new, is_correlation):
    """A name for a changed geometry, the same from whichever side the gradient is computed."""
    changed = [name for name in _GRIDS if getattr(old, name) != getattr(new, name)]
    said = ", ".join(
        f"{name.replace('_', ' ')} {getattr(new, name)} in place of {getattr(old, name)}"
        for name in changed
    )
    if not changed:
        steps = [b - a for a, b in zip(old.low, new.low, strict=True)]
        most = max(map(abs, steps), default=0)
        slip = "padding off by one" if most == 1 else "wrong padding"
        return slip, f"the padding of a convolution or pool moved by {tuple(steps)}"
    # The correlation has the forward pass's stride for its kernel dilation.
    dilation = "strides" if is_correlation else "kernel_dilation"
    if len(changed) > 1:
        slip = "stride taken for dilation"
    elif sorted(getattr(new, changed[0])) == sorted(getattr(old, changed[0])):
        slip = "options of two axes exchanged"
    else:
        slip = "wrong dilation" if changed == [dilation] else "wrong stride"
    return slip, f"{said} of a convolution or pool"


def _groups_ignored(slide, x, kernel):
    """All groups' outputs from all channels, the kernel repeated; or from the first group's."""
    count = slide.geometry.groups * slide.batch_groups
    alone = replace(slide.geometry, groups=1)
    if slide.batch_groups > 1:
        groups = np.split(x, count, axis=0)
        parts = sum(groups[1:], groups[0]), groups[0]
        for part in parts:
            yield "groups ignored", "no groups", compute(part, kernel, alone)
        return
    repeated = np.concatenate([kernel] * count, axis=-2)
    # The same of the transpose: each group's block in each row of blocks, or column.
    blocks = [np.concatenate([b] * count, axis=-1) for b in np.split(kernel, count, axis=-1)]
    for whole in (repeated, np.concatenate(blocks, axis=-2)):
        yield "groups ignored", "no groups, the kernel repeated", compute(x, whole, alone)
    first = np.split(x, count, axis=-1)[0]
    yield "groups ignored", "the first group's channels for all", compute(first, kernel, alone)


def _of_pools(slide, x):
    """Windows of another size, and means that count the padding or don't."""
    g = slide.geometry
    for form in _FORMS[:2]:
        written = form(g)
        for axes in _axis_sets(g.rank):
            for step in (1, -1):
                window = tuple(r + step * (axis in axes) for axis, r in enumerate(written.window))
                if min(window) < 1:
                    continue
                found = form(replace(written, window=window))
                y = compute(x, np.ones((*window, 1, 1)), found)
                what = f"a window of {window} in place of {written.window}"
                yield "wrong window", what, y
                yield "wrong window", f"{what}, and its mean", y * prod(g.window) / prod(window)
    counts = _counts(g.transposed())[None, ..., None]
    share = counts / prod(g.window)
    ones = np.ones((*g.window, 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        yield "padding counted in the mean", "all taps counted", compute(x * share, ones, g)
        inner = np.where(share, x / share, 0)
        yield "padding not counted in the mean", "taps on the map counted", compute(inner, ones, g)


def _counts(forward):
    """How many taps of each window lie on the map, a sum over windows being `forward`."""
    counts = np.ones((), int)
    for i, r, p, s, lo, e, d in forward.axes():
        seen = s * np.arange(p)[:, None] + d * np.arange(r) - lo
        on = (seen >= 0) & (seen < extent(i, e)) & (seen % e == 0)
        counts = counts[..., None] * on.sum(axis=1)
    return counts
