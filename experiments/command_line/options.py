"""The options of a program: the fields of a dataclass, read from the command line by tyro."""

import contextlib
import difflib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .errors import UserError

Config = TypeVar("Config")
Presets = Mapping[str, Mapping[str, Any]]

_KINDS = {
    int: "an integer",
    float: "a number",
    Path: "a path",
    str: "a word",
    tuple[int, int]: "two integers, such as 32 32",
}


def parse(
    config: type[Config], args: Sequence[str], name: str, presets: Presets | None = None
) -> Config:
    """The options of a command line.

    Args:
      config: The dataclass. Its fields are the options; the comments beside or above them are their
        help. If it has a method `to_resume`, that turns options into those of the run that they
        continue, which are then the defaults.
      args: The command line.
      name: The program's name.
      presets: The values of `--preset`, and the defaults that each replaces.

    Raises:
      UserError: The command line cannot be read.
      SystemExit: After `--help`.
    """
    hints = get_type_hints(config)
    kinds = {field.name: hints[field.name] for field in fields(config)}
    preset: Mapping[str, Any] = {}
    if presets:
        kinds["preset"] = Literal[tuple(presets)] | None

        def preset_alone(preset: kinds["preset"] = None):
            return preset

        found, _ = _cli(kinds, args, f=preset_alone, prog=name, add_help=False)
        preset = presets[found] if found else {}

    def parsed(default: Config) -> Config:
        what: dict[str, Any] = {"f": config, "default": default}
        if presets:
            what = {"f": _with_preset(config, default, kinds["preset"])}
        options, unknown = _cli(kinds, args, prog=name, **what)
        if unknown:
            raise UserError(_unknown(unknown, [name.replace("_", "-") for name in kinds]))
        return options

    options = parsed(config(**preset))
    to_resume = getattr(options, "to_resume", None)
    earlier = to_resume(preset) if to_resume else None
    return options if earlier is None else parsed(earlier)


def _with_preset(config: type, default: Any, presets: Any) -> Callable[..., Any]:
    """A function of the option `--preset` and those of a dataclass, for tyro."""
    import tyro

    told = tyro.conf.arg(help="sets the defaults of other options")

    def chosen(
        preset: Annotated[presets, told] = None,
        options: Annotated[config, tyro.conf.arg(name="")] = default,
    ):
        return options

    chosen.__doc__ = config.__doc__
    return chosen


def _cli(kinds: Mapping[str, Any], args: Sequence[str], **how: Any) -> tuple[Any, list[str]]:
    """What tyro makes of a command line, and the arguments that it doesn't know."""
    import tyro  # not above, because `experiments.accelerators` runs where it is not installed

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(args=args, return_unknown_args=True, **how)
    except SystemExit as end:
        if end.code:
            raise UserError(_plain(_message(errors.getvalue()), kinds, args)) from None
        raise


# ---- what is wrong ---------------------------------------------------------------------------


def _message(box: str) -> str:
    """The message in tyro's error box, without the frame and the help below the rule."""
    lines = []
    for line in box.splitlines()[1:]:
        text = line.strip(" │╭╮╰╯")
        if text.startswith("──"):
            break
        lines.append(text)
    return " ".join(" ".join(lines).split()) or "cannot read the command line, see --help"


def _plain(message: str, kinds: Mapping[str, Any], args: Sequence[str]) -> str:
    """The message in terms of the command line, if it is about the value of an option."""
    found = re.match(r"(?:Error parsing |.* argument ')(--[\w-]+)", message)
    expected = found and _expected(kinds.get(found[1][2:].replace("-", "_")))
    if not (found and expected):
        return message
    words = [word for arg in args for word in (arg.split("=", 1) if arg[:2] == "--" else [arg])]
    named = [word.replace("_", "-") == found[1] for word in words]
    values = takewhile(lambda word: word[:2] != "--", words[len(named) - named[::-1].index(True) :])
    return f"{found[1]}: expected {expected}, got {' '.join(values) or 'nothing'}."


def _expected(kind: Any) -> str | None:
    """A type in words; None if it has none."""
    kinds = [each for each in get_args(kind) if each is not NoneType]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, kinds))
    return _KINDS.get(kind) or (_expected(kinds[0]) if len(kinds) == 1 else None)


def _unknown(unknown: Sequence[str], names: Sequence[str]) -> str:
    """A message about arguments that are no options, with the options that may be meant."""
    options = [arg.partition("=")[0] for arg in unknown if arg.startswith("-")]
    if not options:
        return f"unexpected argument {unknown[0]!r}; --help lists the options."
    said = []
    for option in options:
        meant = " or ".join(f"--{name}" for name in _nearest(option, names))
        said.append(option + (f" (did you mean {meant}?)" if meant else ""))
    return f"Unrecognized options: {', '.join(said)}; --help lists the options."


def _nearest(option: str, names: Sequence[str]) -> list[str]:
    """At most three names: those that are abbreviated, similar, or have the word in them."""
    word = option.strip("-").replace("_", "-").lower()
    short = [name for name in names if word == "".join(part[0] for part in name.split("-"))]
    similar = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    parts = [name for name in names if word in name.split("-")]
    return list(dict.fromkeys([*short, *similar, *parts]))[:3]
