"""Unusual images, and failures after training, which lose no results."""

import json

import numpy as np
import pytest

from experiments import autoencoder, classifier
from experiments.command_line import run, write_figure
from experiments.data import Dataset, Split
from experiments.networks import autoencoders, classical
from experiments.pictures import curves, layers
from experiments.pictures import images as figures
from experiments.training import export
from experiments.training.options import as_json
from experiments.training.records import read_metrics


def write_npz(tmp_path, images, classes=2):
    file = tmp_path / "arrays.npz"
    np.savez(file, images=images, labels=np.arange(len(images)) % classes)
    return f"npz:{file}"


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def methods(out):
    return [line.split("|")[0].strip() for line in out.splitlines()]


# ---- constant images -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "brightness"),
    [("tied", "plain", 0), ("untied", "plain", 0.5), ("tied", "variational", 1)],
)
def test_output_starts_at_the_brightness_and_alive(name, kind, brightness):
    options = as_json(autoencoder.Config(kind=kind, code_size=2))
    model = autoencoders.build(name, options, shape=(16, 16, 1), brightness=brightness)
    (bias,) = np.asarray(model.decode.deconv1.bias[...])
    start = 1 / (1 + np.exp(-bias)) if kind == "variational" else bias
    assert 0 < start < 1
    np.testing.assert_allclose(start, brightness, atol=1 / 500)  # half a step of a pixel


RARER = pytest.mark.exhaustive


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("kind", "images"),
    [
        pytest.param("plain", np.zeros((24, 16, 16, 1), np.uint8), id="black", marks=RARER),
        pytest.param("denoising", np.full((24, 16, 16, 1), 255), id="white", marks=RARER),
        pytest.param("variational", np.zeros((24, 16, 16, 1)), id="black code", marks=RARER),
        # A channel that is black everywhere, and a class that is white.
        pytest.param(
            "plain", noise(24, 16, 16, 3) * np.uint8([1, 0, 1]), id="channel", marks=RARER
        ),
        pytest.param(
            "variational",
            np.maximum(noise(24, 16, 16, 1), -(np.arange(24) % 2)[:, None, None, None] % 256),
            id="class",
            marks=RARER,
        ),
    ],
)
def test_autoencoder_of_constant_images(kind, images, tmp_path, capsys):
    config = autoencoder.Config(
        dataset=write_npz(tmp_path, images.astype(np.uint8)),
        **{"kind": kind, "epochs": 1, "batch_size": 8, "code_size": 3, "draws": 2},
        output_dir=tmp_path / "run",
    )
    metrics = autoencoder.main(config)
    ((entry,),) = metrics["histories"]["tied"]
    assert np.isfinite(list(entry.values())).all()
    assert (tmp_path / "run" / "autoencoder.png").exists()
    assert "could not" not in capsys.readouterr().err


# ---- channels --------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 28])
def test_images_of_any_number_of_channels_are_drawn(channels, tmp_path):
    images = noise(3, 16, 16, channels) / 255
    figure = figures.reconstructions(images, {"again": images})
    write_figure(tmp_path / "a.png", figure)
    figures.grid(images, columns=2).savefig(tmp_path / "b.png")
    shown = figure.axes[0].images[0].get_array()
    if channels in (3, 4):
        np.testing.assert_array_equal(shown, images[0, ..., :3])
    else:
        np.testing.assert_allclose(shown, images[0].mean(axis=-1))
    said = figures.channels_drawn(channels)
    assert said is None if channels in (1, 3) else str(channels) in said


def described(images, *, classes=2, names=None):
    split = Split(images, np.arange(len(images), dtype=np.int32) % classes)
    names = names or tuple(f"class{number}" for number in range(classes))
    return Dataset(split, split, split, names).describe()


