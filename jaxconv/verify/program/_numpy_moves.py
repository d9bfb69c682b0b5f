"""Primitives in NumPy that select or move elements without changing them.

Each function takes an equation and returns its function of arrays, or None if NumPy has none.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def _broadcast(equation):
    params = equation.params
    if len(equation.invars) > 1:
        return None
    shape, axes = params["shape"], params["broadcast_dimensions"]
    around = [1] * len(shape)
    for axis, size in zip(axes, equation.invars[0].aval.shape, strict=True):
        around[axis] = size
    return lambda x: np.broadcast_to(np.reshape(x, around), shape)


def _broadcast_to(equation):
    shape = equation.outvars[0].aval.shape
    return lambda x: np.broadcast_to(x, shape)


def _reshape(equation):
    if len(equation.invars) > 1:
        return None
    sizes, order = equation.params["new_sizes"], equation.params.get("dimensions")
    if order is None:  # NumPy gives None another meaning
        return lambda x: np.reshape(x, sizes)
    return lambda x: np.reshape(np.transpose(x, order), sizes)


def _squeeze(equation):
    shape = equation.outvars[0].aval.shape
    return lambda x: np.reshape(x, shape)


def _transpose(equation):
    order = equation.params["permutation"]
    return lambda x: np.transpose(x, order)


def _rev(equation):
    axes = equation.params["dimensions"]
    return lambda x: np.flip(x, axes)


def _tile(equation):
    reps = equation.params["reps"]
    return lambda x: np.tile(x, reps)


def _slice(equation):
    params = equation.params
    strides = params["strides"] or [None] * len(params["start_indices"])
    bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    index = tuple(slice(*each) for each in bounds)
    return lambda x: x[index]


def _pad(equation):
    config = equation.params["padding_config"]
    shape = equation.outvars[0].aval.shape
    where, taken = [], []
    for (low, _, interior), size, end in zip(
        config, equation.invars[0].aval.shape, shape, strict=True
    ):
        places = low + np.arange(size) * (interior + 1)
        inside = (0 <= places) & (places < end)
        where.append(places[inside])
        taken.append(np.flatnonzero(inside))
    index, source = np.ix_(*where), np.ix_(*taken)

    def pad(x, fill):
        found = np.full(shape, fill)
        found[index] = x[source]
        return found

    return pad


def _concatenate(equation):
    axis = equation.params["dimension"]
    return lambda *xs: np.concatenate(xs, axis)


def _stack(equation):
    axis = equation.params["axis"]
    return lambda *xs: np.stack(xs, axis)


def _unstack(equation):
    axis = equation.params["axis"]
    return lambda x: list(np.moveaxis(x, axis, 0))


def _split(equation):
    axis, ends = equation.params["axis"], np.cumsum(equation.params["sizes"])[:-1]
    return lambda x: np.split(x, ends, axis)


def _starts(starts, sizes, shape):
    """The start of a slice, moved so that the slice lies inside the array."""
    pairs = zip(starts, sizes, shape, strict=True)
    return [min(max(int(start), 0), whole - size) for start, size, whole in pairs]


def _dynamic_slice(equation):
    sizes, shape = equation.params["slice_sizes"], equation.invars[0].aval.shape
    if len(equation.invars) != 1 + len(shape):
        return None

    def dynamic_slice(x, *starts):
        first = _starts(starts, sizes, shape)
        return x[tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))]

    return dynamic_slice


def _dynamic_update_slice(equation):
    shape, sizes = (atom.aval.shape for atom in equation.invars[:2])

    def dynamic_update_slice(x, update, *starts):
        first, found = _starts(starts, sizes, shape), np.array(x)
        found[tuple(slice(a, a + n) for a, n in zip(first, sizes, strict=True))] = update
        return found

    return dynamic_update_slice


def _windows(starts, batch, batching, sizes, shape, along, mode):
    """The indices of all elements of all windows, one array per axis, and which windows lie inside.

    Args:
      starts: `(*batch, k)`, the start of each window along k axes.
      batch: The shape of `starts` without its last axis.
      batching: The axes of the array that are paired with an axis of the batch, `{axis: batch
        axis}`.
      sizes: The size of a window along each axis.
      shape: The shape of the array.
      along: The k axes that `starts` refers to.
      mode: "CLIP" moves windows inside the array.
    """
    rank, inside = len(shape), np.ones(batch, bool)
    index = []
    for axis in range(rank):
        if axis in along:
            first = np.asarray(starts[..., along.index(axis)]).astype(np.int64)
            last = shape[axis] - sizes[axis]
            if "CLIP" in mode:
                first = np.clip(first, 0, last)
            is_inside = (0 <= first) & (first <= last)
            inside &= is_inside
            first = np.where(is_inside, first, 0)
        elif axis in batching:
            at = batching[axis]
            around = [-1 if i == at else 1 for i in range(len(batch))]
            first = np.broadcast_to(np.arange(batch[at]).reshape(around), batch)
        else:
            first = np.zeros(batch, np.int64)
        offsets = np.arange(sizes[axis]).reshape([-1 if i == axis else 1 for i in range(rank)])
        index.append(first.reshape((*batch, *(1,) * rank)) + offsets)
    return tuple(index), inside


def _gather(equation):
    params, numbers = equation.params, equation.params["dimension_numbers"]
    sizes, shape = params["slice_sizes"], equation.invars[0].aval.shape
    batch, out = equation.invars[1].aval.shape[:-1], equation.outvars[0].aval
    mode = str(params["mode"]).upper()
    # With "promise_in_bounds" XLA clips the indices that are out of bounds.
    mode = "CLIP" if "PROMISE" in mode else mode
    along = [int(axis) for axis in numbers.start_index_map]
    batching = dict(
        zip(
            (int(a) for a in numbers.operand_batching_dims),
            (int(a) for a in numbers.start_indices_batching_dims),
            strict=True,
        )
    )
    gone = {int(a) for a in (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)}
    kept = [size for axis, size in enumerate(sizes) if axis not in gone]
    offsets = [int(axis) for axis in numbers.offset_dims]
    others = [axis for axis in range(len(out.shape)) if axis not in offsets]
    order = np.argsort([*others, *offsets], kind="stable")

    def gather(x, starts):
        index, inside = _windows(starts, batch, batching, sizes, shape, along, mode)
        found = x[index]
        if "FILL" in mode and not inside.all():
            around = inside.reshape((*batch, *(1,) * len(shape)))
            found = np.where(around, found, _fill(params["fill_value"], x.dtype))
        return np.transpose(found.reshape((*batch, *kept)), order)

    return gather


def _fill(value, dtype):
    if value is not None:
        return np.asarray(value).astype(dtype)
    if dtype.kind in "fc":
        return np.asarray(np.nan, dtype)
    if dtype.kind == "b":
        return np.asarray(True)
    info = np.iinfo(dtype)
    return np.asarray(info.min if dtype.kind == "i" else info.max, dtype)


def _scatter(combine):
    def maker(equation):
        numbers, mode = equation.params["dimension_numbers"], str(equation.params["mode"]).upper()
        shape, starts_shape, new_shape = (atom.aval.shape for atom in equation.invars)
        batch = starts_shape[:-1]
        window_dims = [int(axis) for axis in numbers.update_window_dims]
        inserted = {int(a) for a in (*numbers.inserted_window_dims, *numbers.operand_batching_dims)}
        kept = [axis for axis in range(len(shape)) if axis not in inserted]
        sizes = [1] * len(shape)
        for axis, at in zip(kept, window_dims, strict=True):
            sizes[axis] = new_shape[at]
        along = [int(axis) for axis in numbers.scatter_dims_to_operand_dims]
        batching = dict(
            zip(
                (int(a) for a in numbers.operand_batching_dims),
                (int(a) for a in numbers.scatter_indices_batching_dims),
                strict=True,
            )
        )
        if any(size > whole for size, whole in zip(sizes, shape, strict=True)):
            return None  # of an array without elements, where no window fits
        order = [axis for axis in range(len(new_shape)) if axis not in window_dims] + window_dims

        def scatter(x, starts, new):
            index, inside = _windows(starts, batch, batching, sizes, shape, along, mode)
            found = np.array(x)
            new = np.transpose(new, order).reshape((*batch, *sizes))
            if not inside.all():  # a window that is partly outside is dropped as a whole
                index = tuple(np.broadcast_to(i, new.shape)[inside] for i in index)
                new = new[inside]
            if combine is None:
                found[index] = new
            else:
                combine.at(found, index, new)
            return found

        return scatter

    return maker


def _keys(x):
    """The sort keys of an array. -0.0 and 0.0 compare equal, and NaN is the largest."""
    return x + 0.0 if x.dtype.kind == "f" else x


def _sort(equation):
    axis, count = equation.params["dimension"], equation.params["num_keys"]
    if any(np.dtype(atom.aval.dtype).kind == "c" for atom in equation.invars):
        return None

    def sort(*xs):
        if len(xs) == 1:
            return [np.sort(xs[0], axis, kind="stable")]
        if count == 1:
            order = np.argsort(_keys(xs[0]), axis, kind="stable")
        else:
            order = np.lexsort([_keys(x) for x in xs[count - 1 :: -1]], axis)
        return [np.take_along_axis(x, order, axis) for x in xs]

    return sort


def _top_k(equation):
    k, axis = equation.params["k"], equation.params.get("axis", -1)
    dtype = equation.outvars[1].aval.dtype

    def top_k(x):
        if x.dtype.kind not in "f" or np.isnan(x).any():
            return None
        order = np.argsort(-x, axis, kind="stable")
        order = np.take(order, np.arange(k), axis)
        return [np.take_along_axis(x, order, axis), order.astype(dtype)]

    return top_k


MOVES: dict[str, Callable[[Any], Any]] = {
    **{"broadcast_in_dim": _broadcast, "broadcast_to": _broadcast_to, "reshape": _reshape},
    **{"squeeze": _squeeze, "expand_dims": _squeeze, "transpose": _transpose, "rev": _rev},
    **{"tile": _tile, "slice": _slice, "pad": _pad, "concatenate": _concatenate},
    **{"stack": _stack, "unstack": _unstack, "split": _split, "gather": _gather},
    **{"dynamic_slice": _dynamic_slice, "dynamic_update_slice": _dynamic_update_slice},
    **{"scatter": _scatter(None), "scatter-add": _scatter(np.add)},
    **{"scatter_add": _scatter(np.add), "scatter-sub": _scatter(np.subtract)},
    **{"scatter-mul": _scatter(np.multiply), "scatter_mul": _scatter(np.multiply)},
    **{"scatter-min": _scatter(np.minimum), "scatter_min": _scatter(np.minimum)},
    **{"scatter-max": _scatter(np.maximum), "scatter_max": _scatter(np.maximum)},
    **{"sort": _sort, "top_k": _top_k},
}
