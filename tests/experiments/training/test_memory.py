"""The malloc settings, their effect, and the option."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import autoencoder, classifier, data
from experiments.benchmark import __main__ as benchmark
from experiments.command_line import UserError
from experiments.training import memory

ROOT = Path(__file__).parents[3]
GLIBC = platform.libc_ver()[0] == "glibc"

# The memory in MiB that the process still holds after a thread has freed a large array.
KEPT = """
import ctypes, sys, threading
from experiments.training import memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4 // 1024

if sys.argv[1] == "tuned":
    assert memory.keep_freed_memory()
libc, size = ctypes.CDLL(None), 200 * 2**20
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
before = resident()

def use():
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)

thread = threading.Thread(target=use)  # JAX allocates results in threads
thread.start()
thread.join()
print(resident() - before)
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(not GLIBC, reason="needs glibc")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize(("setting", "keeps"), [("tuned", True), ("default", False)])
def test_freed_memory_is_kept(setting, keeps):
    command = [sys.executable, "-c", KEPT, setting]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (int(done.stdout) > 150) == keeps


class _Library:
    """A C library that has `mallopt`."""

    def __init__(self, is_glibc):
        self.options = options = {}
        if is_glibc:
            self.gnu_get_libc_version = None

        def mallopt(option, value):
            options[option] = value
            return 1

        self.mallopt = mallopt


@pytest.mark.parametrize("is_glibc", [True, False])
def test_glibc_gets_the_settings_and_others_are_left_alone(is_glibc, monkeypatch, capfd):
    library = _Library(is_glibc)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert memory.keep_freed_memory() == is_glibc
    assert library.options.keys() == ({-1, -2, -3, -8} if is_glibc else set())
    monkeypatch.setattr(ctypes, "CDLL", lambda name: ctypes.pythonapi.no_such_name)
    assert not memory.keep_freed_memory()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("experiment", [classifier, autoencoder, benchmark])
def test_it_is_an_option_and_on(experiment):
    assert experiment.Config().malloc_tuning


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize("experiment", [classifier, autoencoder])
def test_the_option_is_followed_before_data_is_loaded(experiment, tuned, tmp_path, monkeypatch):
    calls = []

    def load(*_, **__):
        calls.append("data")
        raise UserError("none here")

    monkeypatch.setattr(memory, "keep_freed_memory", lambda: calls.append("malloc"))
    monkeypatch.setattr(data, "load", load)
    with pytest.raises(UserError):
        experiment.main(experiment.Config(output_dir=tmp_path / "run", malloc_tuning=tuned))
    assert calls == ["malloc"] * tuned + ["data"]
    assert not (tmp_path / "run").exists()  # a start that failed leaves no folder