def test_what_was_understood_is_said():
    assert described(noise(4, 20, 28, 1), names=("ant", "bee")) == (
        "4, 4, 4 images (train, validation, test) of 20×28 pixels, 1 channel; 2 classes: "
        "ant 6, bee 6"
    )
    assert "28×28 pixels, 28 channels;" in described(noise(4, 28, 28, 28))
    assert described(noise(4, 8, 8, 1), classes=1).endswith("; 1 class: class0 12")
    assert "3 channels; 2 classes" in described(noise(4, 8, 8, 3))
    many = described(noise(120, 2, 2, 1), classes=40)
    assert many.endswith(
        "40 classes: "
        + ", ".join([*(f"class{number} 9" for number in range(10)), "…", "class39 9"])
    )
    assert described(noise(4, 8, 8, 1) // 16).endswith("; no training pixel is above 15 of 255")


# ---- nothing is lost -------------------------------------------------------------------------


def fail(*args, **kwargs):
    raise MemoryError("Unable to allocate 18.0 GiB")


def run_where_parts_fail(program, tmp_path, capsys, more):
    """Train on images with two channels. Returns the methods in the table, and the notes."""
    options = f"--dataset {write_npz(tmp_path, noise(24, 16, 16, 2))} --epochs 1 --batch-size 8"
    with pytest.raises(SystemExit) as end:
        run(program.main, program.Config, [*options.split(), *more, "--output-dir", str(tmp_path)])
    assert end.value.code == 1
    out, err = capsys.readouterr()
    notes = [line for line in err.splitlines() if line.startswith("note: ")]
    assert " steps of 8 images an epoch; results go to " in notes[1]
    # Noise teaches nothing, which is said, too.
    return methods(out), [*notes[:1], *(n for n in notes[2:] if "next to nothing" not in n)]


@pytest.mark.usefixtures("tiny_networks")
def test_autoencoder_keeps_table_and_records_whatever_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(classical, "pca", fail)
    monkeypatch.setattr(layers, "filters", fail)
    printed, notes = run_where_parts_fail(autoencoder, tmp_path, capsys, ["--code-size", "3"])
    assert printed == ["Method", "tied", "mean image", f"Results are in {tmp_path}"]
    assert notes[0].endswith("16×16 pixels, 2 channels; 2 classes: 0 12, 1 12")
    assert notes[1:] == [
        "note: could not measure PCA: Unable to allocate 18.0 GiB",
        "note: figures show the mean of the images' 2 channels, as grey",
        f"note: could not draw {tmp_path}/filters-tied.png: Unable to allocate 18.0 GiB",
    ]
    saved = json.loads((tmp_path / "autoencoder.json").read_text())
    assert saved["histories"]["tied"] == read_metrics(tmp_path / "tied")
    assert (tmp_path / "tied" / "checkpoints" / "2").is_dir()
    assert (tmp_path / "autoencoder.png").exists()


@pytest.mark.usefixtures("tiny_networks")
def test_classifier_keeps_table_and_records_whatever_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(curves, "learning_curves", fail)
    monkeypatch.setattr(export, "write", fail)
    more = ["--model", "small", "--export"]
    printed, notes = run_where_parts_fail(classifier, tmp_path, capsys, more)
    assert printed[:2] == ["Type", "small"]
    assert printed[-1] == f"Results are in {tmp_path}"  # files have no two channels to predict with
    assert notes[1:] == [
        "note: could not export small: Unable to allocate 18.0 GiB",
        f"note: could not draw {tmp_path}/classifier.png: Unable to allocate 18.0 GiB",
    ]
    saved = json.loads((tmp_path / "classifier.json").read_text())
    assert saved["histories"]["small"] == read_metrics(tmp_path / "small")


def test_ctrl_c_in_a_rival_keeps_table_and_records(few_digits, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    history = [
        [{"epoch": 1, "seconds": 1.0} | dict.fromkeys(("train_mse", "validation_mse"), 0.25)]
    ]
    history[0][0]["test_mse"] = 0.25
    monkeypatch.setattr(autoencoder, "train", lambda *args, **kwargs: (history, [None]))
    monkeypatch.setattr(classical, "pca", interrupted)
    with pytest.raises(SystemExit) as end:
        run(autoencoder.main, autoencoder.Config, ["--output-dir", str(tmp_path)])
    assert end.value.code == 130
    out, err = capsys.readouterr()
    assert methods(out) == ["Method", "tied", "mean image"]
    assert err.splitlines()[-1] == "interrupted"
    saved = json.loads((tmp_path / "autoencoder.json").read_text())
    assert saved["histories"]["tied"] == history


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_schedule_of_few_steps(schedule, steps):
    """Even no step is fine here, because the trainer reports that the batch is too large."""
    optimiser = classifier.Config(schedule=schedule).make_optimiser(steps)
    state = optimiser.init(np.float32(1))
    for _ in range(3):
        update, state = optimiser.update(np.float32(1), state)
        assert np.isfinite(update)
