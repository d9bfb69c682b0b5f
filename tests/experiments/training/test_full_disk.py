"""A full disk costs one line for each file that could not be written, and nothing else."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments import data, predict
from experiments.command_line import UserError, files
from experiments.data import cache
from experiments.training import records, runs
from experiments.training.checkpoints import Checkpoints
from experiments.training.options import TrainingOptions
from tests.experiments.training.test_records import entries, events
from tests.experiments.training.test_runs import DATASET, start

resource = pytest.importorskip("resource", reason="limits of files are of Unix")


# NumPy 2.0 leaves a zip file open that could not be written.
OPEN_ZIP = pytest.mark.filterwarnings(
    r"ignore:Exception ignored in. <function ZipFile:pytest.PytestUnraisableExceptionWarning"
)


@contextmanager
def full():
    """Limit the size of files to 100 bytes, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def notes(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]


def test_a_run_goes_on_and_writes_all_when_there_is_room(tmp_path, monkeypatch, capsys):
    """The disk is full after the first epoch, until the third."""
    trainer = start()
    limit, write = full(), records.Records.write

    def write_in_time(self, histories):
        epoch = len(histories[0])
        if epoch == 1:
            limit.__enter__()
        elif epoch == 3:
            limit.__exit__(None, None, None)
        write(self, histories)

    monkeypatch.setattr(records.Records, "write", write_in_time)
    histories = runs.run("noise", trainer, DATASET, TrainingOptions(epochs=3), tmp_path)
    said = notes(capsys)
    assert said[:2] == [
        f"note: could not write {tmp_path}/metrics.csv: File too large",
        f"note: could not write TensorBoard's events in {tmp_path}: File too large",
    ]
    assert all("checkpoint" in line and line.endswith(": File too large") for line in said[2:])
    assert records.read_metrics(tmp_path) == histories
    losses = np.float32([entry["test_loss"] for entry in histories[0]])
    assert [step for step, _ in events(tmp_path)["test_loss"]] == [1, 2, 3]
    np.testing.assert_array_equal([value for _, value in events(tmp_path)["test_loss"]], losses)
    assert Checkpoints(tmp_path / "checkpoints", read_only=True).steps[-1] == 15
    assert not list(tmp_path.glob(".*"))  # halves of files, which take room


def test_events_are_written_anew_after_half_of_one(tmp_path, capsys):
    written = records.Records(tmp_path, {})
    written.write([entries(0.5)])
    with full():
        written.write([entries(0.5, 0.25)])
    written.write([entries(0.5, 0.25, 0.125)])
    written.close()
    assert events(tmp_path)["test_loss"] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert len(notes(capsys)) == 1


@OPEN_ZIP
def test_what_is_written_whole_or_not_at_all(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), np.uint8)
    given = []
    for number in range(2):
        given.append(tmp_path / f"{number}.png")
        Image.fromarray(images[0, ..., 0]).save(given[-1])
    config = predict.Config(images=tuple(given), output_dir=tmp_path / "seen")
    attempts = {
        "a.json": lambda: files.write_json(tmp_path / "a.json", {"long": "x" * 200}),
        "a.png": lambda: files.write_figure(tmp_path / "a.png", Figure()),
        "0-reconstructed.png": lambda: predict.save_images(config, given, images, images / 255),
    }
    for name, attempt in attempts.items():
        with full(), pytest.raises(UserError, match=f"cannot write .*{name}: File too large"):
            attempt()
    with full():
        cache.write(tmp_path / "cache" / "a.npz", {"images": images})
    (line,) = notes(capsys)
    assert line.startswith("note: decoded images not kept: ")
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"0.png", "1.png", "seen", "cache"}
    with pytest.raises(UserError, match=r"cannot draw .*a\.doc: \.doc is not an image format"):
        files.write_figure(tmp_path / "a.doc", Figure())


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.exhaustive
def test_the_program_on_a_disk_that_fills(small_disk, tmp_path):
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(8):
            image = Image.fromarray(rng.integers(0, 256, (128, 128), np.uint8))
            image.save(tmp_path / "images" / label / f"{number}.png")
    command = [sys.executable, "-m", "experiments.classifier", "--model", "small", "--epochs", "2"]
    command += ["--dataset", f"folder:{tmp_path / 'images'}", "--image-size", "40", "40"]
    command += ["--cache-dir", str(small_disk / "cache"), "--batch-size", "5", "--export"]
    # What is there already leaves no room for a checkpoint.
    (small_disk / "full").write_bytes(b"0" * 200_000)
    done = subprocess.run(
        [*command, "--output-dir", str(small_disk / "run")],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    printed = [line.split("|")[0].strip() for line in done.stdout.splitlines()]
    assert printed[:3] == ["Type", "small", "small"]
    assert printed[-1].startswith(f"Results are in {small_disk / 'run'}; to use it: ")
    for line in done.stderr.splitlines():  # lines only, none of a stack
        assert line.startswith(("note: ", "small  1/2  ", "small  2/2  ")), done.stderr
    assert "checkpoint 2 could not be saved" in done.stderr
    assert "could not export small: No space left on device" in done.stderr


@OPEN_ZIP
def test_reading_is_not_stopped_by_a_cache_that_is_full(tmp_path, capsys):
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(3):
            image = Image.fromarray(np.zeros((8, 8), np.uint8))
            image.save(tmp_path / "images" / label / f"{number}.png")
    with full():
        dataset = data.load(f"folder:{tmp_path / 'images'}", cache_dir=tmp_path / "cache")
    assert dataset.train.size == 2
    reading, not_kept = notes(capsys)
    assert not_kept.startswith("note: decoded images not kept: ")
