"""What an entry is: a function, how it is called, and the points where it is checked."""

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

SHAPE = (2, 3)

# Awkward numbers: zero, exact integers, halves, near zero, tiny, where exponentials saturate, huge.
REAL = (0.0, 1.0, -1.0, 2.0, -3.0, 0.5, -2.5, 1e-3, -1e-8, 1e-30, 20.0, -20.0, 1e4, -1e8, 1e30)
NEAR_ONE = 1 - 2.0**-20


def _positive_definite(rng, shape):
    a = rng.normal(size=shape)
    return a @ np.swapaxes(a, -1, -2) + shape[-1] * np.eye(shape[-1])


def _symmetric(rng, shape):
    a = rng.normal(size=shape)
    return a + np.swapaxes(a, -1, -2)


def _distinct(rng, shape):
    """No two of them closer than 0.3."""
    count = int(np.prod(shape))
    return (rng.permutation(count) - count / 2 + rng.uniform(0.1, 0.6, count)).reshape(shape)


def _shares(rng, shape):
    a = rng.uniform(0.2, 1.0, size=shape)
    return a / a.sum(-1, keepdims=True)


# How numbers of a domain are drawn, and those of it that are awkward.
DOMAINS: dict[str, tuple[Callable[[Any, tuple], np.ndarray], tuple[float, ...]]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), REAL),
    "positive": (
        lambda rng, shape: rng.uniform(0.3, 3.0, size=shape),
        tuple(x for x in REAL if x > 0),
    ),
    "unit": (
        lambda rng, shape: rng.uniform(0.05, 0.95, size=shape),
        (0.5, 0.25, 1e-3, 1e-8, 1e-30, 0.999, NEAR_ONE),
    ),
    "inner": (
        lambda rng, shape: rng.uniform(-0.9, 0.9, size=shape),
        (0.0, 0.5, -0.5, 1e-3, -1e-8, 1e-30, 0.999, -NEAR_ONE),
    ),
    "above_one": (
        lambda rng, shape: rng.uniform(1.2, 4.0, size=shape),
        (1.001, 2.0, 1 + 2.0**-20, 1e4, 1e30),
    ),
    "distinct": (_distinct, REAL),
    "shares": (_shares, ()),
    "symmetric": (_symmetric, ()),
    "definite": (_positive_definite, ()),
    "regular": (lambda rng, shape: rng.normal(size=shape) / 2 + 2 * np.eye(*shape[-2:]), ()),
    "lower": (lambda rng, shape: np.tril(rng.normal(size=shape)) + 3 * np.eye(*shape[-2:]), ()),
}

# Awkward points of functions that see all their elements at once: what becomes of normal numbers.
FORMS: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {
    "zeros": lambda rng, x: np.zeros_like(x),
    "ones": lambda rng, x: np.ones_like(x),
    "integers": lambda rng, x: np.round(1.5 * x),
    "mixed": lambda rng, x: x * 10.0 ** rng.integers(-8, 9, size=x.shape),
    "huge": lambda rng, x: x * 1e12,
    "tiny": lambda rng, x: x * 1e-12,
}
# A domain in which every form of a number is allowed, and one in which sizes are.
_FREE, _SIGNED = ("normal", "distinct"), ("positive",)


