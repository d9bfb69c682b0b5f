"""Running the notebooks: their cells, with small sizes, in this process."""

import ast
from pathlib import Path

import jupytext

FOLDER = Path(__file__).parent.parent / "notebooks"


def read(name, sizes=None):
    """The notebook; `sizes` maps text of the cell of sizes to what takes its place."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    if sizes:
        (cell,) = [cell for cell in notebook.cells if cell.source.startswith("# Sizes")]
        for large, small in sizes.items():
            assert cell.source.count(large) == 1, f"{name}: the cell of sizes has no {large!r}"
            cell.source = cell.source.replace(large, small)
    return notebook


def run(notebook, name):
    """Run the code cells. Returns the names that they define and the values that they show."""
    names, shown = {"__name__": "__main__"}, []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        lines = (line for line in cell.source.splitlines() if not line.startswith("%"))
        tree = ast.parse("\n".join(lines))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        where = f"{name}, cell {number}"
        exec(compile(tree, where, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), where, "eval"), names))
    return names, shown
