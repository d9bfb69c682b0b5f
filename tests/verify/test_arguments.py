"""What the command line makes of the arguments that it is given."""

import numpy as np
import pytest

from jaxconv.verify._arguments import DTYPES, Misuse, argument, is_wide, keyword


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


NAMES = {
    **{"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "bool": "bool"},
    **{f"{kind[0]}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


@pytest.mark.usefixtures("float64")
def test_every_dtype_has_its_name(rng):
    assert set(DTYPES) == set(NAMES)
    for name, dtype in NAMES.items():
        assert argument(f"{name}[2]", rng).dtype == dtype
        assert is_wide(f" {name}[2]") == (dtype.endswith("64"))
    assert not is_wide("f64")
    assert not is_wide("a f64[2]")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bool[60]", {False, True}),
        ("i32[200]", set(range(10))),
        ("u8[60]:253..255", {253, 254, 255}),
        ("i8[60]:-128..-127", {-128, -127}),
        ("i8[3]:127..127", {127}),
        ("f32[3]:1.5..1.5", {1.5}),
        ("f32[3]:2..2", {2.0}),
    ],
)
def test_both_ends_of_a_range_are_drawn(text, expected, rng):
    drawn = np.asarray(argument(text, rng))
    assert set(drawn.tolist()) == expected
    if drawn.size > 50:  # each as often
        for value in expected:
            assert abs((drawn == value).mean() - 1 / len(expected)) < 0.15


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f32[2,-1]", "the sizes must be integers of at least 0"),
        ("f32[2,0.5]", "the sizes must be integers of at least 0"),
        ("f32[2]:1..0.5", "LO..HI must follow the colon"),
        ("f32[2]:1", "LO..HI must follow the colon"),
        ("f32[2]:", "LO..HI must follow the colon"),
        ("i32[2]:0..1.5", "LO..HI must follow the colon"),
        ("i32[2]:0.5..1", "LO..HI must follow the colon"),
        ("bool[2]:0..1", "LO..HI must follow the colon"),
        ("i8[2]:-129..0", "int8 ranges from -128 to 127"),
        ("i8[2]:0..128", "int8 ranges from -128 to 127"),
        ("u8[2]:-1..0", "uint8 ranges from 0 to 255"),
        ("q8[2]", "the dtype must be one of f64, f32, f16, bf16, i8,"),
        ("f32", 'the shape is missing, as in "f32\\[2,3\\]"'),
        ("two words", "--arg must be dtype and shape"),
    ],
)
def test_what_is_refused(text, said, rng):
    with pytest.raises(Misuse, match=said):
        argument(text, rng)
    with pytest.raises(Misuse, match="--option x"):
        keyword(f"x={text}", rng)


def test_sizes_and_words(rng):
    assert argument(" f32[ 2, 3, ] ", rng).shape == (2, 3)
    assert argument("f32[]", rng).shape == ()
    assert argument("SAME_LOWER", rng) == "SAME_LOWER"
    for text in ("x", "=1", "1x=2", "a b=1"):
        with pytest.raises(Misuse, match="--option must be name=value"):
            keyword(text, rng)
