"""Runs that are killed at any moment go on to the result of a run that was not.

`JAXCONV_KILLS=25 pytest -m exhaustive tests/experiments/training/test_killed.py -n 0 -s` kills each
experiment 25 times, and prints at what each kill came.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.training import records
from experiments.training.checkpoints import Checkpoints

# How often each experiment is killed: 25 take half an hour.
KILLS = int(os.environ.get("JAXCONV_KILLS", "1"))
# Small networks, which save most of the time.
OFTEN = ("--epochs", "2", "--checkpoint-seconds", "0.05", "--no-malloc-tuning")
EXPERIMENTS = {
    "classifier": ("small", ("--model", "small", *OFTEN)),
    "autoencoder": ("untied", ("--decoder", "untied", "--code-size", "8", *OFTEN)),
}


def start(experiment, folder, *more, **how):
    _, options = EXPERIMENTS[experiment]
    module = [sys.executable, "-m", f"experiments.{experiment}", "--output-dir", str(folder)]
    root = Path(__file__).parents[3]
    return subprocess.Popen([*module, *options, *more], cwd=root, text=True, **how)


def finish(*arguments):
    """Run to the end; the exit status and the last line of errors."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = start(*arguments, **pipes)
    _, said = process.communicate()
    return process.returncode, (said.strip().splitlines() or [""])[-1]


def result(experiment, folder):
    """All that the run has computed: metrics, the last checkpoint, and the table of the whole."""
    own = folder / EXPERIMENTS[experiment][0]
    checkpoints = Checkpoints(own / "checkpoints", read_only=True)
    step, arrays, _ = checkpoints.load(max(checkpoints.steps))
    whole = json.loads((folder / f"{experiment}.json").read_text())
    histories = [*records.read_metrics(own), *whole["histories"][own.name]]
    numbers = [[{**entry, "seconds": 0} for entry in history] for history in histories]
    files = {str(file.relative_to(folder)) for file in folder.glob("*") if file.is_file()}
    return numbers, step, files, {name: np.asarray(array) for name, array in arrays.items()}


def assert_same(actual, expected):
    assert actual[:-1] == expected[:-1]
    for name, array in expected[-1].items():
        np.testing.assert_array_equal(actual[-1][name], array, err_msg=name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(experiment, tmp_path):
    began = time.monotonic()
    assert finish(experiment, tmp_path / "whole")[0] == 0
    duration = time.monotonic() - began
    expected = result(experiment, tmp_path / "whole")

    moments = random.Random(0)
    for number in range(KILLS):
        folder = tmp_path / f"killed{number}"
        nowhere = subprocess.DEVNULL
        process = start(experiment, folder, stdout=nowhere, stderr=nowhere)
        time.sleep(moments.uniform(0, duration))
        own = folder / EXPERIMENTS[experiment][0]
        if number % 2:  # every second one as it saves, if it still will
            while process.poll() is None and not [*own.glob("checkpoints/*.orbax-checkpoint-tmp")]:
                time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = sorted(file.name for file in own.glob("checkpoints/*"))
        status, said = finish(experiment, folder, "--resume")
        print(f"kill {number + 1}: left {there}; --resume ends with {status}", flush=True)
        if status == 2:  # nothing had been saved
            assert said.endswith(f"--resume: {folder} has no checkpoint to continue."), said
            assert not any(name.isdecimal() for name in there)
            status, said = finish(experiment, folder)
        assert status == 0, said
        assert_same(result(experiment, folder), expected)
