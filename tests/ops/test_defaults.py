"""What an option means that a call leaves out: the same in every function that has it.

Covers jaxconv/ops/_convolution.py, jaxconv/ops/_transposed.py, jaxconv/ops/_general.py,
jaxconv/ops/_block.py, jaxconv/ops/_options.py, jaxconv/ops/_pool_options.py,
jaxconv/ops/_max_pooling.py, jaxconv/ops/_sum_pooling.py, jaxconv/ops/_lp_pooling.py,
jaxconv/ops/_unpooling.py, jaxconv/ops/_unfolding.py, jaxconv/ops/_upscaling.py.
"""

import dataclasses
import inspect

import pytest

from jaxconv import ops
from jaxconv.ops._options import ConvOptions
from jaxconv.ops._pool_options import PoolOptions

DEFAULTS = {
    # Of convolutions.
    "strides": 1,
    "padding": "VALID",
    "padding_mode": "zeros",
    "input_dilation": 1,
    "kernel_dilation": 1,
    "feature_group_count": 1,
    "batch_group_count": 1,
    "flip_kernel": False,
    "transpose_kernel": True,
    "output_padding": 0,
    # Of pools; one without strides takes those of its window.
    "window_dilation": 1,
    "ceil_mode": False,
    "count_include_pad": True,
    "ties": "first",
    "overlap": "sum",
    "check_argmax": False,
    # Of a block.
    "activation": "relu",
    "pool_padding": "VALID",
    "pool_ceil_mode": False,
    # Of upscaling.
    "method": "nearest",
    "align_corners": False,
}
# The others are None by default: nothing is asked for, or it follows from the operands.
NONE = {
    "precision",
    "preferred_element_type",
    "kernel_dtype",
    "impl",
    "dimension_numbers",
    "lhs_dilation",
    "rhs_dilation",
    "out_sharding",
    "output_shape",
    "output_size",
    "crop",
    "input_padding",
    "pool_strides",
    "bias",
    "platform",
}
FUNCTIONS = [name for name, f in vars(ops).items() if inspect.isfunction(f)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_the_defaults_of_its_options(name):
    parameters = inspect.signature(getattr(ops, name)).parameters.values()
    given = {p.name: p.default for p in parameters if p.default is not p.empty}
    of_pools = {"strides": None} if "pool" in name else {}
    expected = dict.fromkeys(NONE) | DEFAULTS | of_pools
    assert given == {option: expected[option] for option in given}


def test_the_checked_options_have_the_same_defaults():
    """A function that has not all options leaves the others to these two classes."""
    of_convolutions, of_pools = (
        {field.name: field.default for field in dataclasses.fields(options)[first:]}
        for options, first in ((ConvOptions, 1), (PoolOptions, 2))
    )
    assert of_convolutions.pop("may_be_empty") is False
    expected = dict.fromkeys(NONE) | DEFAULTS
    assert of_convolutions == {option: expected[option] for option in of_convolutions}
    assert of_pools == {option: (expected | {"strides": None})[option] for option in of_pools}
