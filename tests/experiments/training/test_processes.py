"""Several processes train as one does, and end together."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from experiments import data
from experiments.command_line import UserError
from experiments.training import processes
from experiments.training.options import TrainingOptions
from experiments.training.records import read_metrics

# A rate at which the rounding of sums over devices does not grow from step to step.
OPTIONS = ("--model", "small", "--epochs", "3", "--batch-size", "48", "--learning-rate", "0.003")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize(("count", "multiple"), [(1, 1), (2, 1), (3, 2), (4, 4)])
def test_parts_are_blocks_that_make_up_the_whole(size, count, multiple):
    parts = [data.Part(index, count, multiple) for index in range(count)]
    rows = [np.arange(size)[part.rows(size)] for part in parts]
    assert np.array_equal(np.concatenate(rows), np.arange(size))
    block = parts[0].block(size)
    assert block % multiple == 0
    assert count * block - size < count * multiple
    first_short = next((index for index, of in enumerate(rows) if len(of) < block), count)
    assert all(len(of) == 0 for of in rows[first_short + 1 :])


def test_dataset_of_a_part_has_its_images_and_all_labels():
    whole = data.load("digits", image_size=(16, 16))
    parts = [data.load("digits", image_size=(16, 16), part=data.Part(index, 2)) for index in (0, 1)]
    for split, first, second in zip(whole.splits, *(part.splits for part in parts), strict=True):
        assert first.size == second.size == split.size
        assert 0 < len(second.images) <= len(first.images) < split.size
        assert np.array_equal(np.concatenate([first.images, second.images]), split.images)
        assert np.array_equal(second.labels, split.labels)


def test_one_process_has_nobody_to_ask():
    assert processes.part() == data.WHOLE
    assert processes.is_first()
    assert processes.from_all({"a": 1}) == [{"a": 1}]
    rows = np.arange(3)
    assert processes.concatenated(rows) is rows
    processes.leave(2)  # the program then ends as usual


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coordinator": "localhost:1234"}, "--coordinator, --num-processes and --process-id go"),
        ({"num_processes": 2, "process_id": 0}, "go together"),
        ({"coordinator": "localhost", "num_processes": 2, "process_id": 0}, "must be host:port"),
        ({"coordinator": ":1", "num_processes": 2, "process_id": 0}, "must be host:port"),
        ({"coordinator": "a:99999", "num_processes": 2, "process_id": 0}, "must be host:port"),
        ({"coordinator": "a:1", "num_processes": 0, "process_id": 0}, "must be at least 1, got 0"),
        (
            {"coordinator": "a:1", "num_processes": 2, "process_id": 2},
            r"must be in 0\.\.1 .* got 2",
        ),
    ],
)
def test_mistake(options, message):
    with pytest.raises(UserError, match=message):
        TrainingOptions(**options).check()


def test_nobody_at_the_coordinator(monkeypatch):
    monkeypatch.setattr(processes, "_MEET_SECONDS", 0.2)
    place = f"localhost:{free_port()}"
    with pytest.raises(UserError, match=f"nobody answers at --coordinator {place} .*refused"):
        processes.join(place, 2, 1)


# ---- real ones, on loopback ------------------------------------------------------------------


def start(folder, index, count, port, *options, program="experiments.classifier", **environment):
    together = ["--coordinator", f"localhost:{port}", "--num-processes", str(count)]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", program, *OPTIONS, *options),
            *("--output-dir", str(folder), *together, "--process-id", str(index)),
        ],
        # Two devices each.
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def free_port():
    with socket.socket() as opened:
        opened.bind(("localhost", 0))
        return opened.getsockname()[1]


@pytest.fixture
def together(tmp_path):
    """Start the processes of a run. Those that still run at the end are killed."""
    started = []

    def start_all(folder, count, *options):
        port = free_port()
        group = [start(folder, index, count, port, *options) for index in range(count)]
        started.extend(group)
        return group

    yield start_all
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def is_said_by_the_way(line):
    """Whether a line is a note, or Gloo's, whose threads print a line in pieces."""
    return line.startswith(("note: ", "[Gloo]")) or "connected peer ranks" in line


@pytest.mark.exhaustive
def test_where_one_cannot_read_its_part_all_say_so(tmp_path, together):
    """A file of the second process is damaged, or the first cannot write its folder."""
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(8):
            image = Image.fromarray(np.full((16, 16), 10 * number, np.uint8))
            image.save(tmp_path / "images" / label / f"{number}.png")
    source = f"folder:{tmp_path / 'images'}"
    listed = data.layout.find(tmp_path / "images")
    of_second = data.folder._deal(listed, ("a", "b"), tmp_path / "images")["train"][0][-1]
    of_second.path.write_bytes(b"damaged")
    (tmp_path / "file").touch()
    cache = ("--cache-dir", str(tmp_path / "cache"))
    damaged = f"{of_second.path} is no image of a format that can be read. {data.tree.SKIP}"
    no_folder = f"cannot write to --output-dir {tmp_path}/file/run: Not a directory."
    for folder, failing, reason in (
        (tmp_path / "run", 1, damaged),
        (tmp_path / "file" / "run", 0, no_folder),
    ):
        dataset = ("--dataset", source) if failing == 1 else ()
        group = together(folder, 2, *dataset, *cache)
        said = [process.communicate(timeout=120)[0] for process in group]
        errors = [
            [line for line in text.splitlines() if not is_said_by_the_way(line)] for text in said
        ]
        expected = [f"process {failing} failed, and all end with it: {reason}"] * 2
        expected[failing] = reason
        assert errors == [[f"experiments.classifier: error: {line}"] for line in expected]
        assert [process.returncode for process in group] == [2, 2]


