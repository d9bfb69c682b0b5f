"""An entry of the catalogue: a function, its arguments, and the points where it is checked."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

SHAPE = (2, 3)

# Awkward values: zero, integers, halves, values near zero, tiny ones, values at which exponentials
# saturate, and huge ones.
REAL = (0.0, 1.0, -1.0, 2.0, -3.0, 0.5, -2.5, 1e-3, -1e-8, 1e-30, 20.0, -20.0, 1e4, -1e8, 1e30)
NEAR_ONE = 1 - 2.0**-20


def _positive_definite(rng, shape):
    a = rng.normal(size=shape)
    return a @ np.swapaxes(a, -1, -2) + shape[-1] * np.eye(shape[-1])


def _symmetric(rng, shape):
    a = rng.normal(size=shape)
    return a + np.swapaxes(a, -1, -2)


def _distinct(rng, shape):
    """Random values with a distance of at least 0.3."""
    count = int(np.prod(shape))
    return (rng.permutation(count) - count / 2 + rng.uniform(0.1, 0.6, count)).reshape(shape)


def _shares(rng, shape):
    a = rng.uniform(0.2, 1.0, size=shape)
    return a / a.sum(-1, keepdims=True)


# How the values of a domain are drawn, and its awkward values.
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

# Awkward points of functions of whole arrays, made from normal values.
FORMS: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {
    "zeros": lambda rng, x: np.zeros_like(x),
    "ones": lambda rng, x: np.ones_like(x),
    "integers": lambda rng, x: np.round(1.5 * x),
    "mixed": lambda rng, x: x * 10.0 ** rng.integers(-8, 9, size=x.shape),
    "huge": lambda rng, x: x * 1e12,
    "tiny": lambda rng, x: x * 1e-12,
}
# Domains that contain every awkward point, and domains that contain those of other sizes.
_FREE, _SIGNED = ("normal", "distinct"), ("positive",)


@dataclass(frozen=True)
class Entry:
    """A function to check.

    Attributes:
      library: The module that exports it.
      name: Its name there.
      label: Distinguishes several entries of one function.
      call: The function of floating-point arrays only.
      args: The domain and the shape of each argument.
      rows: Awkward points of an elementwise function, one per row.
      forms: Awkward points of other functions, names from `FORMS`.
      at: More points, as values of the arguments.
      order: The order of the derivatives that exist.
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
        """The names of the points: `"random"`, then the awkward ones.

        `"awkward"` has the rows of moderate values. `"far apart"` has all rows in one array, whose
        values differ very much in size.
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
            if dtype == "float32":  # the range of float32 is 1e-38 to 1e38
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
    """The entries of a module, written as a table.

    Functions that the installed version of the library lacks are left out.
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
        """Add elementwise functions.

        Args:
          names: The names of the functions, separated by blanks.
          args: The domains of the arguments, each with its shape after a colon.
          also: More awkward values; rows of them if there are several arguments.
          off: Awkward values of the domain at which the derivative does not exist.
          rows: Awkward values that replace those of the domain.
          call: Makes a function of the arguments from the function of the library.
          label: The label of the entries.
          order: The order of the derivatives that exist.
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
        """Add a function of whole arrays.

        Args:
          name: The name of the function; after a comma, the label of the entry.
          args: As in `each`.
          call: The function of the arguments, if it is not the function of the library itself.
          forms: Names of awkward points, see `FORMS`.
          at: More points, each a tuple of arguments.
          order: As in `each`.
        """
        name, _, label = name.partition(", ")
        if hasattr(self._members, name):
            call = call or getattr(self._members, name)
            self._add(name, label, call, _args(args), (), tuple(forms.split()), tuple(at), order)

    def all(self, table: Mapping[str, Callable[..., Any]], args: str, forms: str) -> None:
        """Add functions of whole arrays that share their arguments and awkward points.

        Args:
          table: The functions by name, see `add`.
          args: As in `each`.
          forms: As in `add`.
        """
        for name, call in table.items():
            self.add(name, args, call, forms=forms)

    def _add(self, name, label, *what):
        self.entries.append(Entry(self.module, name, label, *what))


def parts(z: Any) -> tuple[Any, Any]:
    """Real and imaginary part."""
    return jnp.real(z), jnp.imag(z)


def of_parts(f: Callable[..., Any], is_complex: bool = True) -> Callable[..., Any]:
    """A function of a complex array as a function of its real and imaginary parts."""

    def function(real, imaginary):
        z = f(real + 1j * imaginary)
        return parts(z) if is_complex else z

    return function
