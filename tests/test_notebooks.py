"""The notebooks run, with small sizes, and their two forms agree.

The cells are run in this process, which saves starting Python and JAX for each notebook. The
notebooks that train or time networks, and one run in a Jupyter kernel, are marked exhaustive. The
default run checks that what those notebooks import exists.
"""

import ast
import io

import jupytext
import nbclient
import pytest
from matplotlib.figure import Figure

from tests.notebook_cells import FOLDER, read, run

# For each notebook: text of its cell of sizes, and what takes its place here.
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
    "7_derive_your_own": {"LENGTH, BATCH = 40, 8": "LENGTH, BATCH = 12, 2"},
    "how_to_check_a_gradient": {},
    "how_to_make_a_model_faster": {"WIDTH, ROUNDS = 16, 32, 32, 7": "WIDTH, ROUNDS = 2, 8, 4, 1"},
    "how_to_port_weights": {},
    "how_to_read_explain": {},
    "how_to_use_it_in_a_framework": {},
    "how_to_write_an_operation": {},
}
# For each notebook with figures or derivations, how many of either it shows.
SHOWN = {
    "1_from_perceptron_to_convolution": (3, 2),
    "2_backpropagation": (4, 2),
    "3_deconvolutions": (4, 2),
    "5_does_deriving_by_hand_pay": (2, 0),
    "6_standard_and_modified": (3, 0),
    "7_derive_your_own": (0, 1),
}
LONG = (
    *("2_backpropagation", "3_deconvolutions"),
    *("5_does_deriving_by_hand_pay", "6_standard_and_modified", "7_derive_your_own"),
    "how_to_make_a_model_faster",
)
# test_porting.py runs the one, and forms/test_examples.py the cells of the other, one by one.
ELSEWHERE = ("how_to_port_weights",)
CELL_BY_CELL = ("how_to_write_an_operation",)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive) if name in LONG + CELL_BY_CELL else name
        for name in SIZES
        if name not in ELSEWHERE
    ],
)
def test_notebook_runs(name, capsys):
    _, shown = run(read(name, SIZES[name]), name)
    figures = [value for value in shown if isinstance(value, Figure)]
    pages = [value for value in shown if hasattr(value, "_repr_markdown_")]
    for figure in figures:
        figure.savefig(io.BytesIO(), format="png", dpi=30)
    assert all("Evaluated: equal" in page._repr_markdown_() for page in pages)
    assert (len(figures), len(pages)) == SHOWN.get(name, (0, 0))


@pytest.mark.parametrize("name", LONG)
def test_what_a_long_notebook_imports_exists(name):
    for cell in read(name, SIZES[name]).cells:
        if cell.cell_type == "code" and "import" in cell.source:
            lines = [line for line in cell.source.splitlines() if not line.startswith("%")]
            imports = [
                node
                for node in ast.parse("\n".join(lines)).body
                if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            exec(compile(ast.Module(imports, []), name, "exec"), {})


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_a_kernel_runs_a_notebook():
    """As Jupyter would run it: figures arrive as pictures, derivations as Markdown."""
    name = "1_from_perceptron_to_convolution"
    notebook = read(name, SIZES[name])
    resources = {"metadata": {"path": str(FOLDER.parent)}}
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
    """`jupytext --update --to ipynb notebooks/*.py` makes them agree."""
    text, notebook = (jupytext.read(FOLDER / f"{name}.{end}") for end in ("py", "ipynb"))
    cells = [
        [(cell.cell_type, cell.source) for cell in cells if cell.source]
        for cells in (text.cells, notebook.cells)
    ]
    assert cells[0] == cells[1]
    for cell in notebook.cells:
        assert not cell.get("outputs"), f"{name}: strip the outputs"
        assert cell.get("execution_count") is None, f"{name}: strip the outputs"
