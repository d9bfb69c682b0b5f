"""Every public function and module is called in a room."""

import ast
from pathlib import Path

import jaxconv
from jaxconv import backprop, derivations, forms, nn, reference, verify
from jaxconv import lax as jaxconv_lax

FOLDER = Path(__file__).parent
PACKAGES = {
    "jaxconv": jaxconv,
    "backprop": backprop,
    "forms": forms,
    "lax": jaxconv_lax,
    "nn": nn,
    "reference": reference,
    "verify": verify,
}
# What nothing can be drawn for, and why. `tests/derivations/` draws for all of `derivations`, and
# the room of options reaches `algorithms` by the names that `impl` takes.
NOT_CALLED = {
    "forms.Operation": "what the functions of forms return",
    **dict.fromkeys(
        ("forms.axis_by_axis", "forms.broadcast_batch", "forms.merge_leading_axes"),
        "rules that the operations of jaxconv are made with",
    ),
    "forms.nothing_sharded": "as above, for several devices: tests/test_sharding.py",
    "verify.GradientReport": "what check_gradients returns",
    "backprop.Edges": "what backpropagate returns",
    "backprop.Layer": "the base of the layers",
}


def names_in(file: Path) -> set[str]:
    """The names, attributes and strings in a room: functions are called by any of them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return found


def public(package) -> list[str]:
    listed = getattr(package, "__all__", None) or vars(package)
    things = {name: getattr(package, name) for name in listed if name[0] != "_"}
    return [
        name
        for name, thing in things.items()
        if callable(thing) and getattr(thing, "__module__", "").startswith("jaxconv")
    ]


def test_every_public_function_is_in_a_room():
    """Beside the room of wrong arguments, which looks at no result."""
    rooms = [f for f in FOLDER.glob("test_*.py") if f.stem not in ("test_arguments", "test_rooms")]
    called = set().union(*map(names_in, [*rooms, FOLDER / "strategies.py"]))
    missing = {
        f"{title}.{name}"
        for title, package in PACKAGES.items()
        for name in public(package)
        if name not in called
    }
    assert missing == {*NOT_CALLED}


def test_what_is_derived_is_drawn_for():
    drawn = (FOLDER.parent / "derivations" / "test_on_paper.py").read_text(encoding="utf-8")
    ours = {name for name in public(derivations) if name.islower()}
    assert {name for name in ours if name not in drawn} == set()
