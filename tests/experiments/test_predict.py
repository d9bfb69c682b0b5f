"""Restored models: their answers agree with the metrics of their runs."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from experiments import autoencoder, classifier, data, predict
from experiments.command_line import UserError, run
from experiments.networks import autoencoders, classifiers
from experiments.predict import Config
from experiments.training.records import read_metrics
from experiments.training.trained import from_artifact, from_run
from jaxconv import nn

from .conftest import TinyAutoencoder

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def small_network(rngs, shape, classes):
    size = int(np.prod(shape))
    return nnx.Sequential(
        nn.Flatten(),
        nnx.BatchNorm(size, rngs=rngs),  # whose statistics are part of what was trained
        nn.Dropout(0.25, rngs=rngs),
        nn.Linear(size, classes, rngs=rngs),
    )


@pytest.fixture(scope="module")
def few():
    """A hundred digits of each split, with other class names."""
    splits = data.load("digits").splits
    return data.Dataset(*(data.Split(*(a[:100] for a in s)) for s in splits), class_names=NAMES)


@pytest.fixture(scope="module")
def small_networks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(classifiers.NETWORKS, "standard", small_network)
        patch.setattr(autoencoders, "Autoencoder", TinyAutoencoder)
        yield


@pytest.fixture(scope="module")
def labelling(few, small_networks, tmp_path_factory):
    """A run of two seeds on two devices, with averaged weights and a checkpoint an epoch."""
    folder = tmp_path_factory.mktemp("classifier") / "standard"
    config = classifier.Config(
        epochs=3, batch_size=10, learning_rate=0.05, seeds=2, mesh="data=2", average=0.9,
        checkpoint_epochs=1, keep=3,
    )  # fmt: skip
    classifier.train("standard", config, few, folder=folder)
    return folder


@pytest.fixture(scope="module")
def reconstructing(few, small_networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("autoencoder") / "tied"
    config = autoencoder.Config(epochs=1, batch_size=10, code_size=8)
    autoencoder.train("tied", config, few, folder=folder)
    return folder


@pytest.fixture(scope="module")
def files(few, tmp_path_factory):
    """The first test images as PNG files, white on black."""
    folder = tmp_path_factory.mktemp("images")
    files = [folder / f"{number}.png" for number in range(3)]
    for file, image in zip(files, few.test.images[..., 0], strict=False):
        Image.fromarray(image).save(file)
    return files


def loss_of(probabilities, labels):
    return -np.log(probabilities[np.arange(len(labels)), labels]).mean()


ROUNDING = 100 * np.finfo(np.float32).eps  # of the means of a hundred losses, in float32


@pytest.mark.parametrize(
    ("epoch", "seed_index"),
    [(3, 1), *(pytest.param(*p, marks=pytest.mark.exhaustive) for p in ((1, 0), (1, 1), (3, 0)))],
)
def test_restored_model_is_the_one_that_was_evaluated(labelling, few, epoch, seed_index):
    trained = from_run(labelling, step=10 * epoch, seed_index=seed_index)
    entry = read_metrics(labelling)[seed_index][epoch - 1]
    probabilities = trained.answer(few.test.images)
    np.testing.assert_allclose(
        loss_of(probabilities, few.test.labels), entry["test_loss"], rtol=ROUNDING
    )
    accuracy = (probabilities.argmax(1) == few.test.labels).mean()
    np.testing.assert_allclose(accuracy, entry["test_accuracy"], rtol=ROUNDING)
    assert trained.class_names == NAMES


def test_best_checkpoint_is_the_default_and_reading_changes_nothing(labelling, few):
    before = sorted(path.relative_to(labelling) for path in labelling.rglob("*"))
    losses = np.mean(
        [[entry["validation_loss"] for entry in h] for h in read_metrics(labelling)], axis=0
    )
    best = 10 * (int(losses.argmin()) + 1)
    assert from_run(labelling.parent).title == f"{labelling}, step {best}"
    assert sorted(path.relative_to(labelling) for path in labelling.rglob("*")) == before


def test_damaged_checkpoint_is_named_and_left_where_it_is(labelling, tmp_path, capsys):
    copy = tmp_path / "standard"
    shutil.copytree(labelling, copy)
    best = int(from_run(copy).title.rpartition(" ")[2])
    for part in (copy / "checkpoints" / str(best)).rglob("*"):
        if part.is_file() and "arrays" in part.parts:
            part.write_bytes(b"")
    newest_other = max({10, 20, 30} - {best})
    assert from_run(copy).title == f"{copy}, step {newest_other}"
    said = capsys.readouterr().err
    assert re.search(rf"note: checkpoint {best} in .* is damaged \(.*\): not used", said)
    assert (copy / "checkpoints" / str(best)).is_dir()
    with pytest.raises(UserError, match="has no intact checkpoint"):
        from_run(copy, step=best)


def test_labels_are_printed_with_the_three_most_probable_classes(labelling, files, few, capsys):
    answers = predict.main(Config(images=tuple(files), run=labelling, seed_index=1))
    np.testing.assert_array_equal(
        answers, from_run(labelling, seed_index=1).answer(few.test.images[:3])
    )
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert re.match(rf"{labelling}, step \d+: 3 images of 28×28×1", title)
    assert header.split() == ["image", "class", "second", "third"]
    for row, file, probabilities in zip(rows, files, answers, strict=True):
        best = np.argsort(-probabilities)[:3]
        shown = [part for i in best for part in (NAMES[i], f"{probabilities[i]:.1%}")]
        assert row.split() == [str(file), *shown]


def test_ink_on_paper_of_any_size_is_inverted(labelling, files, few, tmp_path):
    paper = tmp_path / "paper.png"
    enlarged = Image.fromarray(255 - few.test.images[0, ..., 0]).resize((56, 56), 0)
    enlarged.convert("RGB").save(paper)
    (answer,) = predict.main(Config(images=(paper,), run=labelling, invert=True))
    # Shrunk by 2, bilinear: close to the image before, and far from its negative.
    (expected,) = predict.main(Config(images=(files[0],), run=labelling))
    (negative,) = predict.main(Config(images=(paper,), run=labelling))
    assert answer.argmax() == expected.argmax()
    assert np.abs(answer - expected).sum() < np.abs(negative - expected).sum() / 4


def test_a_checkpoint_is_chosen_by_its_folder(labelling, files):
    by_step = predict.main(Config(images=tuple(files), run=labelling, step=10))
    by_folder = predict.main(
        Config(images=tuple(files), checkpoint=labelling / "checkpoints" / "10")
    )
    np.testing.assert_array_equal(by_step, by_folder)
    last = predict.main(Config(images=tuple(files), run=labelling, step=30))
    assert not np.array_equal(by_step, last)


def test_autoencoder_reconstructs_as_in_its_run(reconstructing, few):
    answers = from_run(reconstructing).answer(few.test.images)
    ((entry,),) = read_metrics(reconstructing)
    error = np.mean((answers - few.test.images / 255) ** 2)
    # Means over 784 pixels, and over images.
    np.testing.assert_allclose(error, entry["test_mse"], rtol=784 * np.finfo(np.float32).eps)


def test_reconstructions_are_written_as_the_images_came(reconstructing, few, tmp_path, capsys):
    same_name = [tmp_path / folder / "digit.png" for folder in "ab"]
    for file, image in zip(same_name, few.test.images[..., 0], strict=False):
        file.parent.mkdir()
        Image.fromarray(255 - image).save(file)
    output = tmp_path / "a"  # beside an image that must stay as it is
    before = same_name[0].read_bytes()
    answers = predict.main(
        Config(images=tuple(same_name), run=reconstructing, invert=True, output_dir=output)
    )
    written = [output / f"digit-reconstructed{number}.png" for number in ("", "-2")]
    for file, answer in zip(written, answers, strict=True):
        pixels = np.asarray(Image.open(file))
        # To the nearest of 256 levels, and black on white as it came.
        np.testing.assert_allclose(255 - pixels, 255 * np.clip(answer[..., 0], 0, 1), atol=0.5001)
    assert (output / "reconstructions.png").stat().st_size > 1_000
    assert same_name[0].read_bytes() == before
    assert f"{same_name[1]} -> {written[1]}" in capsys.readouterr().out


@pytest.mark.usefixtures("no_type_checker")  # which takes sizes for integers
def test_artifact_answers_as_its_run_does(few, small_networks, files, tmp_path):
    folder = tmp_path / "standard"
    config = classifier.Config(epochs=1, batch_size=10, export=True)
    classifier.train("standard", config, few, folder=folder)
    file = folder / "forward.stablehlo"
    answers = predict.main(Config(images=tuple(files), artifact=file))
    expected = from_run(folder)
    np.testing.assert_allclose(
        answers, expected.answer(few.test.images[:3]), rtol=0, atol=expected.answer.rounding()
    )
    assert from_artifact(file).class_names == NAMES
    alone = shutil.copy(file, tmp_path / "forward.stablehlo")
    assert from_artifact(alone).class_names == ()


@pytest.fixture
def photos(few, tmp_path):
    """A folder of five images, two of them deeper; beside them a damaged one and other files."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for name, image in zip(("a", "b", "c", "more/a", "more/d"), few.test.images, strict=False):
        Image.fromarray(image[..., 0]).save(root / f"{name}.png")
    (root / "bad.png").write_text("no image")
    (root / "lost.png").symlink_to(root / "nowhere")
    (root / "notes.txt").write_text("no image either")
    (root / "Thumbs.db").write_text("nor this")
    return root


