"""One call of a convolution, checked at the public door.

The corners of the triangle share their options and so their checks: the layouts, the flip, the
dtypes and the geometry. A `Call` holds what one call was given, raises what is wrong with it under
the name of the function that was called, and runs the corner that was asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from .. import algorithms
from .._geometry import Geometry, Padding, Size, convolution_geometry, per_axis
from .._typing import Array
from ._boundary import PaddingMode, check_sides
from ._options import check_flag, check_precision

DimensionNumbers: TypeAlias = tuple[str, str, str] | lax.ConvDimensionNumbers | None
IMPLEMENTATIONS = (None, "textbook", "lax", *algorithms.ALGORITHMS)


def as_array(name: str, value: Any) -> Array:
    """A user's operand as a JAX array; `name` is `function: argument`."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise TypeError(f"{name} must be an array, got {type(value).__name__}.")
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.bool_):
        raise TypeError(f"{name} must hold numbers, got dtype bool.")
    return array


def layouts(
    function: str, x_shape: Sequence[int], k_shape: Sequence[int], numbers: DimensionNumbers
) -> lax.ConvDimensionNumbers:
    """The layouts of a convolution as lax understands them, or an error that names the function."""
    try:
        return lax.conv_dimension_numbers(tuple(x_shape), tuple(k_shape), numbers)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{function}: dimension_numbers: {error}") from None


