"""The datasets: sizes, pixels, and a cache that notices damage."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import data
from experiments.command_line import UserError
from experiments.data.dataset import stratified


def tfds_folder_of(name: str) -> Path:
    root = Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    if not any((root / name).glob("*/dataset_info.json")):
        pytest.skip(f"{name} is not prepared under {root}; set TFDS_DATA_DIR")
    return root


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """MNIST decoded from its files, the folder of TFDS, and the folder of the cache."""
    root, cache = tfds_folder_of("mnist"), tmp_path_factory.mktemp("cache")
    return data.load("mnist", data_dir=root, cache_dir=cache), root, cache


# ---- digits ----------------------------------------------------------------------------------


def test_digits_has_disjoint_splits_of_all_classes():
    digits = data.load("digits")
    assert [split.size for split in digits.splits] == [1_200, 297, 300]
    for split in digits.splits:
        assert split.images.shape == (split.size, 28, 28, 1)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        assert set(split.labels) == set(range(10))
    every = np.concatenate([split.images for split in digits.splits]).reshape(1_797, -1)
    assert len(np.unique(every, axis=0)) == 1_797


def test_digits_are_the_same_each_time():
    first, second = data.load("digits"), data.load("digits")
    for a, b in zip(first.splits, second.splits, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_enlarge_digits_keeps_pixel_centres_and_interpolates_between():
    images = np.random.default_rng(0).integers(0, 17, (3, 8, 8))
    large = data.enlarge_digits(images)
    assert large.shape == (3, 28, 28)
    np.testing.assert_array_equal(large[:, 3:27:3, 3:27:3], np.rint(images * 255 / 16))
    between = (2 * images[:, :, :-1] + images[:, :, 1:]) / 3 * 255 / 16
    np.testing.assert_allclose(large[:, 3:27:3, 4:25:3], between, atol=0.5)
    border = np.ones((28, 28), bool)
    border[2:26, 2:26] = False
    assert not large[:, border].any()


# ---- what a dataset is -----------------------------------------------------------------------


def test_dataset_names_its_classes_and_shape():
    digits = data.load("digits")
    assert digits.class_names == tuple("0123456789")
    assert (digits.num_classes, digits.image_shape) == (10, (28, 28, 1))
    assert digits.splits == (digits.train, digits.validation, digits.test)


def test_map_splits_keeps_the_names():
    def first(split):
        return data.Split(split.images[:2], split.labels[:2])

    whole = data.load("digits")._replace(class_names=tuple("abcdefghij"))
    few = whole.map_splits(first)
    assert few.class_names == whole.class_names
    for a, b in zip(few.splits, whole.splits, strict=True):
        np.testing.assert_array_equal(a.images, b.images[:2])


@pytest.mark.parametrize("held_out", [0, 1, 2])
def test_stratified_deals_each_class_by_its_shares(held_out):
    counts = np.array([3, 4, 10, 33, 100])
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(5), counts))
    parts = stratified(labels, held_out, class_names=tuple("abcde"), source="here")
    assert sorted(np.concatenate(parts)) == list(range(150))  # each row once
    shares = np.array([1, 1, 2, 5, 15])  # 15 %, rounded, at least 1
    for part in parts[1:]:
        np.testing.assert_array_equal(np.bincount(labels[part]), shares)
    np.testing.assert_array_equal(np.bincount(labels[parts[0]]), counts - held_out * shares)
    again = stratified(labels, held_out, class_names=tuple("abcde"), source="here")
    for a, b in zip(parts, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        (1, "here: class b has 1 image, and training and validation need one each: add 1."),
        (2, "here: class b has 1 image, and training, validation and test need one each: add 2."),
    ],
)
def test_stratified_refuses_a_class_that_is_too_small(held_out, message):
    with pytest.raises(UserError) as error:
        stratified(np.array([0, 0, 0, 1]), held_out, class_names=("a", "b"), source="here")
    assert str(error.value) == message


# ---- where things are ------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG is for Linux")
def test_cache_dir_respects_xdg(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data.default_cache_dir() == tmp_path / "jaxconv"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cifar", None),
        ("minst", "mnist"),
        ("Fashion-MNIST", "fashion_mnist"),
        ("floder:photos", "folder:photos"),
        ("NPZ:a.npz", "npz:a.npz"),
        ("photos", "folder:photos"),
        ("a.npz", "npz:a.npz"),
    ],
)
def test_unknown_dataset_suggests_the_near_one(tmp_path, monkeypatch, name, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.npz").touch()
    with pytest.raises(UserError) as error:
        data.load(name)
    assert str(error.value) == (
        f"unknown dataset {name!r}: expected one of digits, mnist, fashion_mnist, folder:PATH, "
        "npz:PATH" + (f" (did you mean {meant}?)" if meant else ".")
    )


def test_missing_data_says_how_to_prepare_it(tmp_path):
    with pytest.raises(UserError) as error:
        data.load("mnist", data_dir=tmp_path / "none", cache_dir=tmp_path)
    message = str(error.value)
    assert "preparing needs TensorFlow, reading does not" in message
    assert f"tfds build mnist --file_format=array_record --data_dir={tmp_path / 'none'}" in message
    assert "\n" not in message


def test_newest_version_wins_and_cut_preparations_do_not_count(tmp_path):
    for version in ("3.0.9", "3.0.10", "incomplete.abc_4.0.0"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "dataset_info.json").write_text("{}")
    found = data.tfds._find_prepared("mnist", tmp_path)
    assert found is not None
    assert found.name == "3.0.10"


def test_unreadable_preparation_is_one_line(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("not json")
    with pytest.raises(UserError, match=r"cannot read .*mnist"):
        data.load("mnist", data_dir=tmp_path, cache_dir=tmp_path / "cache")


# ---- the cache, on arrays of the real sizes but of few bits -----------------------------------


@pytest.fixture
def fake_mnist(tmp_path, monkeypatch):
    """A prepared folder with a fake decoder. Returns load, the list of decodings and the folder."""
    folder = tmp_path / "tfds" / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    decodings = []

    def decode(prepared, part):
        decodings.append((prepared, part))
        arrays = {}
        for split, size in {"train": 50, "validation": 40, "test": 7}.items():
            labels = (np.arange(size) % 10).astype(np.uint8)[part.rows(size)]
            images = np.broadcast_to(labels[:, None, None, None], (len(labels), 28, 28, 1))
            arrays |= {f"{split}_images": images, f"{split}_labels": labels}
        return arrays

    monkeypatch.setattr(data.tfds, "_decode", decode)

    def load(part=data.WHOLE):
        folders = {"data_dir": tmp_path / "tfds", "cache_dir": tmp_path / "cache"}
        return data.load("mnist", **folders, part=part)

    return load, decodings, tmp_path


def test_decodes_once(fake_mnist):
    load, decodings, folder = fake_mnist
    first, second = load(), load()
    assert len(decodings) == 1
    assert [split.size for split in first.splits] == [50, 40, 7]
    for a, b in zip(first.splits, second.splits, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert [file.name for file in (folder / "cache").iterdir()] == ["mnist-3.0.1.npz"]


def test_parts_are_decoded_and_kept_apart(fake_mnist):
    load, decodings, _ = fake_mnist
    parts = [data.Part(index, 2) for index in (0, 1, 0)]
    first, second, again = (load(part) for part in parts)
    assert [part for _, part in decodings] == parts[:2]
    whole = load()
    assert len(decodings) == 3
    for split, one, two in zip(whole.splits, first.splits, second.splits, strict=True):
        np.testing.assert_array_equal(np.concatenate([one.images, two.images]), split.images)
    np.testing.assert_array_equal(again.train.images, first.train.images)


@pytest.mark.parametrize("damage", ["truncated", "flipped bit", "empty", "other keys", "text"])
def test_damaged_cache_is_decoded_again(fake_mnist, damage):
    load, decodings, folder = fake_mnist
    load()
    file = folder / "cache" / "mnist-3.0.1.npz"
    content = bytearray(file.read_bytes())
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "other keys":
        np.savez(file, something=np.zeros(3))
    else:
        file.write_text("not an archive")
    load()
    load()
    assert len(decodings) == 2  # once more, and then the cache is whole again


def test_cache_with_any_bit_flipped_is_none_or_whole(tmp_path):
    file = tmp_path / "a.npz"
    arrays = {"a": np.arange(5), "b": np.eye(2)}
    data.cache.write(file, arrays)
    content, found = file.read_bytes(), 0
    for place in range(0, len(content), 3):
        flipped = content[place] ^ 1 << place % 8
        file.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
        read = data.cache.read(file, {"a", "b"})
        if read is not None:  # it hit a date, say
            found += 1
            assert all(np.array_equal(read[key], arrays[key]) for key in arrays)
    assert found < len(content) / 6


def test_cache_alone_is_enough(fake_mnist, monkeypatch):
    load, _, folder = fake_mnist
    expected = load()
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder / "nothing here"))
    cached = data.load("mnist", cache_dir=folder / "cache")
    np.testing.assert_array_equal(cached.train.images, expected.train.images)


def test_cache_that_cannot_be_written_costs_only_time(fake_mnist, capsys):
    load, decodings, folder = fake_mnist
    (folder / "cache").write_text("a file where the folder should be")
    load()
    load()
    assert len(decodings) == 2
    assert "not kept" in capsys.readouterr().err


# ---- real MNIST ------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_mnist_has_the_sizes_of_the_protocol(mnist):
    dataset, _, _ = mnist
    assert [split.size for split in dataset.splits] == [50_000, 10_000, 10_000]
    for split in dataset.splits:
        assert split.images.shape[1:] == (28, 28, 1)
        assert split.images.dtype == np.uint8
        assert split.labels.min() == 0
        assert split.labels.max() == 9


@pytest.mark.exhaustive
def test_mnist_pixels_are_those_that_tfds_decodes(mnist):
    tfds = pytest.importorskip("tensorflow_datasets")
    dataset, root, _ = mnist
    source = tfds.data_source("mnist", split="test", data_dir=root, download=False)
    for index in range(0, 10_000, 500):
        np.testing.assert_array_equal(dataset.test.images[index], source[index]["image"])
        assert dataset.test.labels[index] == source[index]["label"]


@pytest.mark.exhaustive
def test_mnist_of_a_part_is_read_as_its_rows_alone(mnist):
    dataset, root, _ = mnist
    (prepared,) = (root / "mnist").glob("[0-9]*")
    part = data.Part(37, 40)
    arrays = data.tfds._decode(prepared, part)
    for name, split in zip(data.dataset.PARTS, dataset.splits, strict=True):
        rows = part.rows(split.size)
        assert len(arrays[f"{name}_images"]) == split.size // 40
        np.testing.assert_array_equal(arrays[f"{name}_images"], split.images[rows])
        np.testing.assert_array_equal(arrays[f"{name}_labels"], split.labels[rows])


@pytest.mark.exhaustive
def test_cached_mnist_is_ready_in_under_a_second_without_tfds(mnist):
    dataset, root, cache = mnist
    program = (
        "import sys, time; from pathlib import Path\n"
        "from experiments import data\n"
        "dataset = data.load('mnist', data_dir=Path(sys.argv[1]), cache_dir=Path(sys.argv[2]))\n"
        "print(time.process_time(), 'tensorflow_datasets' in sys.modules,\n"
        "      int(dataset.train.images.sum(dtype='uint64')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, root, cache], check=True, capture_output=True, text=True
    )
    seconds, imported, total = done.stdout.split()
    assert imported == "False"
    assert int(total) == int(dataset.train.images.sum(dtype=np.uint64))
    assert float(seconds) < 1  # of processor time, the interpreter's start included