def predict_all(capfd, *words):
    """The exit status, and the lines on standard error without those on the training images.

    XLA of JAX 0.10.0 logs a line for each program that it finds in the compilation cache.
    """
    try:
        run(predict.main, Config, [str(word) for word in words])
        status = 0
    except SystemExit as end:
        status = end.code
    lines = capfd.readouterr().err.splitlines()
    others = ("trained on digits", "cpu_aot_loader")
    return status, [line for line in lines if not any(other in line for other in others)]


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_folder_is_answered_in_spite_of_bad_files(labelling, photos, few, tmp_path, capfd, kind):
    output = tmp_path / f"answers.{kind}"
    status, said = predict_all(capfd, "--run", labelling, photos, "--output", output)
    assert status == 1
    assert said == [
        f"note: ignored in {photos}: 1 other file, such as notes.txt",
        f"note: cannot read {photos}/lost.png: No such file or directory.",
        f"note: {photos}/bad.png is no image of a format that can be read.",
    ]
    if kind == "csv":
        with output.open() as opened:
            rows = [{k: v for k, v in row.items() if v} for row in csv.DictReader(opened)]
    else:
        rows = json.loads(output.read_text())
    names = ("a.png", "b.png", "bad.png", "c.png", "lost.png", "more/a.png", "more/d.png")
    assert [row["image"] for row in rows] == [f"{photos}/{name}" for name in names]
    good = [row for row in rows if "error" not in row]
    assert [row["image"] for row in rows if row not in good] == [
        f"{photos}/bad.png",
        f"{photos}/lost.png",
    ]
    expected = from_run(labelling).answer(few.test.images[:5])
    for row, probabilities in zip(good, expected, strict=True):
        found = [float(row[f"p({name})"]) for name in NAMES]
        np.testing.assert_allclose(found, probabilities, rtol=1e-6)  # as float32 is printed
        assert row["class"] == NAMES[probabilities.argmax()]
        assert float(row["probability"]) == max(found)


