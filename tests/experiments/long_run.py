"""A long run, looked at from outside: `python -m tests.experiments.long_run classifier`.

Prints memory, threads, open files and epochs from time to time. At the end the run is asked to
stop, and must say how to go on. The status is 1 if it does not, or if memory or open files have
grown in the second half. Linux only: it reads /proc.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

GROWTH = 1.02  # of memory in the second half that is noise


class Sample(NamedTuple):
    """What a process holds at a moment."""

    megabytes: float
    threads: int
    files: int
    seconds: float  # of CPU
    epochs: int


def sample(pid: int, folder: Path) -> Sample:
    of_process = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (of_process / "status").read_text().splitlines())
    times = (of_process / "stat").read_text().rpartition(")")[2].split()[11:13]
    metrics = [*folder.glob("*/metrics.csv")]
    return Sample(
        int(status["VmRSS"].split()[0]) / 1024,
        int(status["Threads"]),
        len([*(of_process / "fd").iterdir()]),
        sum(map(int, times)) / os.sysconf("SC_CLK_TCK"),
        len(metrics[0].read_text().splitlines()) - 1 if metrics else 0,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.experiments.long_run")
    parser.add_argument("experiment", choices=["classifier", "autoencoder"])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=20, help="seconds between two samples")
    options, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        command = [sys.executable, "-m", f"experiments.{options.experiment}", *more]
        command += ["--epochs", "1000000", "--output-dir", str(folder)]
        errors = Path(scratch) / "errors"  # a pipe that nobody reads gets full
        with errors.open("w") as opened:
            process = subprocess.Popen(command, stderr=opened, stdout=subprocess.DEVNULL)
        end, samples = time.monotonic() + 60 * options.minutes, []
        while time.monotonic() < end and process.poll() is None:
            time.sleep(options.every)
            samples.append(sample(process.pid, folder))
            print(samples[-1], flush=True)
        process.send_signal(signal.SIGTERM)
        process.wait()
        last = errors.read_text().strip().splitlines()[-1]
    print(f"status {process.returncode}: {last}")
    half = len(samples) // 2
    grown = max(s.megabytes for s in samples[half:]) / samples[half].megabytes
    print(
        f"memory has grown by {grown - 1:.1%} in the second half, over {samples[-1].epochs} epochs"
    )
    more_files = min(s.files for s in samples[half:]) > max(s.files for s in samples[:half])
    is_fine = process.returncode == 130 and "continues it" in last
    return int(not is_fine or grown > GROWTH or more_files)


if __name__ == "__main__":
    sys.exit(main())
