"""Folders of image files that are refused, and the messages."""

import os

import pytest

from experiments import data
from experiments.command_line import UserError
from tests.experiments.data.folders import CLASSES, load, write, write_classes

pytestmark = pytest.mark.usefixtures("cache_here")


def stray_image(root):
    write(root, 1)


def folder_in_class(root):
    write(root / "cat" / "young", 1)


def one_class(root):
    for name in ("ant", "cat"):
        (root / name).rename(root.parent / name)


def nothing_but_notes(root):
    for name in CLASSES:
        (root / name).rename(root.parent / name)
    (root / "notes").mkdir()
    (root / "notes" / "a.txt").write_text("no image")


def no_class(root):
    one_class(root)
    (root / "dog").rename(root.parent / "dog")


def too_few(root):
    (root / "dog" / "0.png").unlink()


def truncated(root):
    file = root / "cat" / "1.png"
    file.write_bytes(file.read_bytes()[:-25])


def empty_file(root):
    (root / "cat" / "1.png").write_bytes(b"")


def dangling_link(root):
    (root / "cat" / "x.png").symlink_to(root / "nowhere.png")


def dangling_class(root):
    (root / "eel").symlink_to(root / "nowhere")


def link_to_itself(root):
    (root / "eel").symlink_to(root / "eel")


def pipe(root):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(root / "cat" / "x.png")


def split_without_train(root):
    for name in CLASSES:
        (root / name).rename(root.parent / name)
    for split in ("Test", "val"):
        write_classes(root / split)


def link_to_above(root):
    (root / "cat" / "all").symlink_to(root)


def unlabelled_test(root):
    for name in CLASSES:
        (root / name).rename(root.parent / name)
    write_classes(root / "train")
    write(root / "test", 1)


def two_validations(root):
    for name in CLASSES:
        (root / name).rename(root.parent / name)
    for split in ("train", "test", "val", "validation"):
        write_classes(root / split)


def unknown_class_in_test(root):
    for name in CLASSES:
        (root / name).rename(root.parent / name)
    write_classes(root / "train")
    write_classes(root / "test", {"cat": 1, "cats": 1})


def no_class_in_train(root):
    unknown_class_in_test(root)
    for name in CLASSES:
        (root / "train" / name).rename(root.parent / f"old {name}")


EXPECTED = (
    "expected PATH/CLASS/image files, the same under PATH/train and PATH/test, or a labels.csv."
)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (stray_image, "image {root}/1.png lies in no class's folder: " + EXPECTED),
        (folder_in_class, "class folder {root}/cat holds the folder young: " + EXPECTED),
        (one_class, "{root} has one class only, dog: expected at least 2."),
        (no_class, "{root} holds no folder with an image, but nothing: " + EXPECTED),
        (nothing_but_notes, "{root} holds no folder with an image, but notes: " + EXPECTED),
        (
            too_few,
            "{root}: class dog has 2 images, and training, validation and test need one each: "
            "add 1.",
        ),
        (truncated, "cannot read the image {root}/cat/1.png: "),
        (empty_file, "{root}/cat/1.png is no image of a format that can be read. --skip-bad-files"),
        (
            dangling_link,
            "cannot read {root}/cat/x.png: No such file or directory. --skip-bad-files",
        ),
        (dangling_class, "cannot read {root}/eel: No such file or directory."),
        (link_to_itself, "cannot read {root}/eel: Too many levels of symbolic links."),
        (link_to_above, "{root}/cat/all is a link to a folder above it."),
        (pipe, "{root}/cat/x.png is neither a file nor a folder."),
        (split_without_train, "{root} has Test and val, but no train: expected one."),
        (two_validations, "{root} has both val and validation: expected one validation split."),
        (unlabelled_test, "image {root}/test/1.png lies in no class's folder: " + EXPECTED),
        (unknown_class_in_test, "{root}: class cats is in test, but not in train."),
        (no_class_in_train, "{root} has test, but no train: expected one."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_folder_refuses(animals, tmp_path, break_it, message):
    break_it(animals)
    with pytest.raises(UserError) as error:
        load(animals)
    expected = message.format(root=animals).replace("/", os.sep)
    assert str(error.value).startswith(expected)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_folder_that_is_missing_or_a_file(tmp_path):
    with pytest.raises(UserError, match="nowhere: this path does not exist, expected a folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="png: this path is a file, expected a folder of images"):
        load(tmp_path / "a.png")
    with pytest.raises(UserError, match="dataset 'folder:' names no path: expected folder:PATH"):
        data.load("folder:")