@dataclass(frozen=True)
class Entry:
    """A function to check.

    Attributes:
      library: The module that it is a public name of.
      name: Its name there.
      label: Tells entries of one function apart.
      call: The function, of floating-point arrays alone.
      args: Domain and shape of each argument.
      rows: Awkward points of a function that works element by element, one a row.
      forms: Awkward points of other functions: names out of `FORMS`.
      at: Further points, as the arguments' values.
      order: Of the derivatives that exist.
    """

    library: str
    name: str
    label: str
    call: Callable[..., Any]
    args: tuple[tuple[str, tuple[int, ...]], ...]
    rows: tuple[tuple[float, ...], ...]
    forms: tuple[str, ...]
    at: tuple[tuple[Any, ...], ...]
    order: int

    def __str__(self) -> str:
        return f"{self.library}.{self.name}" + (f", {self.label}" if self.label else "")

    @property
    def points(self) -> tuple[str, ...]:
        """Names of the points: `"random"`, then the awkward ones.

        Of the rows, `"awkward"` has those of moderate numbers; `"far apart"` has all of them in one
        array, where they are of very different sizes.
        """
        rows = ("awkward",) if self.rows else ()
        if any(not _is_moderate(row) for row in self.rows):
            rows = ("awkward", "far apart") if any(map(_is_moderate, self.rows)) else ("far apart",)
        return ("random", *rows, *self.forms, *(f"at {i}" for i in range(len(self.at))))

    def draw(self, point: str, seed: int, dtype: str) -> tuple[Any, ...]:
        """The arguments at a point."""
        rng = np.random.default_rng(seed)
        if point in ("awkward", "far apart"):
            rows = [row for row in self.rows if point == "far apart" or _is_moderate(row)]
            if dtype == "float32":  # whose range is no more than 1e-38 to 1e38
                rows = [row for row in rows if all(x == 0 or 1e-12 <= abs(x) < 1e13 for x in row)]
            rows = np.asarray(rows)
            return tuple(jnp.asarray(column, dtype) for column in rows.T)
        if point.startswith("at "):
            return tuple(jnp.asarray(value, dtype) for value in self.at[int(point[3:])])
        drawn = []
        for domain, shape in self.args:
            x = DOMAINS[domain][0](rng, shape)
            if domain in _FREE or (domain in _SIGNED and point in ("ones", "huge", "tiny")):
                x = FORMS.get(point, lambda rng, x: x)(rng, x)
            elif domain in _SIGNED and point in ("mixed", "integers"):
                x = np.ceil(x) if point == "integers" else FORMS[point](rng, x)
            drawn.append(jnp.asarray(x, dtype))
        return tuple(drawn)


def _is_moderate(row):
    return all(x == 0 or 1e-3 <= abs(x) <= 100 for x in row)


def _args(text: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    found = []
    for word in text.split():
        domain, _, shape = word.partition(":")
        sizes = () if shape == "()" else tuple(int(n) for n in shape.split(",") if n)
        found.append((domain, sizes if shape else SHAPE))
    return tuple(found)


class Library:
    """The entries of a module, written down as a table.

    Functions that this version of the library lacks are left out.
    """

    def __init__(self, module: str):
        self.module, self.entries = module, []
        try:
            self._members = importlib.import_module(module)
        except ModuleNotFoundError:
            self._members = None

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def each(
        self,
        names: str,
        args: str = "normal",
        *,
        also: Iterable[Any] = (),
        off: Iterable[Any] = (),
        rows: Iterable[Any] | None = None,
        call: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda f: f,
        label: str = "",
        order: int = 2,
    ) -> None:
        """Functions that work element by element.

        Args:
          names: Their names, separated by blanks.
          args: Domains of their arguments, the shape of each behind a colon.
          also: Awkward numbers besides those of the domain; rows of them for several arguments.
          off: Those of the domain at which there is no derivative.
          rows: Awkward numbers in place of the domain's.
          call: From the function to one of the arguments alone.
          label, order: Of the entries.
        """
        specs = _args(args)
        if rows is None:
            rows = [x for x in DOMAINS[specs[0][0]][1] if x not in off] if len(specs) == 1 else []
        found = [(*row,) if isinstance(row, tuple | list) else (row,) for row in (*rows, *also)]
        for name in names.split():
            if hasattr(self._members, name):
                f = call(getattr(self._members, name))
                self._add(name, label, f, specs, tuple(found), (), (), order)

    def add(
        self,
        name: str,
        args: str = "normal",
        call: Callable[..., Any] | None = None,
        *,
        forms: str = "zeros integers mixed",
        at: Iterable[Any] = (),
        order: int = 2,
    ) -> None:
        """A function that sees several elements at once.

        Args:
          name: Its name; behind a comma what tells this entry from others.
          args: As in `each`.
          call: The function of these arguments, where it isn't the function itself.
          forms: Names of awkward points, see `FORMS`.
          at: Further points, each a tuple of the arguments.
          order: As in `each`.
        """
        name, _, label = name.partition(", ")
        if hasattr(self._members, name):
            call = call or getattr(self._members, name)
            self._add(name, label, call, _args(args), (), tuple(forms.split()), tuple(at), order)

    def _add(self, name, label, *what):
        self.entries.append(Entry(self.module, name, label, *what))


def parts(z: Any) -> tuple[Any, Any]:
    """Real and imaginary part."""
    return jnp.real(z), jnp.imag(z)


def of_parts(f: Callable[..., Any], is_complex: bool = True) -> Callable[..., Any]:
    """A function of a complex array as one of its real and its imaginary part."""

    def function(real, imaginary):
        z = f(real + 1j * imaginary)
        return parts(z) if is_complex else z

    return function