def test_folder_is_reconstructed_in_spite_of_bad_files(reconstructing, photos, tmp_path, capfd):
    output = tmp_path / "answers.csv"
    words = ("--run", reconstructing, photos, "--output", output, "--output-dir", tmp_path / "seen")
    assert predict_all(capfd, *words)[0] == 1
    with output.open() as opened:
        written = [row["reconstruction"] for row in csv.DictReader(opened) if not row["error"]]
    assert len(set(written)) == 5
    assert data.read_images([Path(file) for file in written]).shape == (5, 28, 28, 1)


def test_many_images_are_answered_in_parts(labelling, photos, monkeypatch):
    expected = predict.main(Config(images=(photos,), run=labelling))
    monkeypatch.setattr(predict, "_BATCH", 2)
    np.testing.assert_allclose(
        predict.main(Config(images=(photos,), run=labelling)), expected, rtol=1e-5
    )


def test_nothing_to_predict(labelling, photos, tmp_path, capfd):
    error = "experiments.predict: error: "
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([photos / "bad.png"], f"{photos}/bad.png is no image of a format that can be read."),
        ([tmp_path / "empty"], f"{tmp_path}/empty holds no images."),
        (
            [photos, "--output", "a.txt"],
            "--output must be a .csv or .json file in a folder, got a.txt.",
        ),
        (
            [photos, "--output", "nowhere/a.csv"],
            "--output must be a .csv or .json file in a folder, got nowhere/a.csv.",
        ),
    ):
        assert predict_all(capfd, "--run", labelling, *words) == (2, [error + message])


