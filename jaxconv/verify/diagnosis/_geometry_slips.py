"""The true gradient with the geometry of one of its convolutions or pools changed.

A rule is written in the geometry of the forward pass, of its transpose, or of the correlation that
gives the gradient of the kernel, see `Grid`. A wrong option in one of them changes the padding in
another, so each change is made in all three.
"""

from collections.abc import Container, Iterator
from dataclasses import replace
from math import prod

import numpy as np

from .. import _constants
from ._array_slips import Change
from ._grids import Grid, extent
from ._sliding import Slide, compute, slide_of
from ._true_rule import TrueRule

# From the geometry of an equation to one that a rule may be written in. Each is its own inverse.
_FORMS = (lambda g: g, Grid.transposed, Grid.correlated)

_GRIDS = ("strides", "input_dilation", "kernel_dilation")


def geometry_slips(program: TrueRule) -> Iterator[Change]:
    """The gradients of all arguments, flat, after each slip of geometry."""
    from_cotangent = program.depends(program.cotangents)
    slides = slides_of(program, from_cotangent)
    for slide in slides if len(slides) <= _constants.SLIP_CONVOLUTIONS else ():
        kernel = slide.sources[-1]
        is_correlation = len(slide.sources) > 1 and kernel in from_cotangent
        operands = slide.operands(*(np.asarray(program.values[v]) for v in slide.sources))
        for slip, what, result in _changed(slide, operands, is_correlation):
            (variable,) = slide.equation.outvars
            yield slip, what, program({variable: slide.result(result)})


def slides_of(program: TrueRule, among: Container) -> list[Slide]:
    """The convolutions and window sums that compute a variable in `among`.

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
    """Whether the form (1) of `_sliding` reproduces the equation."""
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
    """Two geometries with the same key and the same sizes compute the same."""
    return tuple(axis[3:] for axis in geometry.axes())


def geometries(geometry: Grid, is_correlation: bool = False) -> Iterator[tuple[str, str, Grid]]:
    """Every geometry that a slip makes of one, with the same sizes.

    Args:
      geometry: The geometry of an equation.
      is_correlation: Whether the equation gives the gradient of a kernel.

    Yields:
      The name of the slip, a description of the change, and the geometry.
    """
    is_correlation |= prod(geometry.window) > prod(geometry.output_size)
    for change in (_exchanged_grids, _moved_padding, _other_grids):
        for form in _FORMS:
            right = form(geometry)
            for written in _each_padding(right, change(right)):
                found = form(written)
                slip, what = _described(geometry, found, is_correlation)
                yield slip, what, found


def _each_padding(right, written):
    """Each geometry as it is, and with the padding that "SAME" or "SAME_LOWER" gives for it."""
    names = [is_lower for is_lower in (False, True) if right.same(is_lower) == right.low]
    for g in written:
        yield g
        if names and g.low == right.low:
            yield replace(g, low=g.same(names[0]))


def _exchanged_grids(g):
    """Stride, kernel dilation and input dilation exchanged."""
    yield replace(g, strides=g.kernel_dilation, kernel_dilation=g.strides)
    yield replace(g, input_dilation=g.kernel_dilation, kernel_dilation=g.input_dilation)
    yield replace(g, strides=g.input_dilation, input_dilation=g.strides)
    if g.rank > 1:
        for name in (*_GRIDS, "low"):
            yield replace(g, **{name: getattr(g, name)[::-1]})


def _moved_padding(g):
    """Low padding that is off by one or two, is that of another rule, or is zero."""
    for axes in _axis_sets(g.rank):
        for step in (1, -1, 2, -2):
            yield replace(g, low=tuple(lo + step * (a in axes) for a, lo in enumerate(g.low)))
    yield replace(g, low=(0,) * g.rank)
    yield replace(g, low=g.same(False))
    yield replace(g, low=g.same(True))


def _other_grids(g):
    """A stride or dilation that is missing or off by one."""
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
    """The name of a change, the same for every form in which the gradient is computed."""
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
    # The kernel dilation of the correlation is the stride of the forward pass.
    dilation = "strides" if is_correlation else "kernel_dilation"
    if len(changed) > 1:
        slip = "stride taken for dilation"
    elif sorted(getattr(new, changed[0])) == sorted(getattr(old, changed[0])):
        slip = "options of two axes exchanged"
    else:
        slip = "wrong dilation" if changed == [dilation] else "wrong stride"
    return slip, f"{said} of a convolution or pool"


def _groups_ignored(slide, x, kernel):
    """All outputs from all channels, or from the channels of the first group."""
    count = slide.geometry.groups * slide.batch_groups
    alone = replace(slide.geometry, groups=1)
    if slide.batch_groups > 1:
        groups = np.split(x, count, axis=0)
        parts = sum(groups[1:], groups[0]), groups[0]
        for part in parts:
            yield "groups ignored", "no groups", compute(part, kernel, alone)
        return
    repeated = np.concatenate([kernel] * count, axis=-2)
    # The transpose repeats the blocks of the groups along rows and columns.
    blocks = [np.concatenate([b] * count, axis=-1) for b in np.split(kernel, count, axis=-1)]
    for whole in (repeated, np.concatenate(blocks, axis=-2)):
        yield "groups ignored", "no groups, the kernel repeated", compute(x, whole, alone)
    first = np.split(x, count, axis=-1)[0]
    yield "groups ignored", "the first group's channels for all", compute(first, kernel, alone)


def _of_pools(slide, x):
    """Windows of another size, and means that count the padding or leave it out."""
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
    """The number of taps of each window that lie on the map; the window sum is `forward`."""
    counts = np.ones((), int)
    for i, r, p, s, lo, e, d in forward.axes():
        seen = s * np.arange(p)[:, None] + d * np.arange(r) - lo
        on = (seen >= 0) & (seen < extent(i, e)) & (seen % e == 0)
        counts = counts[..., None] * on.sum(axis=1)
    return counts
