"""What the command line makes of the arguments that it is given."""

import numpy as np
import pytest

from jaxconv.verify._arguments import argument, keyword


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("-2", -2),
        ("2.0", 2.0),
        ("1e-3", 1e-3),
        ("(2, 2)", (2, 2)),
        ("((0,1),(1,0))", ((0, 1), (1, 0))),
        ("[2]", [2]),
        ("SAME", "SAME"),
        ('"SAME"', "SAME"),
        ("'2'", "2"),
        ("true", True),
        ("False", False),
        ("none", None),
    ],
)
def test_a_literal_keeps_its_type(text, value, rng):
    found = argument(text, rng)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "dtype", "shape", "low", "high"),
    [
        ("f32[2,3]", "float32", (2, 3), -10, 10),
        ("bf16[]", "bfloat16", (), -10, 10),
        ("f16[100]:0.5..2", "float16", (100,), 0.5, 2),
        ("f32[100]:-2..-1e-1", "float32", (100,), -2, -0.1),
        ("i32[100]", "int32", (100,), 0, 9),
        ("u8[100]:250..255", "uint8", (100,), 250, 255),
        ("i8[0]", "int8", (0,), 0, 9),
        ("bool[100]", "bool", (100,), 0, 1),
    ],
)
def test_an_array_has_its_dtype_shape_and_range(text, dtype, shape, low, high, rng):
    found = argument(text, rng)
    assert found.dtype == dtype
    assert found.shape == shape
    assert np.all((low <= found) & (found <= high))
    if dtype != "bool" and found.size > 10:
        assert np.ptp(np.asarray(found, float)) > 0.5 * (min(high, 3) - low if high < 10 else 5)


@pytest.mark.usefixtures("float64")
def test_arrays_of_64_bits(rng):
    assert argument("i64[2]:0..9223372036854775807", rng).dtype == "int64"
    assert (
        argument("u64[2]:18446744073709551615..18446744073709551615", rng).tolist()
        == [2**64 - 1] * 2
    )
    assert argument("f64[2]", rng).dtype == "float64"


def test_a_keyword_has_a_name_and_a_value(rng):
    assert keyword("padding=SAME", rng) == ("padding", "SAME")
    assert keyword("strides = (2, 1)", rng) == ("strides", (2, 1))
    assert keyword("name='a=b'", rng) == ("name", "a=b")