def test_hint_to_invert(labelling, files, few, tmp_path, capfd):
    light = tmp_path / "light.png"
    Image.fromarray(255 - few.test.images[0, ..., 0]).save(light)
    grey = tmp_path / "grey.png"
    Image.fromarray(few.test.images[0, ..., 0] // 2 + 64).save(grey)

    def said(*words):
        return predict_all(capfd, "--run", labelling, *words)[1]

    assert said(light) == [
        "note: the background of these images is 255 of 255, and that of the training images 0: "
        "try with --invert"
    ]
    assert said(files[0], "--invert") == [
        "note: the background of these images is 255 of 255 after --invert, and that of the "
        "training images 0: try without --invert"
    ]
    assert said(light, "--invert") == said(files[0]) == said(grey) == said(*files, light) == []


def test_model_of_a_known_dataset_says_what_it_has_seen(labelling, files, capfd):
    predict.main(Config(images=tuple(files), run=labelling))
    assert "note: trained on digits: scans of 8×8 pixels, enlarged; " in capfd.readouterr().err


def mistakes(labelling):
    run_of = f"--run {labelling}"
    return [
        ("", "expected one of --run, --checkpoint and --artifact."),
        (f"{run_of} --artifact x", "expected one of --run, --checkpoint and --artifact."),
        ("--run nowhere", "nowhere holds no run: expected config.json and checkpoints/ there."),
        (f"{run_of} --step 7", f"{labelling} has no checkpoint of step 7. There are: 10, 20, 30."),
        (f"{run_of} --seed-index 2", f"--seed-index must be in 0..1 for {labelling}, got 2."),
        ("--checkpoint x/7", "--checkpoint must be RUN/checkpoints/STEP, got x/7."),
        ("--checkpoint x/checkpoints/7 --step 7", "--step goes with --run"),
        ("--artifact nothing", "cannot read nothing: No such file or directory."),
    ]


@pytest.mark.parametrize("number", range(8))
def test_mistake_is_one_line(number, labelling, files, capfd):
    options, message = mistakes(labelling)[number]
    with pytest.raises(SystemExit, match="2"):
        run(predict.main, Config, [*options.split(), str(files[0])])
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"experiments.predict: error: {message}")


def test_images_must_be_named_and_be_images(labelling, tmp_path):
    with pytest.raises(UserError, match="expected images"):
        predict.main(Config(run=labelling))
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(UserError, match="is no image of a format that can be read"):
        predict.main(Config(run=labelling, images=(tmp_path / "a.png",)))


def test_a_run_whose_configuration_does_not_fit_is_refused(labelling, tmp_path):
    copy = tmp_path / "standard"
    shutil.copytree(labelling, copy)
    config = json.loads((copy / "config.json").read_text())

    def refuses(changes, message):
        (copy / "config.json").write_text(json.dumps(config | changes))
        with pytest.raises(UserError, match=message):
            from_run(copy)

    refuses({"class_names": ["a", "b"]}, r"checkpoint \d+ of .* does not fit its config.json")
    refuses({"name": "huge"}, "config.json does not describe the model: KeyError\\('huge'\\)")
    refuses({"experiment": "regression"}, "is of an unknown experiment, 'regression'")
    shutil.copytree(labelling, tmp_path / "modified")
    with pytest.raises(UserError, match=r"holds 2 runs; choose one: .*modified, .*standard"):
        from_run(tmp_path)
