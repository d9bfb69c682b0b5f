"""Checkpoints: which are kept, which are refused, and that damage is noticed."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.command_line import UserError
from experiments.training.checkpoints import Checkpoints


def tree(seed=0):
    """Arrays like those of a training state: params, optimiser, half precision, a random key."""
    params = {"kernel": jax.random.normal(jax.random.key(seed), (3, 4)), "bias": jnp.ones(4)}
    half = jnp.arange(3, dtype=jnp.bfloat16)
    return params, optax.sgd(0.1, 0.9).init(params), half, jax.random.key(seed), jnp.int32(seed)


def assert_same(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = map(jax.random.key_data, (a, b))
        np.testing.assert_array_equal(a, b)


def saved(folder, losses, *, keep=2):
    checkpoints = Checkpoints(folder, keep=keep)
    for step, loss in losses.items():
        assert checkpoints.save(step, tree(step), {"step": step}, loss=loss)
    return checkpoints


def test_gives_back_the_bits(tmp_path):
    saved(tmp_path, {3: 0.5}).close()
    restored, record = Checkpoints(tmp_path).restore(tree())
    assert_same(restored, tree(3))
    assert record["step"] == 3


def test_nothing_to_restore(tmp_path):
    assert Checkpoints(tmp_path / "none").restore(tree()) is None


@pytest.mark.parametrize(
    ("losses", "keep", "kept"),
    [
        ({1: 0.5, 2: 0.1, 3: 0.3, 4: 0.4, 5: 0.2}, 2, [2, 4, 5]),  # the newest two and the best
        ({1: 0.5, 2: 0.1, 3: 0.3}, 1, [2, 3]),
        ({1: 0.5, 2: None, 3: None, 4: None}, 2, [1, 3, 4]),  # not evaluated: never the best
    ],
)
def test_keeps_the_newest_and_the_best(losses, keep, kept, tmp_path):
    checkpoints = saved(tmp_path, losses, keep=keep)
    assert checkpoints.steps == kept
    best = min((step for step in losses if losses[step] is not None), key=losses.get)
    assert checkpoints.best == best


def damage_truncated(folder):
    largest = max(folder.glob("arrays/**/*"), key=lambda f: f.stat().st_size if f.is_file() else 0)
    os.truncate(largest, largest.stat().st_size // 2)


def damage_flipped(folder):
    largest = max(folder.glob("arrays/**/*"), key=lambda f: f.stat().st_size if f.is_file() else 0)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(bytes(content))


def damage_record(folder):
    (folder / "record" / "metadata").write_text('{"step": ')


def damage_missing(folder):
    for file in (folder / "arrays").glob("*ocdbt*"):
        if file.is_file():
            file.unlink()


def damage_checksum(folder):
    """Like a flipped bit of an array, which Orbax does not notice."""
    file = folder / "record" / "metadata"
    record = json.loads(file.read_text())
    record["checksums"]["0.kernel"] ^= 1
    file.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "damage",
    [damage_truncated, damage_flipped, damage_record, damage_missing, damage_checksum],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_one_is_named_and_the_one_before_it_used(damage, tmp_path, capsys):
    saved(tmp_path, {1: 0.5, 2: 0.4}).close()
    damage(tmp_path / "2")
    checkpoints = Checkpoints(tmp_path)
    restored, record = checkpoints.restore(tree())
    assert record["step"] == 1
    assert_same(restored, tree(1))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: checkpoint 2 in ")
    assert line.endswith("): put aside")
    assert (tmp_path / "damaged-2").is_dir()  # nothing is lost
    assert checkpoints.steps == [1]
    assert checkpoints.save(2, tree(2), {"step": 2}, loss=0.4)


def test_one_incomplete_is_named_and_not_used(tmp_path, capsys):
    saved(tmp_path, {1: 0.5}).close()
    (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
    checkpoints = Checkpoints(tmp_path)
    assert "2.orbax-checkpoint-tmp in" in capsys.readouterr().err
    assert checkpoints.restore(tree())[1]["step"] == 1


def test_one_of_another_model(tmp_path):
    saved(tmp_path, {1: 0.5}).close()
    with pytest.raises(UserError, match=r"checkpoint 1 in .* is of another model"):
        Checkpoints(tmp_path).restore({"kernel": jnp.ones(3)})


def test_a_failure_to_save_is_a_note_and_leaves_the_earlier_ones(tmp_path, capsys, monkeypatch):
    checkpoints = saved(tmp_path, {1: 0.5})

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints._manager, "save", full)
    assert not checkpoints.save(2, tree(2), {}, loss=0.4)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: checkpoint 2 could not be saved in ")
    assert line.endswith(": No space left on device")
    assert Checkpoints(tmp_path).restore(tree())[1]["step"] == 1


def test_a_file_that_cannot_be_written_to_its_end_is_a_line(tmp_path, capfd):
    """A limit on the size of files stands for a full disk."""
    resource = pytest.importorskip("resource")  # there is none on Windows
    checkpoints = saved(tmp_path, {1: 0.5})
    large = (*tree(2), jax.random.normal(jax.random.key(0), (256, 1024)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        assert not checkpoints.save(2, large, {}, loss=0.4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (line,) = capfd.readouterr().err.splitlines()
    assert line == f"note: checkpoint 2 could not be saved in {tmp_path}: File too large"
    assert checkpoints.steps == [1]
    assert checkpoints.save(3, large, {"step": 3}, loss=0.4)
    assert_same(Checkpoints(tmp_path).restore(large)[0], large)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot keep checkpoints in"):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_loading_runs_no_code(tmp_path):
    """No file of a checkpoint is a pickle."""
    saved(tmp_path, {1: 0.5}).close()
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or not file.read_bytes().startswith(b"\x80")
