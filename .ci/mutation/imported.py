"""The library as it is imported, and with a mutant in its place."""

import gc
import importlib
import importlib.machinery
import os
import pkgutil
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from types import CodeType, FunctionType

from mutants import ROOT, Mutant  # of this folder

LIBRARY = f"{ROOT}/jaxconv/"

monitoring = sys.monitoring
TOOL = monitoring.COVERAGE_ID


def nested(code: CodeType) -> Iterator[CodeType]:
    """A code object, and all in it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from nested(inner)


def of_its_own(code: CodeType) -> tuple:
    """What a code object does, without what those in it do."""
    constants = [(type(c), repr(c)) for c in code.co_consts if not isinstance(c, CodeType)]
    return code.co_code, constants, code.co_names, code.co_varnames


class Imported:
    """The library as it is imported."""

    def __init__(self):
        self.called = set()  # code that runs meanwhile
        self.functions = defaultdict(list)
        monitoring.use_tool_id(TOOL, "mutate")
        monitoring.register_callback(TOOL, monitoring.events.PY_START, self._start)
        monitoring.set_events(TOOL, monitoring.events.PY_START)

    def _start(self, code: CodeType, _):
        if code.co_filename.startswith(LIBRARY):
            self.called.add(code)
        return monitoring.DISABLE

    def done(self):
        """Import all of it, and find the functions that there are."""
        import jaxconv

        for module in pkgutil.walk_packages(jaxconv.__path__, "jaxconv."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        monitoring.set_events(TOOL, 0)
        for thing in gc.get_objects():
            if type(thing) is FunctionType and thing.__code__.co_filename.startswith(LIBRARY):
                self.functions[thing.__code__].append(thing)
        gc.freeze()

    def change(self, mutant: Mutant) -> dict[CodeType, CodeType]:
        """The functions' code that a mutant changes: nothing if it has run in an import."""
        name = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if (module := sys.modules.get(name)) is None:  # __main__
            return {}
        compiled, path = module.__loader__.source_to_code, str(ROOT / mutant.path)
        with warnings.catch_warnings(action="ignore"):  # `1 is not x`
            old, new = (
                compiled((ROOT / mutant.path).read_bytes(), path),
                compiled(mutant.source(), path),
            )
        pairs = list(zip(nested(old), nested(new), strict=True))
        differ = [a for a, b in pairs if of_its_own(a) != of_its_own(b)]
        if not differ or any(a in self.called or a.co_name == "<module>" for a in differ):
            return {}
        changed = {a: b for a, b in pairs if a in self.functions and a != b}
        return changed if all(a.co_freevars == b.co_freevars for a, b in changed.items()) else {}

    def put_in_place(self, changed: dict[CodeType, CodeType]):
        for old, new in changed.items():
            for function in self.functions[old]:
                function.__code__ = new


def read_in_place(mutant: Mutant):
    """Let Python's loader of source files read the mutant."""
    loader, path, source = importlib.machinery.SourceFileLoader, mutant.path, mutant.source()
    read, stats = loader.get_data, loader.path_stats

    def is_mutant(name: str) -> bool:
        return os.path.realpath(name) == str(ROOT / path)

    def no_compiled_file(self, name):
        if is_mutant(name):
            raise OSError("a mutant is not the file that was compiled")
        return stats(self, name)

    loader.get_data = lambda self, name: source if is_mutant(name) else read(self, name)
    loader.path_stats = no_compiled_file
