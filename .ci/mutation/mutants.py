"""The mutants of a module: the module with one thing changed."""

import ast
import difflib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What each operator becomes, as Python writes it.
OPERATORS = {
    **{"+": "-", "-": "+", "*": "+", "/": "*", "//": "*", "%": "//", "**": "*", "@": "*"},
    **{"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"is": "is not", "is not": "is", "in": "not in", "not in": "in", "and": "or", "or": "and"},
    **{"|": "&", "&": "|", "<<": ">>", ">>": "<<"},
}
NAMES = {"min": "max", "minimum": "maximum", "any": "all", "floor": "ceil", "argmin": "argmax"}
NAMES |= {new: old for old, new in NAMES.items()}


@dataclass(frozen=True)
class Mutant:
    """A module with the text from `start` to `end`, counted in bytes, replaced by `new`."""

    path: str
    line: int
    start: int
    end: int
    new: str
    old: str
    first: int  # lines of the statement, without those of the block that it begins
    last: int

    def source(self) -> bytes:
        """The changed module."""
        text = (ROOT / self.path).read_bytes()
        return text[: self.start] + self.new.encode() + text[self.end :]

    def diff(self) -> str:
        """The change, as a diff without context."""
        before, after = ((ROOT / self.path).read_text("utf-8"), self.source().decode())
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
        return "\n".join([f"{self.path}:{self.line}", *list(lines)[3:]])


class Mutants(ast.NodeVisitor):
    """Collects the mutants of a module. Error texts, annotations and docstrings stay."""

    def __init__(self, path: str):
        self.path, self.found, self.statement = path, [], (1, 1)
        self.text = (ROOT / path).read_bytes()
        lengths = [0, *(len(line) for line in self.text.splitlines(keepends=True))]
        self.lines = [sum(lengths[: i + 1]) for i in range(len(lengths))]
        self.visit(ast.parse(self.text))

    def visit(self, node: ast.AST):
        outer = self.statement
        if (
            body := getattr(node, "body", None)
            if isinstance(node, ast.stmt | ast.match_case)
            else None
        ):
            first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
            self.statement = first, max(first, body[0].lineno - 1)
        elif isinstance(node, ast.stmt):
            self.statement = node.lineno, node.end_lineno
        super().visit(node)
        self.statement = outer

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Where a node's text begins and ends."""
        start = self.lines[node.lineno - 1] + node.col_offset
        return start, self.lines[node.end_lineno - 1] + node.end_col_offset

    def code(self, node: ast.expr) -> str:
        return self.text[slice(*self.span(node))].decode()

    def replace(self, start: int, end: int, new: str):
        line = self.text.count(b"\n", 0, start) + 1
        old = self.text[start:end].decode()
        self.found.append(Mutant(self.path, line, start, end, new, old, *self.statement))

    def replace_operator(self, left: ast.expr, right: ast.expr):
        """Replace the operator that stands between two nodes."""
        start, end = self.span(left)[1], self.span(right)[0]
        gap = re.sub(rb"#.*", lambda found: b" " * len(found[0]), self.text[start:end])
        found = re.search(rb"[^\s()]+(?: (?:not|in))?(?=[\s(]|$)", gap)
        if found and (new := OPERATORS.get(found[0].decode())):
            self.replace(start + found.start(), start + found.end(), new)

    # What is not changed.

    def visit_Raise(self, node: ast.Raise): ...
    def visit_Assert(self, node: ast.Assert): ...
    def visit_JoinedStr(self, node: ast.JoinedStr): ...
    def visit_Import(self, node: ast.Import): ...
    def visit_arg(self, node: ast.arg): ...

    def visit_keyword(self, node: ast.keyword):
        if node.arg != "strict":  # of zip: a check, not a value
            self.visit(node.value)

    def visit_FunctionDef(self, node: ast.FunctionDef):
        for child in [node.args, *node.body]:  # no decorators and no type of what is returned
            self.visit(child)

    def visit_AnnAssign(self, node: ast.AnnAssign):
        if node.value:
            self.visit(node.value)

    # What is changed.

    def visit_BinOp(self, node: ast.BinOp):
        if not any(isinstance(side, ast.JoinedStr) for side in (node.left, node.right)):
            self.replace_operator(node.left, node.right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp):
        for left, right in zip(node.values, node.values[1:], strict=False):
            self.replace_operator(left, right)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare):
        for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
            self.replace_operator(left, right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp):
        if isinstance(node.op, ast.Not | ast.USub):
            start = self.span(node)[0]
            self.replace(start, start + len("not " if isinstance(node.op, ast.Not) else "-"), "")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant):
        match node.value:
            case bool():
                self.replace(*self.span(node), str(not node.value))
            case int():
                for new in (node.value + 1, node.value - 1):
                    self.replace(*self.span(node), str(new))
            case float():
                self.replace(*self.span(node), repr(2 * node.value + 1))

    def visit_Name(self, node: ast.Name):
        if node.id in NAMES:
            self.replace(*self.span(node), NAMES[node.id])

    def visit_Attribute(self, node: ast.Attribute):
        if node.attr in NAMES:
            end = self.span(node)[1]
            self.replace(end - len(node.attr), end, NAMES[node.attr])
        self.visit(node.value)

    def visit_Call(self, node: ast.Call):
        in_any_order = re.split(r"\W", self.code(node.func))[-1] in NAMES
        for left, right in zip(node.args, node.args[1:], strict=False):
            a, b = self.code(left), self.code(right)
            if a != b and not in_any_order and ast.Starred not in (type(left), type(right)):
                (start, middle), (after, end) = self.span(left), self.span(right)
                self.replace(start, end, b + self.text[middle:after].decode() + a)
        self.generic_visit(node)

    def visit_condition(self, node: ast.If | ast.IfExp | ast.While):
        test = node.test
        if not isinstance(test, ast.Compare | ast.UnaryOp) and self.code(test) != "TYPE_CHECKING":
            self.replace(*self.span(test), f"not ({self.code(test)})")
        self.generic_visit(node)

    visit_If = visit_IfExp = visit_While = visit_condition
    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ImportFrom = visit_Import


def all_mutants(paths: list[str], changed: str | None) -> Iterator[Mutant]:
    """The mutants of files and folders; with `changed`, of lines that differ from a revision."""
    for path in paths:
        inside = sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
        for name in (str(file.resolve().relative_to(ROOT)) for file in inside):
            lines = changed_lines(name, changed) if changed else None
            for mutant in Mutants(name).found:
                if lines is None or mutant.line in lines:
                    yield mutant


def changed_lines(path: str, revision: str) -> set[int]:
    """The lines of a file that are not the same in a revision."""
    command = ["git", "diff", "--unified=0", revision, "--", path]
    diff = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hunks = re.findall(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", diff, re.MULTILINE)
    return {int(at) + i for at, count in hunks for i in range(int(count or 1))}
