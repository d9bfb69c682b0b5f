"""The command `compile`: its table, its files, and what it says if something is missing."""

import json

import jax.numpy as jnp
import pytest
from jax import lax

from experiments.accelerators import targets, workloads
from experiments.accelerators.__main__ import main
from experiments.accelerators.gpus import GPUS
from experiments.benchmark import zoo


def test_a_table_json_and_a_figure(compiled_for, tmp_path, capsys):
    compiled_for("h100")
    files = {"--output": tmp_path / "table.json", "--figure": tmp_path / "ratios.svg"}
    options = ["--dtypes", "float32", *(str(part) for pair in files.items() for part in pair)]
    shape = "x=(2,8,8,4) kernel=(3,3,4,8)"
    assert main(["compile", "--target", "h100", "--cases", "m2s", "--shape", shape, *options]) == 0
    printed = capsys.readouterr().out
    assert "forward float32: 2 cases, geometric mean" in printed
    record = json.loads(files["--output"].read_text())
    assert [(row["case"], row["corner"]) for row in record["rows"]] == [
        (case, corner) for case in (shape, "m2s") for corner in ("forward", "gradients")
    ]
    for row in record["rows"]:
        ours, theirs = (row["programs"][peer] for peer in ("jaxconv", "autodiff"))
        assert row["ratio"] == pytest.approx(theirs["seconds"] / ours["seconds"])
        assert ours["kernels"]
        assert ours["bytes"] > 0
    assert files["--figure"].read_text().startswith("<?xml")
    gradients = next(line for line in record["summary"]["h100"] if line["corner"] == "gradients")
    assert gradients["least"] <= gradients["mean"]


@pytest.fixture
def small_model(monkeypatch):
    """A public model's name for a small model: a convolution and a max pool."""

    def loss(params, images, labels):
        layouts = ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(images, params, (1, 1), "SAME", dimension_numbers=layouts)
        y = lax.reduce_window(y, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return zoo.cross_entropy(y.mean((1, 2)), labels)

    def make():
        return zoo.Model(loss, jnp.zeros((3, 3, 3, zoo.NUM_CLASSES)), *zoo.batch(2, 8))

    monkeypatch.setitem(zoo.MAKERS, "nnx-unet", make)
    workloads._loaded.cache_clear()
    yield "nnx-unet"
    workloads._loaded.cache_clear()


def test_public_models(small_model, compiled_for, tmp_path, capsys):
    compiled_for("h100")
    output = tmp_path / "table.json"
    options = ["--suite", "models", "--cases", small_model, "--output", str(output)]
    assert main(["compile", "--target", "h100", *options]) == 0
    rows = json.loads(output.read_text())["rows"]
    assert [(row["corner"], row["dtype"]) for row in rows] == [
        ("before", "float32"),
        ("after", "float32"),
    ]
    for row in rows:
        plain, ours = (row["programs"][peer]["kernels"] for peer in ("autodiff", "jaxconv"))
        # One is the gradient of the loss. The other is that of the max pool.
        assert plain["fusion:scatter"] == 2
        assert ours["fusion:scatter"] == 1
    assert "before float32: 1 cases" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cases", "m2s"], "no case of --suite models is called m2s"),
        (["--dtypes", "bfloat16"], "--suite models computes in float32"),
        (["--shape", "x=(2,8,8,4) kernel=(3,3,4,8)"], "--suite models has models"),
    ],
)
def test_what_models_do_not_have(options, message, capsys):
    assert main(["compile", "--target", "h100", "--suite", "models", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_schedules_of_a_case(compiled_for, capsys):
    compiled_for("h100")
    options = ["--target", "h100", "--dtypes", "bfloat16", "--explain", "m2s"]
    assert main(["compile", *options]) == 0
    printed = capsys.readouterr().out
    assert "h100: m2s, gradients, bfloat16" in printed
    assert "fusion:scatter" in printed  # autodiff's; ours has none
    assert printed.count("total") == 4


@pytest.mark.parametrize("name", [*GPUS, "2xl4"])
def test_gpus(name, compiled_for):
    goal = compiled_for(name)
    assert goal.kind == GPUS[name.removeprefix("2x")].name
    assert goal.mesh.size == (2 if name.startswith("2x") else 1)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "devices"), [("v4", 1), ("v5p", 1), ("v6e", 1), ("v5e:2x4", 8)])
def test_tpus(name, devices, compiled_for):
    assert compiled_for(name).mesh.size == devices


@pytest.mark.parametrize("name", ["h101", "v5e:", "v5e:2", "0xh100", "8x", "v5e:2y4", "cpu"])
def test_unknown_targets(name, capsys, monkeypatch):
    monkeypatch.setattr(targets, "_is_installed", lambda module: True)
    assert main(["compile", "--target", name, "--cases", "m2s"]) == 2
    error = capsys.readouterr().err
    assert name in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "package"),
    [("h100", 'pip install "jax[cuda13-local]"'), ("v5e", 'pip install "jax[tpu]"')],
)
def test_a_missing_compiler_is_named(name, package, capsys, monkeypatch):
    monkeypatch.setattr(targets, "_is_installed", lambda module: False)
    assert main(["compile", "--target", name, "--cases", "m2s"]) == 2
    error = capsys.readouterr().err
    assert package in error
    assert error.count("\n") == 1


def test_an_unknown_case(capsys):
    assert main(["compile", "--target", "h100", "--cases", "nonesuch"]) == 2
    assert "no case of --suite cases is called nonesuch" in capsys.readouterr().err
