"""Damaged files, no permissions, a full disk, clocks that go back, two runs in one folder.

Each ends in one clear line, or the run goes on, and nothing is lost that could be kept.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments import classifier, predict
from experiments.command_line import run
from experiments.training import records
from tests.experiments.training.test_killed import finish, result, start

TINY = "--model small --batch-size 14 --seed 3"


def call(main, config, args, **presets):
    """A program in this process: its exit status."""
    try:
        run(main, config, args.split(), **presets)
    except SystemExit as end:
        return end.code
    return 0


def train(folder, options):
    args = f"--output-dir {folder} {options}"
    return call(classifier.main, classifier.Config, args, presets=classifier.PRESETS)


def damages():
    """What may have become of a file, by name: a function of its path."""

    def flip(file, place):
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= 1
        file.write_bytes(bytes(content))

    def folder(file):
        file.unlink()
        file.mkdir()

    return {
        "missing": Path.unlink,
        "empty": lambda file: file.write_bytes(b""),
        "half": lambda file: os.truncate(file, file.stat().st_size // 2),
        "first bit": lambda file: flip(file, 0.0),
        "middle bit": lambda file: flip(file, 0.5),
        "text": lambda file: file.write_text("no such thing\n"),
        "list": lambda file: file.write_text("[1, 2]"),
        "object": lambda file: file.write_text("{}"),
        "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
        "folder": folder,
    }


@pytest.fixture
def whole(arrays, tmp_path, monkeypatch, tiny_networks, no_type_checker):
    """A finished run of two epochs, and an image."""
    monkeypatch.chdir(tmp_path)
    assert train("whole", f"--dataset {arrays} {TINY} --epochs 2 --export") == 0
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("image.png")
    return tmp_path / "whole"


# One file of each kind in the folder of a run, and whether the program needs it to go on.
FILES = {
    "small/config.json": "options",
    "small/metrics.csv": "written anew",
    "small/events.out.tfevents.*": "written anew",
    "small/forward.stablehlo": "written anew",
    "small/checkpoints/{newest}/_CHECKPOINT_METADATA": "checkpoint",
    "small/checkpoints/{newest}/commit_success.txt": "checkpoint",
    "small/checkpoints/{newest}/arrays/_METADATA": "checkpoint",
    "small/checkpoints/{newest}/arrays/manifest.ocdbt": "checkpoint",
    "small/checkpoints/{newest}/arrays/d/*": "checkpoint",
    "small/checkpoints/{newest}/arrays/ocdbt.process_0/manifest.ocdbt": "checkpoint",
    "small/checkpoints/{newest}/record/metadata": "checkpoint",
    "small/checkpoints/{newest}/metrics/metrics": "checkpoint",
    "classifier.json": "written anew",
    "classifier.png": "written anew",
    "confusion-small.csv": "written anew",
    "confusion-small.png": "written anew",
}


def found_in(whole, file):
    """The first file of a kind, of the newest checkpoint."""
    newest = max(int(path.name) for path in (whole / "small/checkpoints").iterdir())
    found = sorted(whole.glob(file.format(newest=newest)))
    if not found:
        pytest.skip("this version of Orbax writes no such file")
    return found[0]


SAMPLE = [
    ("small/config.json", "half"),
    ("small/checkpoints/{newest}/record/metadata", "list"),
]
CASES = [(file, damage) for file in FILES for damage in damages()]


@pytest.mark.parametrize(
    ("file", "damage"),
    [pytest.param(*case, marks=() if case in SAMPLE else pytest.mark.exhaustive) for case in CASES],
)
def test_a_damaged_file_costs_one_line(file, damage, whole, capfd):
    """`--resume` goes on to what the undamaged run would be, or says in one line why not."""
    shutil.copytree(whole, "undamaged")
    assert train("undamaged", "--resume undamaged --epochs 3") == 0
    expected = records.read_metrics(Path("undamaged/small"))
    damages()[damage](found_in(whole, file))
    capfd.readouterr()
    status = train("whole", "--resume whole --epochs 3")
    said = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("small  ")]
    assert not [line for line in said if "Traceback" in line or line.startswith("  ")], said
    if status == 2:
        assert "experiments.classifier: error: " in said[-1], said
        assert FILES[file] == "options" or damage == "folder", said
        return
    if FILES[file] == "written anew" and status == 1:
        assert damage == "folder", said
        assert any(line.startswith("note: could not ") for line in said), said
        return
    assert status == 0, said
    histories = records.read_metrics(whole / "small")
    assert without_seconds(histories) == without_seconds(expected), said
    left = [path.name for path in (whole / "small").rglob("damaged-*")]
    assert len(left) <= 1
    # Predicting must work as well, whatever was damaged.
    capfd.readouterr()
    args = "--run whole/small image.png"
    assert call(predict.main, predict.Config, args) == 0, capfd.readouterr().err


@pytest.mark.parametrize(
    ("file", "damage"),
    [pytest.param(*case, marks=pytest.mark.exhaustive) for case in CASES if "small/" in case[0]],
)
def test_prediction_from_a_damaged_run_costs_one_line(file, damage, whole, capfd):
    damages()[damage](found_in(whole, file))
    capfd.readouterr()
    for args in ("--run whole/small", "--artifact whole/small/forward.stablehlo"):
        status = call(predict.main, predict.Config, f"{args} image.png")
        said = capfd.readouterr().err.splitlines()
        assert not [line for line in said if "Traceback" in line], said
        assert status in (0, 2), said
        assert status == 0 or "experiments.predict: error: " in said[-1], said


def without_seconds(histories):
    return [[{**entry, "seconds": 0} for entry in history] for history in histories]


# ---- processes of their own ------------------------------------------------------------------


def without_override():
    """A command before a command: also root may then not read what nobody may."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may read every file here")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("mode", [0o000, 0o444])
