"""The malloc setting holds where there is glibc, is asked for by default, and can be left off."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import _malloc, autoencoder, classifier, data
from experiments._user_error import UserError
from experiments.benchmark import __main__ as benchmark

ROOT = Path(__file__).parents[2]
GLIBC = platform.libc_ver()[0] == "glibc"

# How much of a large array the process still holds after the array is gone, in MiB.
KEPT = """
import ctypes, sys, threading
from experiments import _malloc

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4 // 1024

if sys.argv[1] == "tuned":
    assert _malloc.keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
before, size = resident(), 200 * 2**20

def use():
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)

if sys.argv[2] == "thread":  # JAX allocates results in threads of its own
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
else:
    use()
print(resident() - before)
"""


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("where", ["main", "thread"])
@pytest.mark.parametrize(("setting", "keeps"), [("tuned", True), ("default", False)])
def test_freed_memory_is_kept(setting, keeps, where):
    command = [sys.executable, "-c", KEPT, setting, where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (int(done.stdout) > 150) == keeps


class _OtherLibrary:
    """A C library that has a mallopt, but is not glibc."""

    def mallopt(self, option, value):
        raise AssertionError("options mean something else here")


def test_other_libraries_are_left_alone(monkeypatch, capfd):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: _OtherLibrary())
    assert not _malloc.keep_freed_memory()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: ctypes.pythonapi.no_such_name)
    assert not _malloc.keep_freed_memory()
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

    monkeypatch.setattr(_malloc, "keep_freed_memory", lambda: calls.append("malloc"))
    monkeypatch.setattr(data, "load", load)
    with pytest.raises(UserError):
        experiment.main(experiment.Config(output_dir=tmp_path, malloc_tuning=tuned))
    assert calls == ["malloc"] * tuned + ["data"]
