"""The direct convolution: where XLA itself would abort."""

import numpy as np
import pytest

from jaxconv import conv, reference


@pytest.mark.parametrize(("size", "window"), [(3, 2), (5, 2), (2, 3), (3, 3)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.usefixtures("float64")
def test_axis_that_looks_like_one_of_groups(size, window, groups, normal):
    """At such a convolution XLA aborts the process, in lax as well."""
    x, kernel = normal((1, 2, size, 2)), normal((9, window, 2 // groups, 2))
    options = {
        "strides": (1, window - 1),
        "padding": ((12, 13), (0, 0)),
        "input_dilation": (2, window),
        "kernel_dilation": (3, 1),
        "feature_group_count": groups,
    }
    y = conv(x, kernel, **options)
    expected = reference.conv(np.asarray(x), np.asarray(kernel), **options)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
