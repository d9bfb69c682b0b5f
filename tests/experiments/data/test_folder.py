"""Folders of image files: layouts, splits, and the cache."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from experiments import data
from experiments.command_line import UserError
from tests.experiments.data.folders import CLASSES, load, picture, write, write_classes

pytestmark = pytest.mark.usefixtures("cache_here")


def contents(dataset) -> list[list[tuple[int, int]]]:
    """The pair (number, seed) of each image of each split. The seed must be the label."""
    for split in dataset.splits:
        np.testing.assert_array_equal(split.images[:, 0, 1, 0], split.labels)
    return [list(map(tuple, split.images[:, 0, :2, 0].tolist())) for split in dataset.splits]


@pytest.fixture
def decodings(monkeypatch):
    """The lists of files that were decoded."""
    lists, read_images = [], data.folder.read_images

    def counted(files, **options):
        lists.append(files)
        return read_images(files, **options)

    monkeypatch.setattr(data.folder, "read_images", counted)
    return lists


# ---- what is loaded --------------------------------------------------------------------------


def test_folder_a_class_is_split_by_class(animals):
    dataset = load(animals)
    assert dataset.class_names == ("ant", "cat", "dog")
    assert (dataset.num_classes, dataset.image_shape) == (3, (4, 5, 1))
    for split in dataset.splits:
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
    counts = [np.bincount(split.labels).tolist() for split in dataset.splits]
    assert counts == [[5, 14, 1], [1, 3, 1], [1, 3, 1]]  # 15 % of 7, 20 and 3, but at least 1


def test_folder_keeps_each_image_once(animals):
    dataset = load(animals)
    found = [image for split in contents(dataset) for image in split]
    assert sorted(found) == sorted(
        (number, seed)
        for seed, name in enumerate(sorted(CLASSES))
        for number in range(CLASSES[name])
    )
    for split in dataset.splits:
        for image, label in zip(split.images[..., 0], split.labels, strict=True):
            np.testing.assert_array_equal(image, picture(image[0, 0], label))


def test_folder_split_depends_on_the_names_alone(animals, tmp_path):
    before = load(animals)
    moved = animals.rename(tmp_path / "elsewhere")
    for file in moved.rglob("*.png"):
        os.utime(file, (0, 0))
    after = load(moved, cache_dir=tmp_path / "another cache")
    for a, b in zip(before.splits, after.splits, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_folder_is_shuffled(animals):
    labels = load(animals).train.labels
    assert (np.diff(labels) < 0).sum() > 1  # in the order of the files it would never fall


@pytest.mark.parametrize("validation", ["val", "validation", "Valid", "DEV"])
def test_folder_with_splits_keeps_them(tmp_path, validation):
    root = tmp_path / "split"
    for split, classes in {
        "Train": {"a": 4, "b": 3},
        validation: {"a": 1, "b": 2},
        "test": {"b": 5},  # a class may be missing where nothing is learned
    }.items():
        write_classes(root / split, classes)
    write(root / "test" / "b", 9, 1)
    dataset = load(root)
    assert dataset.class_names == ("a", "b")
    assert [np.bincount(split.labels).tolist() for split in dataset.splits[:2]] == [[4, 3], [1, 2]]
    assert dataset.test.labels.tolist() == [1] * 6
    assert 9 in dataset.test.images[:, 0, 0, 0]


@pytest.mark.parametrize("given", ["test", "val", None])
def test_missing_splits_are_taken_from_train(tmp_path, given):
    root = tmp_path / "split"
    write_classes(root / "train", {"a": 20, "b": 7})
    if given:
        write_classes(root / given, {"a": 2, "b": 2})
    dataset = load(root)
    counts = [np.bincount(split.labels).tolist() for split in dataset.splits]
    held_out = {"test": [[3, 1], [2, 2]], "val": [[2, 2], [3, 1]], None: [[3, 1], [3, 1]]}[given]
    assert counts == [
        np.subtract([20, 7], (2 - bool(given)) * np.array([3, 1])).tolist(),
        *held_out,
    ]
    train, validation, test = contents(dataset)
    taken = train + (validation if given != "val" else []) + (test if given != "test" else [])
    assert sorted(taken) == sorted(
        [(number, 0) for number in range(20)] + [(number, 1) for number in range(7)]
    )


def test_folder_follows_links_and_ignores_what_is_hidden(animals, tmp_path):
    (animals / "dog").rename(tmp_path / "kennel")
    (animals / "dog").symlink_to(tmp_path / "kennel", target_is_directory=True)
    file = animals / "cat" / "0.png"
    file.rename(tmp_path / "a cat")  # Pillow looks at the content
    file.symlink_to(tmp_path / "a cat")
    (animals / "cat" / ".DS_Store").write_text("not an image")
    (animals / "ant" / "Thumbs.db").write_text("not an image")
    (animals / ".cache").mkdir()
    (animals / "README.md").write_text("not an image")
    dataset = load(animals)
    assert sum(split.size for split in dataset.splits) == sum(CLASSES.values())


LEFT_BEHIND = (
    *("__MACOSX", "@eaDir", "lost+found", ".git", ".ipynb_checkpoints", ".Spotlight-V100"),
    *("$RECYCLE.BIN", "System Volume Information", "#recycle"),
)


def test_folder_ignores_what_nobody_put_there(animals, capsys):
    for name in LEFT_BEHIND:
        for folder in (animals, animals / "cat"):
            (folder / name).mkdir()
            (folder / name / "._0.png").write_text("not an image")
            write(folder / name, 1)
    for folder in (animals, animals / "cat"):
        for name in ("Thumbs.db", "thumbs.db", "desktop.ini", ".DS_Store", "._0.png"):
            (folder / name).write_text("not an image")
    dataset = load(animals)
    assert dataset.class_names == ("ant", "cat", "dog")
    assert sum(split.size for split in dataset.splits) == sum(CLASSES.values())
    assert "ignored" not in capsys.readouterr().err


def test_folder_ignores_notes_and_says_so(animals, capsys):
    (animals / "cat" / "notes.txt").write_text("a cat")
    (animals / "cat" / "0.png.gz").write_text("not an image either")
    (animals / "cat" / "LICENSE").write_text("its name does not tell")
    (animals / "notes").mkdir()
    (animals / "notes" / "README.md").write_text("about animals")
    (animals / "notes" / "sources.csv").write_text("a,b")
    (animals / "zebra").mkdir()
    dataset = load(animals)
    assert dataset.class_names == ("ant", "cat", "dog")
    assert sum(split.size for split in dataset.splits) == sum(CLASSES.values())
    assert capsys.readouterr().err.splitlines()[:2] == [
        f"note: ignored in {animals}: 5 other files, such as cat/0.png.gz",
        f"note: ignored in {animals}: no image in notes, zebra",
    ]


def test_folder_with_splits_ignores_what_nobody_put_there(tmp_path):
    root = tmp_path / "split"
    for split in ("train", "test"):
        write_classes(root / split, {"a": 4, "b": 3})
        (root / split / "__MACOSX").mkdir()
    (root / "__MACOSX").mkdir()
    assert load(root).class_names == ("a", "b")


def test_what_lies_beside_the_splits_is_ignored_and_said(animals, capsys):
    for split in ("train", "test"):
        write_classes(animals / split, {"a": 4, "b": 3})
    (animals / "annotations").mkdir()
    assert load(animals).class_names == ("a", "b")
    said = f"note: ignored in {animals} beside test and train: ant, cat, dog\n"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["", "train"])
def test_archive_that_was_unpacked_twice(tmp_path, capsys, inside):
    root = tmp_path / "pets"
    for split in filter(None, (inside, "test" * bool(inside))):
        write_classes(root / "pets" / split / split, {"a": 5, "b": 5})
    if not inside:
        write_classes(root / "pets" / "deeper", {"a": 5, "b": 5})
    (root / "__MACOSX").mkdir()
    (root / "README.md").write_text("not an image")
    assert load(root).class_names == ("a", "b")
    assert f"note: reading {root / 'pets'}, the only folder with images in {root}\n" in (
        capsys.readouterr().err
    )


# ---- images without labels -------------------------------------------------------------------


def sizes(dataset):
    return [split.size for split in dataset.splits]


@pytest.mark.parametrize("layout", ["flat", "one class", "deep", "beside classes", "splits"])
def test_images_without_labels_may_lie_anywhere(tmp_path, layout):
    root = tmp_path / "images"
    folders = {
        "flat": [""],
        "one class": ["a"],
        "deep": ["a/b", "c/d"],
        "splits": ["train", "test"],
    }
    for folder in folders.get(layout, ["a", "b", ""]):
        write_classes(root / folder.rpartition("/")[0], {folder.rpartition("/")[2]: 12})
    dataset = load(root, needs_labels=False)
    assert dataset.class_names == (data.UNLABELLED,)
    assert sizes(dataset) == {"deep": [16, 4, 4], "beside classes": [26, 5, 5]}.get(
        layout, [10, 2, 12] if layout == "splits" else [8, 2, 2]
    )
    with pytest.raises(
        UserError, match=r"lies in no class's folder|one class only|holds the folder"
    ):
        load(root)


def test_classes_are_kept_where_no_labels_are_needed(animals):
    for a, b in zip(load(animals).splits, load(animals, needs_labels=False).splits, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)
    write_classes(animals / "train", {"good": 9, "fair": 9})  # as for finding what is unusual
    write_classes(animals / "test", {"good": 3, "bad": 3})
    assert load(animals, needs_labels=False).class_names == (data.UNLABELLED,)


# ---- bad files -------------------------------------------------------------------------------


def test_bad_files_are_left_out_and_listed(animals, capsys, decodings):
    whole = load(animals)
    capsys.readouterr()
    (animals / "cat" / "a.png").write_text("no image")
    (animals / "cat" / "dead.png").symlink_to(animals / "nowhere.png")
    cut = animals / "dog" / "cut.png"
    cut.write_bytes((animals / "dog" / "0.png").read_bytes()[:-30])
    for _ in range(2):
        few = load(animals, skip_bad_files=True)
        for a, b in zip(few.splits, whole.splits, strict=True):
            np.testing.assert_array_equal(a.images, b.images)
        listed = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
        assert [line.split(animals.name)[1][:8] for line in listed] == [
            "/cat/dea",
            "/cat/a.p",
            "/dog/cut",
        ]
    assert len(decodings) == 1  # of whole: the files that are left are the same
    with pytest.raises(UserError, match=r"dead\.png.*--skip-bad-files leaves such files out"):
        load(animals)


def test_bad_files_are_left_out_of_parts(animals):
    (animals / "cat" / "a.png").write_text("no image")
    is_bad = np.array([False] * 7 + [False] * 20 + [True] + [False] * 3)  # ant, cat, dog
    whole = load(animals, skip_bad_files=True)
    parts = [
        data.Part(
            index, 2, gather=lambda rows: is_bad if rows.dtype == bool and len(rows) > 1 else rows
        )
        for index in (0, 1)
    ]
    first, second = (load(animals, part=part, skip_bad_files=True) for part in parts)
    for split, one, two in zip(whole.splits, first.splits, second.splits, strict=True):
        np.testing.assert_array_equal(np.concatenate([one.images, two.images]), split.images)
        np.testing.assert_array_equal(one.labels, split.labels)


@pytest.mark.parametrize("train", ["train", "val"])
def test_a_class_may_have_the_name_of_a_split(tmp_path, train):
    root = write_classes(tmp_path / "vehicles", {train: 3, "car": 3})
    assert load(root).class_names == ("car", train)


def test_folder_in_the_home_folder(animals, monkeypatch):
    monkeypatch.setenv("USERPROFILE" if sys.platform == "win32" else "HOME", str(animals.parent))
    assert load("~/animals").class_names == ("ant", "cat", "dog")


def test_folder_resizes(animals):
    Image.new("RGB", (50, 40), "red").save(animals / "cat" / "large.png")
    dataset = load(animals)
    assert dataset.image_shape == (4, 5, 3)  # the median, and one image has colours
    assert load(animals, image_size=(6, 3)).image_shape == (6, 3, 3)
    images = np.concatenate([split.images for split in dataset.splits])
    assert (images == (255, 0, 0)).all(axis=(1, 2, 3)).sum() == 1
    assert (images == images[..., :1]).all(axis=(1, 2, 3)).sum() == sum(CLASSES.values())


# ---- the cache -------------------------------------------------------------------------------


def test_folder_is_decoded_once(animals, decodings, capsys):
    first, second = load(animals), load(animals)
    assert len(decodings) == 1
    assert (
        capsys.readouterr().err
        == f"note: reading the 30 images of {animals}; later runs use the cache\n"
    )
    assert first.class_names == second.class_names
    for a, b in zip(first.splits, second.splits, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_folder_of_a_part_reads_its_files_alone(animals, decodings):
    whole = load(animals)
    parts = [data.Part(index, 2) for index in (0, 1)]
    first, second, again = (load(animals, part=part) for part in (*parts, parts[0]))
    assert list(map(len, decodings)) == [30, 16, 14]  # the last one came from the cache
    for split, one, two in zip(whole.splits, first.splits, second.splits, strict=True):
        np.testing.assert_array_equal(np.concatenate([one.images, two.images]), split.images)
        np.testing.assert_array_equal(one.labels, split.labels)
    np.testing.assert_array_equal(again.train.images, first.train.images)


@pytest.mark.parametrize(
    "change", ["modified", "added", "removed", "renamed", "truncated cache", "other cache"]
)
def test_folder_is_decoded_again_after_a_change(animals, tmp_path, decodings, change):
    for file in animals.rglob("*.png"):  # as from an archive
        os.utime(file, (0, 0))
    load(animals)
    file = animals / "cat" / "3.png"
    if change == "modified":
        Image.fromarray(255 - picture(3, 1)).save(file)
        os.utime(file, (1, 1))
    elif change == "added":
        write(animals / "cat", 40, 1)
    elif change == "removed":
        file.unlink()
    elif change == "renamed":
        (animals / "cat").rename(animals / "zebra")
    else:
        (cached,) = (tmp_path / "cache" / "jaxconv").iterdir()
        cached.write_bytes(cached.read_bytes()[:-30])
        if change == "other cache":
            np.savez(cached, other=np.zeros(3))
    first = load(animals)
    assert len(decodings) == 2
    fresh = load(animals, cache_dir=tmp_path / "fresh")
    second = load(animals)
    assert len(decodings) == 3  # the one of the fresh cache
    for a, b, c in zip(first.splits, second.splits, fresh.splits, strict=True):
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.images, c.images)
    assert len(list((tmp_path / "cache" / "jaxconv").iterdir())) == 1  # old ones don't pile up


def test_each_size_has_a_cache_of_its_own(animals, decodings):
    for size in ((6, 6), None, (6, 6), None):
        assert load(animals, image_size=size).image_shape == ((*size, 1) if size else (4, 5, 1))
    assert len(decodings) == 2