def without_seconds(folder):
    return [[{**e, "seconds": 0} for e in history] for history in read_metrics(folder / "small")]


@pytest.mark.exhaustive
def test_death_is_noticed_and_the_run_continued_to_what_one_process_does(tmp_path, together):
    folder = tmp_path / "run"
    group = together(folder, 2, "--checkpoint-seconds", "0.001")
    metrics = folder / "small" / "metrics.csv"
    deadline = time.monotonic() + 300
    while not metrics.exists() and time.monotonic() < deadline:  # until an epoch is done
        assert all(process.poll() is None for process in group), group[0].communicate()[0]
        time.sleep(0.05)
    group[1].send_signal(signal.SIGKILL)
    died = time.monotonic()
    said, _ = group[0].communicate(timeout=120)
    assert group[0].returncode not in (0, None)
    # Ours, JAX's, and Gloo's where the sum that it was part of had begun: it ends the process.
    ours = "process 1 does not answer any more. Computing together is not possible without it"
    jax_names_it = r"/task:1|unhealthy \(stopped sending heartbeats\):\s+1$"
    assert re.search(f"{re.escape(ours)}|{jax_names_it}|Received data size", said, re.MULTILINE), (
        said
    )
    assert time.monotonic() - died < 60

    command = [sys.executable, "-m", "experiments.classifier", *OPTIONS]
    # Another number of processes may go on: here one alone.
    subprocess.run([*command, "--output-dir", str(folder), "--resume"], check=True)
    subprocess.run([*command, "--output-dir", str(tmp_path / "alone")], check=True)
    (one,), (several,) = without_seconds(tmp_path / "alone"), without_seconds(folder)
    assert [entry["epoch"] for entry in several] == [1, 2, 3]
    for expected, entry in zip(one, several, strict=True):
        for name, value in expected.items():
            # An image or two may change sides where losses differ by rounding.
            tolerance = {"abs": 0.01} if name.endswith("accuracy") else {"rel": 1e-4}
            assert entry[name] == pytest.approx(value, **tolerance), name


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["read", "step"])
def test_one_that_hangs_is_named_and_the_others_end(place, tmp_path):
    """Its Python does not go on, and JAX's own threads still answer for it."""
    port, group = free_port(), []
    for index in range(2):
        hangs = {"HANGS": place if index == 1 else "", "HANGS_SECONDS": "40"}
        program = "tests.experiments.training.hanging_classifier"
        group.append(start(tmp_path / "run", index, 2, port, program=program, **hangs))
    try:
        said, _ = group[0].communicate(timeout=400)
    finally:
        for process in group:
            process.kill()
            process.communicate()
    who = "process 1" if place == "read" else "(process 1|one of the processes)"
    assert group[0].returncode == 1, said
    assert re.search(f"^note: {who} has kept the others waiting for 10 s$", said, re.MULTILINE), (
        said
    )
    # In a step, the one that hangs may be the first to end.
    ends = f"^error: ({who} has kept the others waiting for 40 s: end it|process 1 does not answer)"
    assert len(re.findall(ends, said, re.MULTILINE)) == 1, said
    assert "Traceback" not in said
    if place == "step":  # the epoch before it is saved
        (history,) = read_metrics(tmp_path / "run" / "small")
        assert len(history) == 1
        assert [*(tmp_path / "run" / "small" / "checkpoints").glob("[0-9]*")]


@pytest.mark.exhaustive
def test_one_that_is_stopped_is_noticed(tmp_path, together):
    """No thread of it answers: a note says so, and JAX ends the others after half a minute."""
    group = together(tmp_path / "run", 2, "--epochs", "1000", "--checkpoint-seconds", "0.001")
    metrics = tmp_path / "run" / "small" / "metrics.csv"
    deadline = time.monotonic() + 300
    # Past the first epoch, after which the first process imports what it writes with.
    while not (metrics.exists() and len(read_metrics(metrics.parent)[0]) > 1):
        assert all(process.poll() is None for process in group), group[0].communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    group[1].send_signal(signal.SIGSTOP)
    said, _ = group[0].communicate(timeout=150)
    assert group[0].returncode not in (0, None)
    assert re.search("^note: .*process.* has kept the others waiting for 10 s$", said, re.MULTILINE)
    assert read_metrics(tmp_path / "run" / "small")
