"""The notebooks run, on small sizes, and their two forms agree.

Their code is run here, cell by cell in one process, which spares starting Python and JAX anew for
each; one of them also goes through a kernel, as a reader's would.
"""

import ast
import io
from pathlib import Path

import jupytext
import nbclient
import pytest
from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"

# For each notebook what stands in the cell of sizes, and what the test puts there.
SIZES = {
    "1_from_perceptron_to_convolution": {"SIDE = 28": "SIDE = 12"},
    "2_backpropagation": {"STEPS, DEPTH = 100, 60, 10": "STEPS, DEPTH = 8, 2, 2"},
    "3_deconvolutions": {"FEATURES = 4000, 4, 50, 16": "FEATURES = 20, 1, 10, 2"},
    "4_verify_your_own_gradient": {"ORDER = 6, 200, 2": "ORDER = 5, 2, 1"},
    "5_does_deriving_by_hand_pay": {
        '["A", "B", "D", "E", "G", "T", "resnet-14"], 4': '["A"], 500',
        '["A", "B", "G"], 64': '["A"], 500',
        "REPEATS = 50, 7": "REPEATS = 2, 1",
    },
    "6_standard_and_modified": {"SEEDS = 3000, 1000, 6, 50, 2": "SEEDS = 100, 50, 1, 50, 1"},
}
# How much each shows: figures and derivations.
SHOWN = {
    "1_from_perceptron_to_convolution": (3, 2),
    "2_backpropagation": (4, 2),
    "3_deconvolutions": (4, 2),
    "4_verify_your_own_gradient": (0, 0),
    "5_does_deriving_by_hand_pay": (2, 0),
    "6_standard_and_modified": (3, 0),
}


def with_small_sizes(name):
    """The notebook with its cell of sizes changed."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith("# Sizes")]
    for large, small in SIZES[name].items():
        assert cell.source.count(large) == 1, f"{name}: the cell of sizes has no {large!r}"
        cell.source = cell.source.replace(large, small)
    return notebook


def run(notebook, name):
    """Run the code; what the cells' last expressions are."""
    names, results = {"__name__": "__main__"}, []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        lines = (line for line in cell.source.splitlines() if not line.startswith("%"))
        tree = ast.parse("\n".join(lines))
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        where = f"{name}, cell {number}"
        exec(compile(tree, where, "exec"), names)
        if last is not None:
            results.append(eval(compile(ast.Expression(last.value), where, "eval"), names))
    return results


@pytest.mark.parametrize("name", SIZES)
def test_notebook_runs(name, capsys):
    results = run(with_small_sizes(name), name)
    figures = [result for result in results if isinstance(result, Figure)]
    pages = [result for result in results if hasattr(result, "_repr_markdown_")]
    for figure in figures:
        figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert all("Evaluated: equal" in page._repr_markdown_() for page in pages)
    assert (len(figures), len(pages)) == SHOWN[name]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_a_kernel_runs_a_notebook():
    """The shortest one, as Jupyter would: figures arrive as pictures, derivations as Markdown."""
    notebook = with_small_sizes("1_from_perceptron_to_convolution")
    resources = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    shown = [
        output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])
    ]
    assert sum("image/png" in data for data in shown) == 3
    assert sum("text/markdown" in data for data in shown) == 2


def test_every_notebook_is_run():
    assert sorted(SIZES) == sorted(path.stem for path in FOLDER.glob("*.py"))
    assert sorted(SIZES) == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", SIZES)
def test_the_two_forms_agree(name):
    """`jupytext --update --to ipynb notebooks/*.py` brings them together again."""
    text, notebook = (jupytext.read(FOLDER / f"{name}.{end}") for end in ("py", "ipynb"))
    cells = [
        [(cell.cell_type, cell.source) for cell in cells if cell.source]
        for cells in (text.cells, notebook.cells)
    ]
    assert cells[0] == cells[1]
    for cell in notebook.cells:
        assert not cell.get("outputs"), f"{name}: strip the outputs"
        assert cell.get("execution_count") is None, f"{name}: strip the outputs"
