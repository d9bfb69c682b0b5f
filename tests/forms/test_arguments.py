"""What a function that makes operations is given: names, counts, and the recipe for `pickle`."""

from functools import partial

import jax
import numpy as np
import pytest

from jaxconv.forms import _arguments
from jaxconv.forms._arguments import (
    again,
    default_name,
    described,
    hashable,
    positional_count,
    remember,
)


class Callable:
    def __call__(self, x):
        return x


class Unhashable(Callable):
    __hash__ = None


def _private(x):
    return x


def __(x):
    return x


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (_private, "private"),
        (partial(partial(_private)), "private"),
        (lambda x: x, "lambda"),
        (Callable(), "Callable"),
        (__, "map"),  # nothing is left of it
    ],
)
def test_an_operation_has_a_name_without_signs(function, name):
    assert default_name(function) == name


def test_only_what_cannot_be_hashed_is_wrapped():
    function, unhashable = Callable(), Unhashable()
    assert hashable(function) is function
    assert hashable(_private) is _private
    assert isinstance(hash(hashable(unhashable)), int)
    assert hashable(unhashable).func is unhashable


def test_an_array_is_described_by_dtype_and_shape():
    assert described(np.zeros((2, 3), np.int16)) == "int16[2,3]"
    assert described(jax.ShapeDtypeStruct((), np.float32)) == "float32[]"


def one(a, /, *, k):
    return a


def two(a, b, c=None):
    return a


def three(a, /, b, c, *, k=1, **params):
    return a


@pytest.mark.parametrize(("function", "count"), [(one, 1), (two, 2), (three, 3)])
def test_required_positional_parameters_are_counted(function, count):
    assert positional_count(function) == count


@pytest.mark.parametrize(
    "function",
    [lambda *a: 0, lambda a, *b: 0, lambda a=1: 0, lambda *, k: 0, max],
)
def test_a_number_of_slots_that_is_not_fixed(function):
    with pytest.raises(TypeError, match="give the number of slots of the form"):
        positional_count(function)


class Made:
    origin = None


@pytest.fixture
def made(monkeypatch):
    """What is remembered, nothing at first."""
    monkeypatch.setattr(_arguments, "_MADE", {})
    return _arguments._MADE


def test_a_recipe_makes_each_operation_again(made):
    calls = []

    def maker(*arguments, **options):
        calls.append((arguments, options))
        operations = Made(), Made()
        remember(maker, arguments, options, operations)
        return operations

    maps = {"a": _private, "b": (one, two)}
    first, second = maker(maps, [1, 2], name=None, lowerings={"cpu": [one, {"k": two}]})
    calls.clear()
    # Copies in the same process are the operations themselves.
    for operation in (first, second):
        function, arguments = operation.origin
        assert function is again
        assert function(*arguments) is operation
    assert not calls
    # Another process makes both at once, from what the maker was given.
    made.clear()
    found = [function(*arguments) for function, arguments in (first.origin, second.origin)]
    assert calls == [((maps, (1, 2)), {"lowerings": {"cpu": (one, {"k": two})}})]
    assert all(operation not in (first, second) for operation in found)
    assert found[0] is not found[1]


def test_an_option_that_is_not_none_counts(made):
    plain, zero = Made(), Made()
    remember(one, (two,), {"count": None}, [plain])
    remember(one, (two,), {"count": 0}, [zero])
    assert len(made) == 2
    assert again(*plain.origin[1]) is plain
    assert again(*zero.origin[1]) is zero


def test_the_first_operation_of_a_recipe_stays_the_one(made):
    first, later = Made(), Made()
    for operation in (first, later):
        remember(one, (two,), {}, [operation])
    assert again(*later.origin[1]) is first


def test_what_cannot_be_hashed_has_no_recipe(made):
    operation = Made()
    remember(one, (Unhashable(),), {}, [operation])
    assert operation.origin is None
    assert not made