@pytest.mark.parametrize("file", [*FILES, "small", "small/checkpoints", "."])
def test_what_may_not_be_read_or_written(file, mode, whole):
    """A file or folder of the run without permissions, or for reading only."""
    found = whole if file == "." else found_in(whole, file)
    before = found.stat().st_mode
    found.chmod(mode if found.is_file() else mode | (0o111 if mode else 0))
    module = [sys.executable, "-m", "tests.experiments.training.tiny_classifier"]
    options = ["--resume", str(whole), "--epochs", "3"]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [*without_override(), *module, *options],
        cwd=root, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    if found.exists():  # else it has been written anew
        found.chmod(before)
    said = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1, 2), done.stderr
    if done.returncode == 2:
        assert "error: " in said[-1], said
    if done.returncode == 1:
        assert any(line.startswith("note: ") for line in said), said


@contextmanager
def small_disk(folder, size):
    """A file system of so many bytes."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.exhaustive
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a tmpfs")
@pytest.mark.parametrize("size", [2**14, 2**17, 2**19, 2**21, 2**22, 2**25])
def test_a_disk_that_gets_full(size, tmp_path):
    """One line for each file; what fitted is intact, and with more room the run goes on."""
    assert finish("classifier", tmp_path / "whole")[0] == 0
    expected = result("classifier", tmp_path / "whole")
    with small_disk(tmp_path / "disk", size) as disk:
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = start("classifier", disk / "run", **pipes)
        _, said = process.communicate()
        assert "Traceback" not in said, said
        is_full = "No space left on device" in said
        assert process.returncode == (0 if not is_full else process.returncode)
        assert process.returncode in (0, 1, 2), said
        assert process.returncode == 0 or is_full, said
        shutil.copytree(disk / "run", tmp_path / "moved") if (disk / "run").exists() else None
    moved = tmp_path / "moved"
    if [*moved.glob("small/checkpoints/[0-9]*")]:
        status, said = finish("classifier", moved, "--resume")
        assert status == 0, said
        found = result("classifier", moved)
        assert found[:2] == expected[:2]
        for name, array in expected[-1].items():
            np.testing.assert_array_equal(found[-1][name], array)


@pytest.mark.exhaustive
@pytest.mark.skipif(shutil.which("faketime") is None, reason="needs faketime")
def test_clocks_that_go_back(tmp_path):
    """Resumed a day before it began: the same result, and one file of events."""
    assert finish("classifier", tmp_path / "whole")[0] == 0
    process = start("classifier", tmp_path / "run", stderr=subprocess.DEVNULL)
    while not [*tmp_path.glob("run/small/checkpoints/[0-9]*")] and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    command = ["faketime", "-f", "-1d", sys.executable, "-m", "experiments.classifier"]
    options = ["--resume", str(tmp_path / "run")]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [*command, *options], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found, expected = (result("classifier", tmp_path / name) for name in ("run", "whole"))
    assert found[:2] == expected[:2]
    assert len([*tmp_path.glob("run/small/events.out.tfevents.*")]) == 1


def test_a_clock_that_goes_back_while_it_runs(arrays, tmp_path, monkeypatch, tiny_networks):
    """Each look at the clock is a day before the last."""
    now = iter(range(10**9, 0, -86400))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    options = f"--dataset {arrays} {TINY} --epochs 3 --checkpoint-seconds 0.001"
    assert train(tmp_path / "run", options) == 0
    (history,) = records.read_metrics(tmp_path / "run/small")
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert all(entry["seconds"] > 0 for entry in history)
    config = json.loads((tmp_path / "run/small/config.json").read_text())
    assert config["options"]["epochs"] == 3
    steps = sorted(int(path.name) for path in tmp_path.glob("run/small/checkpoints/[0-9]*"))
    assert all(a < b for a, b in pairwise(steps))


@pytest.mark.exhaustive
def test_a_second_run_in_the_folder_is_refused_and_the_first_goes_on(tmp_path):
    assert finish("classifier", tmp_path / "whole")[0] == 0
    process = start("classifier", tmp_path / "run", stderr=subprocess.DEVNULL)
    while not [*tmp_path.glob("run/small/checkpoints/[0-9]*")] and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(19)  # it waits, and holds the folder
    for more in ((), ("--resume",)):
        status, said = finish("classifier", tmp_path / "run", *more)
        assert status == 2
        assert said.endswith(f"error: another run is writing to {tmp_path / 'run'}.")
    process.send_signal(18)
    assert process.wait() == 0
    found, expected = (result("classifier", tmp_path / name) for name in ("run", "whole"))
    assert found[:2] == expected[:2]
