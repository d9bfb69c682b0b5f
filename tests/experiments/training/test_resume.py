"""The folder of a run: what `--resume` continues or refuses, locks and numbers; divergence."""

import csv
import json
from functools import partial
from pathlib import Path

import filelock
import numpy as np
import pytest
from flax import nnx

from experiments import autoencoder, classifier
from experiments.command_line import UserError, run
from experiments.networks import classifiers
from experiments.networks.layers import Layers
from experiments.training import export
from experiments.training.options import TrainingOptions
from experiments.training.trained import from_run
from jaxconv import nn

pytestmark = pytest.mark.usefixtures("tiny_networks")


@pytest.fixture
def train(arrays, tmp_path, monkeypatch):
    """A function that runs the classifier in an empty folder and returns the exit status."""
    monkeypatch.chdir(tmp_path)

    def call(options: str, data: str = f"--dataset {arrays}") -> int:
        args = f"{data} --model small --epochs 1 --batch-size 14 {options}".split()
        try:
            run(classifier.main, classifier.Config, args, presets=classifier.PRESETS)
        except SystemExit as end:
            return end.code
        return 0

    return call


def config(folder="runs/classifier-001"):
    return json.loads(Path(folder, "small", "config.json").read_text())


def rows(folder="runs/classifier-001"):
    with Path(folder, "small", "metrics.csv").open() as opened:
        return list(csv.DictReader(opened))


def error(capsys):
    return capsys.readouterr().err.splitlines()[-1]


def test_resume_takes_the_options_of_the_newest_run_with_a_checkpoint(train, capsys):
    assert train("--learning-rate 0.05 --seed 5 --seeds 2 --momentum 0.5") == 0
    assert [row["seed"] for row in rows()] == ["5", "6"]
    Path("runs/classifier-002").mkdir()  # left by a start that was killed
    run(classifier.main, classifier.Config, ["--resume", "--epochs", "3"])
    resumed = config()["options"]
    assert (resumed["learning_rate"], resumed["seeds"], resumed["epochs"]) == (0.05, 2, 3)
    assert len(rows()) == 6
    assert not list(Path("runs/classifier-002").iterdir())
    assert train("--resume --momentum 0.5 --learning-rate 0.1") == 2
    assert "the run was started with --learning-rate 0.05 (now 0.1)" in error(capsys)
    assert train("--resume --seeds 2 --model large") == 2
    assert "--model small (now large)" in error(capsys)
    assert len(rows()) == 6


@pytest.mark.parametrize(
    "named",
    [
        "runs/classifier-001",
        pytest.param("runs/classifier-001/small", marks=pytest.mark.exhaustive),
    ],
)
def test_resume_of_a_run_that_is_named(named, train, capsys):
    """The newest run is another one; the options are those of the run, and its images may move."""
    assert train("--learning-rate 0.05 --seed 5") == 0
    assert train("--learning-rate 0.02") == 0
    before = rows("runs/classifier-002")
    Path("moved.npz").write_bytes(Path("arrays.npz").read_bytes())
    args = ["--resume", named, "--epochs", "3", "--dataset", "npz:moved.npz"]
    run(classifier.main, classifier.Config, args)
    assert (config()["options"]["learning_rate"], len(rows())) == (0.05, 3)
    assert rows("runs/classifier-002") == before
    capsys.readouterr()
    run(classifier.main, classifier.Config, ["--resume", named])
    assert "small has done all of its 3 epochs; a higher --epochs continues it" in (
        capsys.readouterr().err
    )


def test_resume_of_a_run_that_cannot_go_on_is_refused(train, capsys):
    assert train("--epochs 2") == 0
    folder = Path("runs/classifier-001")
    for options, message in (
        ("--resume runs", "--resume: runs has no checkpoint to continue."),
        ("--resume nowhere", "--resume: nowhere has no checkpoint to continue."),
        (f"--resume {folder} --output-dir b", "continues in that folder, not in --output-dir b"),
        (f"--resume {folder} --epochs 1", "small has done 2 epochs, more than --epochs 1."),
        (f"--resume {folder} --seed 1", "the run was started with --seed 0 (now 1)"),
    ):
        assert train(options if "--epochs" in options else f"{options} --epochs 2") == 2
        assert message in error(capsys)
    with pytest.raises(SystemExit) as end:
        run(autoencoder.main, autoencoder.Config, ["--resume", str(folder)])
    assert end.value.code == 2
    assert "holds a run of the experiment 'classifier'" in error(capsys)
    for file in folder.glob("small/checkpoints/*/arrays/manifest.ocdbt"):
        file.write_bytes(b"damaged")
    assert train(f"--resume {folder} --epochs 3") == 2
    assert error(capsys).endswith(f"--resume: {folder}/small has no intact checkpoint.")
    (folder / "small" / "config.json").unlink()
    Path(folder, "small", "checkpoints", "1").mkdir()
    assert train(f"--resume {folder} --epochs 3") == 2
    assert "holds no config.json" in error(capsys)


def test_resume_without_a_checkpoint_is_refused(train, capsys):
    assert train("--resume") == 2
    assert error(capsys).endswith("--resume: no run in runs/ has a checkpoint to continue.")
    assert train("--resume --output-dir mine") == 2
    assert error(capsys).endswith("--resume: mine has no checkpoint to continue.")
    assert not Path("mine").exists()


