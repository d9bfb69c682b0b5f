"""Options of a convolution that change how it is called or computed, and not what it is.

Layouts, dtypes and precision, every algorithm that `impl` names, and all ways to say the size of a
transposed convolution: each equals the definition. `explain` names what runs.

Covers jaxconv/ops/_operands.py, jaxconv/ops/_options.py, jaxconv/ops/_explain.py,
jaxconv/ops/_transposed_size.py, jaxconv/algorithms/_selection.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

import jaxconv
from jaxconv import algorithms, reference

from .running import attempt, fuzzed
from .strategies import (
    FLOATS,
    KERNELS,
    LAYOUTS,
    Convolution,
    assert_close,
    convolutions,
    dtypes,
    exact,
    values,
)
from .test_convolutions import defined, magnitudes, operands_of


def in_layout(array, own, layout):
    """An array with the axes `own` as one with the axes `layout`."""
    return np.transpose(array, [own.index(axis) for axis in layout])


def in_order_of(layout, options):
    """The options of a convolution, those of each axis in the order of a kernel's window axes."""
    order = [int(axis) for axis in layout if axis.isdigit()]
    return {
        name: tuple(value[axis] for axis in order) if isinstance(value, tuple) else value
        for name, value in options.items()
    }


@fuzzed(3, convolutions(), dtypes(FLOATS), values(), st.data())
def test_layouts_and_precision(case, dtype, content, data):
    assume(case.is_valid)
    rank = len(case.x_shape) - 2
    layouts = [data.draw(st.sampled_from(names[rank])) for names in (LAYOUTS, KERNELS, LAYOUTS)]
    digits = "".join(map(str, range(rank)))
    own = f"N{digits}C", f"{digits}IO", f"N{digits}C"
    precision = data.draw(st.sampled_from([None, "highest", jax.lax.Precision.HIGH]))
    with jax.enable_x64(True):
        arrays = operands_of(case, dtype, content)
        x, kernel, y_bar = (
            in_layout(a, o, l) for a, o, l in zip(arrays, own, layouts, strict=True)
        )
        options = in_order_of(layouts[1], case.options)
        options |= {"dimension_numbers": tuple(layouts), "precision": precision}
        f = partial(jaxconv.conv, **options)
        y, pull_back = jax.vjp(f, jnp.asarray(x), jnp.asarray(kernel))
        bars = pull_back(jnp.asarray(y_bar))
        alone = (
            jaxconv.conv_input_vjp(y_bar, kernel, x.shape, **options),
            jaxconv.conv_kernel_vjp(x, y_bar, kernel.shape, **options),
        )
    expected, scales = defined(case, *arrays), magnitudes(case, *arrays)
    folded = case.options["padding_mode"] != "zeros"
    for found, which in ((y, 0), (bars[0], 1), (alone[0], 1), (bars[1], 2), (alone[1], 2)):
        place = (2, 0, 1)[which]  # of the result among x, kernel and y
        back = in_layout(np.asarray(found), layouts[place], own[place])
        wide = dtype if folded and which == 1 else None
        assert_close(
            back, expected[which], scales[which], case.terms[which], dtype, wide=wide,
            what=("y", "x_bar", "k_bar")[which],
        )  # fmt: skip


WIDER = {"float16": "float32", "bfloat16": "float32", "float32": "float64", "float64": "float64"}


@fuzzed(2, convolutions(), dtypes(FLOATS), values())
def test_wider_results_and_kernels(case, dtype, content):
    """The result in a wider dtype; a wide kernel that is rounded, and its gradient is not."""
    assume(case.is_valid and content.content not in ("huge", "tiny"))
    wide = WIDER[dtype]
    with jax.enable_x64(True):
        x, kernel, y_bar = operands_of(case, dtype, content)
        expected, scales = defined(case, x, kernel, y_bar), magnitudes(case, x, kernel, y_bar)
        y = jaxconv.conv(x, kernel, **case.options, preferred_element_type=wide)
        assert_close(y, expected[0], scales[0], case.terms[0], wide, what="wider y")
        if dtype == wide:
            return
        # Half an eps away from what it is rounded to.
        wide_kernel = exact(kernel) * (1 + 0.1 * float(jnp.finfo(dtype).eps))
        f = partial(jaxconv.conv, **case.options, kernel_dtype=dtype)
        y, pull_back = jax.vjp(f, jnp.asarray(x), jnp.asarray(wide_kernel.astype(wide)))
        assert_close(y, expected[0], scales[0], case.terms[0], dtype, what="y of a wide kernel")
        _, k_bar = pull_back(jnp.asarray(y_bar))
        assert_close(k_bar, expected[2], scales[2], case.terms[2], wide, what="wide k_bar")


# Those of other platforms and those that only `impl` chooses run on CPUs, too.
NAMES = sorted(algorithms.ALGORITHMS)


