"""The wheel and the source distribution hold the library, its licence and nothing else."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason='the build needs hatchling: pip install -e ".[test]"')

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = f"jaxconv-{PROJECT['version']}"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of the wheel and of the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    with zipfile.ZipFile(folder / f"{NAME}-py3-none-any.whl") as wheel:
        in_wheel = {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(folder / f"{NAME}.tar.gz") as sdist:
        files = [member for member in sdist.getmembers() if member.isfile()]
        in_sdist = {
            member.name.removeprefix(f"{NAME}/"): sdist.extractfile(member).read()
            for member in files
        }
    return in_wheel, in_sdist


def library() -> dict[str, bytes]:
    """The files of the library in the checkout."""
    files = [*(ROOT / "jaxconv").rglob("*.py"), ROOT / "jaxconv" / "py.typed"]
    return {file.relative_to(ROOT).as_posix(): file.read_bytes() for file in files}


def metadata(text: bytes) -> Message:
    return Parser().parsestr(text.decode())


def test_wheel(built):
    wheel, _ = built
    about = f"{NAME}.dist-info/"
    files = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert set(wheel) == {*library(), *(about + name for name in files)}
    assert {name: wheel[name] for name in library()} == library()
    assert wheel[f"{about}licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_source_distribution(built):
    _, sdist = built
    others = {"PKG-INFO", ".gitignore"}  # hatchling's own
    project = {"LICENSE", "README.md", "pyproject.toml"}
    assert set(sdist) == {*library(), *others, *project}
    assert all(sdist[name] == (ROOT / name).read_bytes() for name in {*library(), *project})


def test_metadata(built):
    wheel, sdist = built
    told = metadata(wheel[f"{NAME}.dist-info/METADATA"])
    assert told.items() == metadata(sdist["PKG-INFO"]).items()
    assert told["License-Expression"] == PROJECT["license"]
    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert set(told.get_all("Provides-Extra")) == set(PROJECT["optional-dependencies"])