def test_resume_with_other_images_is_refused(train, tmp_path, capsys):
    assert train("") == 0
    held = dict(np.load(tmp_path / "arrays.npz"))
    renamed = held | {"labels": np.where(held["labels"] == "a", "c", "b")}
    fewer = {name: array[:-2] for name, array in held.items()}
    dimmed = held | {"images": held["images"] // 2}
    for changed, message in (
        (renamed, "class names, digest: it had ['a', 'b']"),
        (fewer, "sizes, digest: it had [44, 8, 8]"),
        (dimmed, "in their digest"),
    ):
        np.savez(tmp_path / "arrays.npz", **changed)
        assert train("--resume") == 2
        assert message in capsys.readouterr().err
    np.savez(tmp_path / "arrays.npz", **held)
    assert train("--resume") == 0


def test_a_run_is_not_overwritten_and_its_folder_is_locked(train, capsys):
    assert train("--output-dir mine") == 0
    assert train("--output-dir mine") == 2
    assert "mine holds a run: --resume mine continues it" in error(capsys)
    with filelock.FileLock("mine/.lock"):
        assert train("--resume --output-dir mine") == 2
    assert "another run is writing to mine" in error(capsys)
    assert train("--output-dir new --batch-size 1000") == 2  # fails after the folder was made
    assert not Path("new").exists()


def test_folders_are_numbered_without_a_race(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("classifier-001", "classifier-1000", "autoencoder-2000"):
        Path("runs", name).mkdir(parents=True)
    options = classifier.Config()
    assert options.folder() == Path("runs/classifier-1001")
    made, mkdir = [], Path.mkdir

    def overtaken(folder, *args, **kwargs):
        """Another run creates the folder first, once."""
        if not made and folder.name == "classifier-1002":
            made.append(folder)
            mkdir(folder)
        mkdir(folder, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    assert options.folder() == Path("runs/classifier-1003")


def test_default_batch_is_a_multiple_of_the_devices():
    options = TrainingOptions(mesh="data=8")
    assert options.batch_size_of(50_000, usual=100) == 96
    assert options.batch_size_of(500, usual=100) == 8
    assert TrainingOptions().batch_size_of(4_800, usual=100) == 100
    assert TrainingOptions().batch_size_of(500, usual=100) == 10
    assert TrainingOptions(mesh="data=8", batch_size=100).batch_size_of(500, usual=100) == 100


@pytest.mark.parametrize(
    ("images", "batch"), [(1, 1), (6, 1), (24, 6), (168, 8), (700, 14), (50_000, 500)]
)
def test_default_batch_of_few_images(images, batch):
    assert TrainingOptions().batch_size_of(images, usual=500) == batch


def exploding_network(rngs, shape, classes, **options):
    return Layers(flat=nn.Flatten(), scale=lambda x: x * 1e38, out=nn.Linear(64, 2, rngs=rngs))


def test_a_diverged_run_has_a_status_of_its_own(train, monkeypatch, capsys):
    """The first step overflows."""
    monkeypatch.setitem(classifiers.NETWORKS, "small", exploding_network)
    assert train("--output-dir wrong") == 3
    assert "is not finite in step 1 of epoch 1" in error(capsys)


def test_statistics_follow_the_number_of_steps(monkeypatch):
    monkeypatch.undo()  # the real networks
    shape = {"shape": (28, 28, 1), "classes": 2}
    for steps, momentum in ((36, 0.5), (100, 0.7), (600, 0.95), (15_000, 0.99)):
        build = partial(classifiers.build, "large", **shape, steps=steps)
        assert nnx.eval_shape(build).norm1.momentum == pytest.approx(momentum)


@pytest.mark.usefixtures("no_type_checker")  # which takes symbolic sizes for integers
def test_export_is_the_checkpoint_that_predict_uses(train, capsys):
    """The labels are random and the rate is high, so that an early epoch is the best."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 2
    np.savez("noise.npz", images=images, labels=labels)
    assert train("--learning-rate 0.3 --epochs 6 --export", "--dataset npz:noise.npz") == 0
    said = capsys.readouterr().err
    folder = Path("runs/classifier-001/small")
    trained, (call, _) = from_run(folder), export.read(folder / "forward.stablehlo")
    step = trained.title.rpartition(" ")[2]
    assert f"small (step {step}): wrote" in said
    images = np.random.default_rng(1).integers(0, 256, (5, 8, 8, 1), np.uint8)
    np.testing.assert_allclose(call(images), trained.answer(images), atol=1e-5)
    losses = [float(row["validation_loss"]) for row in rows()]
    assert int(step) == 3 * (1 + int(np.argmin(losses))) < 18


def test_json_has_no_infinities(tmp_path):
    from experiments.command_line import write_json

    write_json(tmp_path / "a.json", {"a": [1.5, float("nan"), (float("inf"), "x")]})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [1.5, None, [None, "x"]]}


def test_options_survive_json_and_unknown_ones_are_ignored():
    from experiments.training.options import as_json, from_json

    options = classifier.Config(image_size=(20, 24), output_dir=Path("mine"))
    plain = json.loads(json.dumps(as_json(options))) | {"gone": 1}
    assert plain == as_json(options) | {"gone": 1}
    assert from_json(classifier.Config, plain) == options


def test_only_the_first_of_several_processes_resumes_with_the_options_of_its_run():
    together = {"coordinator": "localhost:1", "num_processes": 2, "process_id": 1}
    assert classifier.Config(resume=True, **together).to_resume({}) is None
    with pytest.raises(UserError, match="has no checkpoint"):
        classifier.Config(resume=True, output_dir=Path("nowhere")).to_resume({})