@fuzzed(3, convolutions(modes=False), st.sampled_from(["float32", "float64"]), values(), st.data())
def test_every_algorithm(case, dtype, content, data):
    """An algorithm that `impl` names computes the definition, or says that it does not apply."""
    assume(case.is_valid)
    name = data.draw(st.sampled_from(NAMES))
    with jax.enable_x64(True):
        x, kernel, y_bar = operands_of(case, dtype, content)
        f = partial(jaxconv.conv, **case.options, impl=name)
        y, refusal = attempt(lambda: f(x, kernel), "conv")
        report = jaxconv.explain(partial(jaxconv.conv, **case.options), x, kernel)
        (convolution,) = report.convolutions
        if refusal is not None:
            assert f"impl='{name}' does not apply" in refusal, refusal
            assert convolution.algorithm.split(" > ")[0] != name
            return
        (asked,) = jaxconv.explain(f, x, kernel).convolutions
        assert asked.algorithm.split(" > ")[0] in (name, "zeros"), asked.algorithm
        bars = jax.vjp(f, jnp.asarray(x), jnp.asarray(kernel))[1](jnp.asarray(y_bar))
    expected, scales = defined(case, x, kernel, y_bar), magnitudes(case, x, kernel, y_bar)
    for which, found in enumerate((y, *bars)):
        scale = scales[which]
        if name == "fourier":  # its rounding follows the norms of whole maps
            scale = np.broadcast_to(scale.sum(initial=0), scale.shape)
        assert_close(
            found, expected[which], scale, 4 * case.terms[which] + 16, dtype,
            what=f"{('y', 'x_bar', 'k_bar')[which]} of {name}",
        )  # fmt: skip


@fuzzed(3, convolutions(modes=False), values(), st.data())
def test_sizes_of_transposed_convolutions(case, content, data):
    """`output_padding`, `crop`, `input_padding` and `transpose_kernel` against the adjoint."""
    assume(case.is_valid and len(case.x_shape) > 2 and 0 not in (*case.x_shape, *case.y_shape))
    rank = len(case.x_shape) - 2
    with jax.enable_x64(True):
        _, kernel, y = operands_of(case, "float64", content)
        options = dict(case.options)
        way = data.draw(st.sampled_from(["output_padding", "crop", "input_padding", "flat"]))
        sides = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * rank)
        if way == "output_padding":
            options["padding"] = data.draw(sides)
            options[way] = data.draw(st.tuples(*[st.integers(0, 2)] * rank))
        elif way == "crop":
            del options["padding"]
            options[way] = data.draw(st.one_of(sides, st.sampled_from(["VALID", "FULL"])))
        elif way == "input_padding":
            del options["padding"]
            options[way] = data.draw(sides)
        f = partial(jaxconv.conv_transpose, **options)
        if way == "flat":
            if options["feature_group_count"] > 1 or options["flip_kernel"]:
                return
            f = partial(f, transpose_kernel=False)
            given = np.flip(kernel, range(rank)).swapaxes(-1, -2)
        else:
            given = kernel
        x, refusal = attempt(lambda: f(y, given), "conv_transpose")
        if refusal is not None:
            return
        # A convolution with this padding, whose x has the size of the result, has y's size.
        padding = options.get("padding")
        if way in ("crop", "input_padding"):
            reach = [
                d * (w - 1) + 1
                for w, d in zip(kernel.shape, case.options["kernel_dilation"], strict=False)
            ]
            asked = options[way]
            if asked == "VALID":
                asked = [(0, 0)] * rank
            elif asked == "FULL":
                asked = [(r - 1, r - 1) for r in reach]
            flipped = [(r - 1 - lo, r - 1 - hi) for r, (lo, hi) in zip(reach, asked, strict=False)]
            padding = tuple(map(tuple, asked if way == "crop" else flipped))
        if way == "output_padding":  # more elements on one side, so that less padding is seen
            extra = zip(padding, options[way], case.options["input_dilation"], strict=True)
            padding = tuple((lo, hi - more * apart) for (lo, hi), more, apart in extra)
        padding = "VALID" if padding is None else padding
        same = Convolution(x.shape, kernel.shape, case.options | {"padding": padding})
        if way == "output_padding" or same.y_shape == y.shape:
            expected = reference.conv_input_vjp(y, kernel, x.shape, **same.for_reference)
            scale = reference.conv_input_vjp(
                np.abs(y), np.abs(kernel), x.shape, **same.for_reference
            )
            assert_close(x, expected, scale, case.terms[1], "float64", what=way)
        else:  # the rest of the map is not reached by a window
            assert way in ("crop", "input_padding")


@fuzzed(2, convolutions(), values(), st.sampled_from(["cpu", "cuda", "rocm", "tpu", None]))
def test_explain(case, content, platform):
    """A gradient has three convolutions at most, each with one that runs and reasons against."""
    assume(case.is_valid)
    with jax.enable_x64(True):
        x, kernel, _ = operands_of(case, "float32", content)

        def loss(x, kernel):
            return jaxconv.conv(x, kernel, **case.options).sum()

        report = jaxconv.explain(jax.grad(loss, (0, 1)), x, kernel, platform=platform)
    assert report.platform == (platform or "cpu")
    names = [convolution.function for convolution in report.convolutions]
    assert {*names} <= {"conv", "conv_input_vjp", "conv_kernel_vjp"}
    assert len(names) == len({*names})
    text = str(report)
    for convolution in report.convolutions:
        assert convolution.algorithm
        assert convolution.reason
        assert f"runs      {convolution.algorithm}: {convolution.reason}" in text