@dataclass(frozen=True)
class Call:
    """The options of one call that do not belong to its geometry."""

    function: str
    dimension_numbers: DimensionNumbers
    flip_kernel: bool
    precision: lax.PrecisionLike
    preferred_element_type: Any
    impl: str | None
    padding_mode: PaddingMode = "zeros"
    kernel_dtype: Any = None
    may_be_empty: bool = False  # as lax has it: a window larger than the input sees nothing

    def __post_init__(self):
        check_flag(f"{self.function}: flip_kernel", self.flip_kernel)
        check_precision(self.function, self.precision)
        if isinstance(self.precision, list):  # which lax takes, and which cannot be hashed
            object.__setattr__(self, "precision", tuple(self.precision))
        if self.padding_mode not in get_args(PaddingMode):
            raise ValueError(
                f"{self.function}: padding_mode must be one of {get_args(PaddingMode)}, "
                f"got {self.padding_mode!r}."
            )
        if self.impl not in IMPLEMENTATIONS:
            raise ValueError(
                f"{self.function}: impl must be one of {IMPLEMENTATIONS}, got {self.impl!r}."
            )

    @property
    def forward(self) -> str:
        """The slot that the forward pass leaves out; the other two corners are its derivatives."""
        return "x" if self.function == "conv_transpose" else "y"

    # Arrays come in as the user lays them out, and go on channels last.

    def input(self, name: str, x: Any) -> Array:
        """The convolution's input as `(n, *spatial, c)`."""
        return self._arrive(name, x, "lhs_spec")

    def output(self, name: str, y: Any) -> Array:
        """The convolution's output as `(n, *output, o)`."""
        return self._arrive(name, y, "out_spec")

    def kernel(self, name: str, kernel: Any) -> Array:
        """The kernel as `(*window, c/g, o)`, turned if the call asks for a true convolution."""
        kernel = self._arrive(name, kernel, "rhs_spec")
        return _turned(kernel) if self.flip_kernel else kernel

    def input_shape(self, shape: Any) -> tuple[int, ...]:
        """The shape of the input, given in the user's layout, as `(n, *spatial, c)`."""
        return self._arrange_shape("input_shape", shape, "lhs_spec")

    def kernel_shape(self, shape: Any) -> tuple[int, ...]:
        """The shape of the kernel, given in the user's layout, as `(*window, c/g, o)`."""
        return self._arrange_shape("kernel_shape", shape, "rhs_spec")

    # ... and results leave as the user lays them out.

    def to_input(self, x: Array) -> Array:
        """The reverse of `input`."""
        return x.transpose(np.argsort(self._order(x.ndim, "lhs_spec")))

    def to_output(self, y: Array) -> Array:
        """The reverse of `output`."""
        return y.transpose(np.argsort(self._order(y.ndim, "out_spec")))

    def to_kernel(self, kernel: Array) -> Array:
        """The reverse of `kernel`."""
        kernel = _turned(kernel) if self.flip_kernel else kernel
        return kernel.transpose(np.argsort(self._order(kernel.ndim, "rhs_spec")))

    def dtypes(self, *, result: str, **operands: Array) -> tuple[np.dtype, np.dtype, np.dtype]:
        """The dtypes of x, k and y: that of the operands, or as preferred for the result.

        With a `kernel_dtype` the kernel has a dtype of its own, and k keeps it. What stands in the
        place of y may be wider than the other operand, as is a result that was preferred wider.
        """
        found = {name: operand.dtype for name, operand in operands.items()}
        own, products = {}, self.dtype_of_products()
        if products is not None and "kernel" in found:
            own["k"], found["kernel"] = found["kernel"], products
            if not is_as_wide(own["k"], products):
                raise TypeError(
                    f"{self.function}: kernel_dtype must not be wider than the kernel or of "
                    f"another kind, got {products} for a kernel of dtype {own['k']}."
                )
        first, second = found.values()
        dtype, y = (second, first) if result == "x" else (first, second)
        wider = result != "y" and is_as_wide(y, dtype) and algorithms.common_dtype(y, dtype) == y
        if y != dtype and not wider:
            names = [name if name != "kernel" or not own else "kernel_dtype" for name in found]
            listed = ", ".join(f"{n} has {d}" for n, d in zip(names, found.values(), strict=True))
            raise TypeError(f"{self.function}: operands must have one dtype, but {listed}.")
        own[result] = self._preferred(dtype, y if result == "x" else dtype)
        x, k, y = (
            np.dtype(own.get(slot, of)) for slot, of in zip("xky", (dtype, dtype, y), strict=True)
        )
        return x, k, y

    def dtype_of_products(self) -> np.dtype | None:
        """The dtype that the kernel is rounded to before it is used; None leaves it as it is."""
        return None if self.kernel_dtype is None else self._dtype("kernel_dtype", self.kernel_dtype)

    def _preferred(self, dtype: np.dtype, default: np.dtype) -> np.dtype:
        """The dtype of the result of products of a `dtype`."""
        if self.preferred_element_type is None:
            return default
        preferred = self._dtype("preferred_element_type", self.preferred_element_type)
        # As lax has it: integers may be added up as floating-point numbers of their width.
        from_integers = jnp.issubdtype(dtype, jnp.integer) and jnp.issubdtype(
            preferred, jnp.floating
        )
        wide_enough = preferred.itemsize >= dtype.itemsize
        if not (wide_enough if from_integers else is_as_wide(preferred, dtype)):
            raise TypeError(
                f"{self.function}: preferred_element_type must not be narrower than the operands "
                f"or of another kind, got {preferred} for operands of dtype {dtype}."
            )
        return preferred

    def _dtype(self, option: str, value: Any) -> np.dtype:
        try:
            return np.dtype(jax.dtypes.canonicalize_dtype(value))
        except TypeError as error:
            raise TypeError(f"{self.function}: {option}: {error}") from None

    def geometry(
        self,
        x_shape: Sequence[int],
        kernel_shape: Sequence[int],
        strides: Size,
        padding: Padding,
        input_dilation: Size,
        kernel_dilation: Size,
        groups: int,
        *,
        y: dict[str, Array] | None = None,
    ) -> Geometry:
        """The checked geometry of a convolution between channels-last shapes.

        `y` is `{name: array}` where the output is given and has to fit.
        """
        if len(kernel_shape) != len(x_shape):
            raise ValueError(
                f"{self.function}: input and kernel must have the same rank, got an input of shape "
                f"{tuple(x_shape)} and a kernel of shape {tuple(kernel_shape)}, channels last."
            )
        (groups,) = per_axis(groups, 1, f"{self.function}: feature_group_count")
        self._check_channels(x_shape, kernel_shape, groups)
        geometry = convolution_geometry(
            self.function,
            x_shape[1:-1],
            kernel_shape[:-2],
            strides,
            padding,
            input_dilation,
            kernel_dilation,
            groups,
            may_be_empty=self.may_be_empty,
        )
        check_sides(self.function, geometry, self.padding_mode)
        expected = (x_shape[0], *geometry.output_size, kernel_shape[-1])
        for name, array in (y or {}).items():
            if array.shape != expected:
                raise ValueError(
                    f"{self.function}: {name} must have the shape of the convolution's output, "
                    f"{expected} channels last, got {array.shape}."
                )
        return geometry

    def _check_channels(self, x_shape, kernel_shape, groups):
        c, c_in, c_out = x_shape[-1], kernel_shape[-2], kernel_shape[-1]
        if c != c_in * groups:
            each = f" for each of {groups} groups" if groups > 1 else ""
            raise ValueError(
                f"{self.function}: kernel takes c_in = {c_in} channels{each} but x has c = {c}; "
                f"x is (n, *spatial, c) = {tuple(x_shape)}, "
                f"kernel is (*window, c_in, c_out) = {tuple(kernel_shape)}."
            )
        if c_out % groups:
            raise ValueError(
                f"{self.function}: feature_group_count = {groups} must divide the kernel's "
                f"c_out = {c_out}; kernel is (*window, c_in, c_out) = {tuple(kernel_shape)}."
            )

    def _arrive(self, name: str, value: Any, spec: str) -> Array:
        array = as_array(f"{self.function}: {name}", value)
        if array.ndim < 2:
            raise ValueError(
                f"{self.function}: {name} needs two axes besides the spatial ones, "
                f"got shape {array.shape}."
            )
        return array.transpose(self._order(array.ndim, spec))

    def _arrange_shape(self, name: str, shape: Any, spec: str) -> tuple[int, ...]:
        rank = len(shape) if isinstance(shape, Sequence) else 0
        if rank < 2:
            raise ValueError(f"{self.function}: {name} must be a shape, got {shape!r}.")
        # An exported program may leave the number of examples open: a symbol, not an integer.
        fixed = [0 if export.is_symbolic_dim(size) else size for size in shape]
        per_axis(fixed, rank, f"{self.function}: {name}", minimum=0)
        return tuple(shape[axis] for axis in self._order(rank, spec))

    def _order(self, rank: int, spec: str) -> tuple[int, ...]:
        """Axes of the user's layout in the order of ours."""
        if self.dimension_numbers is None:
            return tuple(range(rank))
        ones = (1,) * rank
        numbers = layouts(self.function, ones, ones, self.dimension_numbers)
        outer, features, *spatial = getattr(numbers, spec)
        if spec == "rhs_spec":  # (o, c, *window)
            return (*spatial, features, outer)
        return (outer, *spatial, features)


_KINDS = (jnp.signedinteger, jnp.floating, jnp.complexfloating)


def is_as_wide(dtype: np.dtype, other: np.dtype) -> bool:
    """Whether the first of two dtypes holds numbers of the other's kind, and is no narrower."""
    alike = any(jnp.issubdtype(dtype, kind) and jnp.issubdtype(other, kind) for kind in _KINDS)
    alike |= jnp.issubdtype(other, jnp.unsignedinteger) and jnp.issubdtype(dtype, jnp.integer)
    return alike and dtype.itemsize >= other.itemsize


def _turned(kernel: Array) -> Array:
    return lax.rev(kernel, range(kernel.ndim - 2))
