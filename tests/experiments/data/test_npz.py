"""NumPy archives: names, shapes and dtypes of arrays, and refusals."""

import pickle
import re
from itertools import chain

import numpy as np
import pytest

from experiments import data
from experiments.command_line import UserError

LABELS = np.arange(20) % 4
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 5, 6), np.uint8)
IMAGES[:, 0, 0] = np.arange(20)
IMAGES[0, 1, :2] = 0, 255


@pytest.fixture
def load(tmp_path):
    """A function that writes arrays to a file and loads it."""

    def write_and_load(**arrays):
        np.savez(tmp_path / "a.npz", **arrays)
        return data.load(f"npz:{tmp_path / 'a.npz'}")

    return write_and_load


def rows_of(dataset):
    return [split.images[:, 0, 0, 0].tolist() for split in dataset.splits]


# ---- what is loaded --------------------------------------------------------------------------


def test_images_and_labels_are_split_by_class(load):
    dataset = load(images=IMAGES, labels=LABELS, other=np.zeros(3))
    assert dataset.class_names == ("0", "1", "2", "3")
    assert dataset.image_shape == (5, 6, 1)
    assert [np.bincount(split.labels).tolist() for split in dataset.splits] == [
        [3, 3, 3, 3],
        [1, 1, 1, 1],
        [1, 1, 1, 1],
    ]
    assert sorted(chain(*rows_of(dataset))) == list(range(20))  # each in one split
    for split, rows in zip(dataset.splits, rows_of(dataset), strict=True):
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
        np.testing.assert_array_equal(split.images[..., 0], IMAGES[rows])
        np.testing.assert_array_equal(split.labels, LABELS[rows])
    assert rows_of(load(images=IMAGES, labels=LABELS)) == rows_of(dataset)


@pytest.mark.parametrize("names", ["x_{0} y_{0}", "{0}_images {0}_labels"])
def test_splits_are_kept_as_they_are(load, names):
    ranges = {"train": slice(0, 12), "val": slice(12, 15), "test": slice(15, 20)}
    arrays = {}
    for part, rows in ranges.items():
        for_images, for_labels = names.format(part).split()
        arrays |= {for_images: IMAGES[rows], for_labels: LABELS[rows, None]}
    dataset = load(**arrays)
    assert rows_of(dataset) == [list(range(20))[rows] for rows in ranges.values()]
    for split, rows in zip(dataset.splits, ranges.values(), strict=True):
        np.testing.assert_array_equal(split.labels, LABELS[rows])

    for name in names.format("val").split():
        del arrays[name]
    train, validation, test = rows_of(load(**arrays))
    assert sorted(train + validation) == list(range(12))
    assert sorted(LABELS[validation]) == [0, 1, 2, 3]
    assert test == list(range(15, 20))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_the_pixels_they_were(load, dtype):
    every = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), (6, 1, 1))
    dataset = load(images=(every / 255).astype(dtype), labels=np.arange(6) % 2)
    # float16 resolves 2⁻¹² below 1 / 2, so about 0.06 of a pixel: rounding undoes it.
    np.testing.assert_array_equal(dataset.train.images, every[: dataset.train.size, ..., None])


def test_any_number_of_channels(load):
    dataset = load(images=np.stack([IMAGES] * 7, axis=-1), labels=LABELS)
    assert dataset.image_shape == (5, 6, 7)


@pytest.mark.parametrize(
    ("shape", "order", "said"),
    [
        ((3, 5, 6), "first", "5×6 pixels with 3 channels, channels first"),
        ((1, 5, 6), "first", "5×6 pixels with 1 channel, channels first"),
        ((13, 8, 8), "first", "8×8 pixels with 13 channels, channels first, not as volumes"),
        ((7, 9, 9), "first", "9×9 pixels with 7 channels, channels first, not as volumes"),
        ((8, 8, 8), "last", "8×8 pixels with 8 channels, channels last, not as volumes"),
        ((8, 9, 13), "last", "8×9 pixels with 13 channels, channels last, not as volumes"),
        ((8, 8, 3), "last", None),
        ((4, 4, 3), "last", None),
        ((9, 3, 3), "last", None),
        ((8, 8, 4), "last", None),
    ],
    ids=str,
)
def test_order_of_the_axes_is_recognised_and_said(load, capsys, shape, order, said):
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), np.uint8)
    dataset = load(images=images, labels=LABELS)
    expected = np.moveaxis(images, 1, -1) if order == "first" else images
    assert dataset.image_shape == expected.shape[1:]
    assert all((expected == image).all(axis=(1, 2, 3)).any() for image in dataset.train.images)
    told = capsys.readouterr().err
    assert told == "" if said is None else told.endswith(f"{images.shape}: read as {said}\n")


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint16, bool])
def test_other_integers(load, dtype):
    values = (IMAGES > 127 if dtype is bool else IMAGES).astype(dtype)
    found = load(images=values, labels=LABELS)
    expected = load(
        images=255 * values.astype(np.uint8) if dtype is bool else IMAGES, labels=LABELS
    )
    np.testing.assert_array_equal(found.train.images, expected.train.images)


def test_16_bits_are_rounded_and_12_bits_are_told(load, capsys):
    wide = np.random.default_rng(0).integers(0, 65_536, (20, 5, 6)).astype(np.uint16)
    wide[:, 0, :4] = [128, 129, 65_406, 65_535]
    rounded = np.rint(wide / 257).astype(np.uint8)
    found, expected = load(images=wide, labels=LABELS), load(images=rounded, labels=LABELS)
    np.testing.assert_array_equal(found.train.images, expected.train.images)
    assert capsys.readouterr().err == ""
    load(images=wide // 16, labels=LABELS)
    said = capsys.readouterr().err
    assert "no value is above 4,095 of 65,535" in said
    assert "if they hold 12 bits, multiply them by 16 first" in said


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": IMAGES},
        {"anything": IMAGES},
        {"images": IMAGES, "labels": LABELS * 0},
        {"images": IMAGES, "labels": np.eye(4)[LABELS]},
        {"x_train": IMAGES[:14], "x_test": IMAGES[14:]},
        {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS + 1},
    ],
    ids=lambda arrays: " ".join(arrays),
)
def test_where_no_labels_are_needed(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    dataset = data.load(f"npz:{tmp_path / 'a.npz'}", needs_labels=False)
    assert dataset.class_names == (data.UNLABELLED,)
    assert sum(split.size for split in dataset.splits) == sum(
        len(array) for name, array in arrays.items() if not name.startswith(("y", "labels"))
    )
    with pytest.raises(UserError):
        data.load(f"npz:{tmp_path / 'a.npz'}")


def test_names_in_other_spellings(load):
    expected = rows_of(load(images=IMAGES, labels=LABELS))
    assert rows_of(load(X=IMAGES, y=LABELS)) == expected
    assert rows_of(load(data=IMAGES, target=LABELS)) == expected
    assert rows_of(load(X_train=IMAGES, Y_train=LABELS)) == expected
    valid = {"X_valid": IMAGES[:4], "y_valid": LABELS[:4]}
    assert rows_of(load(X_train=IMAGES, Y_train=LABELS, **valid))[1] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ([7, 3, 12, 100], ("3", "7", "12", "100")),
        ([0, 1, 2, 3], ("0", "1", "2", "3")),
        (["dog", "cat", "ant", "élan"], ("ant", "cat", "dog", "élan")),
        ([b"dog", b"cat", b"ant", b"bee"], ("ant", "bee", "cat", "dog")),
        (np.array([5, 4, 3, 2], np.uint8), ("2", "3", "4", "5")),
        ([True, False, True, False], ("0", "1")),
    ],
    ids=str,
)
def test_classes_are_the_labels_that_occur(load, classes, names):
    labels = np.array(classes)[LABELS]
    dataset = load(images=IMAGES, labels=labels)
    assert dataset.class_names == names
    for split, rows in zip(dataset.splits, rows_of(dataset), strict=True):
        found = [names[label] for label in split.labels]
        expected = [x.decode() if isinstance(x, bytes) else x for x in labels[rows].tolist()]
        assert found == [str(int(x)) if isinstance(x, bool) else str(x) for x in expected]


def test_image_size(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    dataset = data.load(f"npz:{tmp_path / 'a.npz'}", image_size=(10, 3))
    assert dataset.image_shape == (10, 3, 1)


# ---- what is refused -------------------------------------------------------------------------

X_Y = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
NEEDED = (
    "expected arrays images and labels, or x_train, y_train, x_test, y_test, or train_images and "
    "so on; "
)


def changed(**arrays):
    return {"images": IMAGES, "labels": LABELS} | arrays


def without(name):
    return {key: value for key, value in X_Y.items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, " has no images and labels: " + NEEDED + "it holds nothing."),
        ({"a": LABELS, "b": LABELS}, " has no images and labels: " + NEEDED + "it holds a, b."),
        ({"images": IMAGES}, " lacks labels; it holds images."),
        (without("y_test"), " lacks y_test; it holds x_test, x_train, y_train."),
        (
            {**X_Y, "x_val": IMAGES},
            " lacks y_val; it holds x_test, x_train, x_val, y_test, y_train.",
        ),
        (
            {**X_Y, "images": IMAGES},
            " names its arrays in two ways, and one was expected; it holds images, x_test, "
            "x_train, y_test, y_train.",
        ),
        (changed(labels=LABELS[:9]), ": images has 20 images, but labels has 9 labels."),
        (changed(labels=LABELS - 1), ": labels has the label -1: expected none below 0."),
        (changed(labels=LABELS / 2), ": labels is float64: expected integers or strings."),
        (
            changed(labels=np.eye(4)[LABELS]),
            ": labels has shape (20, 4): expected one label an image, (n,).",
        ),
        (changed(labels=LABELS * 0 + 5), " has one class only, 5: expected at least 2."),
        (
            changed(labels=np.maximum(LABELS, np.arange(20) // 18 * 9)),
            ": class 9 has 2 images, and training, validation and test need one each: add 1.",
        ),
        (
            {**X_Y, "y_test": LABELS + 1},
            ": class 4 is in test or validation, but not in train.",
        ),
        (
            {**X_Y, "y_test": LABELS.astype(str)},
            ": labels are integers in one split and strings in another.",
        ),
        (
            {**X_Y, "x_test": IMAGES[:, :4]},
            ": images of different shapes: train (5, 6, 1), test (4, 6, 1).",
        ),
        (
            changed(images=IMAGES[:0], labels=LABELS[:0]),
            ": images has shape (0, 5, 6): expected (n, h, w) or (n, h, w, c), none of them 0.",
        ),
        (
            changed(images=IMAGES[:, 0]),
            ": images has shape (20, 6): expected (n, h, w) or (n, h, w, c), none of them 0.",
        ),
        (
            changed(images=np.stack([IMAGES[..., None]] * 7, axis=1)),
            ": images has shape (20, 7, 5, 6, 1): expected (n, h, w) or (n, h, w, c), none of them "
            "0; volumes and videos are no images.",
        ),
        (
            changed(images=IMAGES.astype(np.int64) * 2),
            ": images is int64 between 0 and 510: expected uint8, or floating point between 0 "
            "and 1.",
        ),
        (
            changed(images=IMAGES / 200),
            ": images is float64 between 0 and 1.275: expected uint8, or floating point between 0 "
            "and 1.",
        ),
        (
            changed(images=IMAGES / 255 - 0.5),
            ": images is float64 between -0.5 and 0.5: expected uint8, or floating point between 0 "
            "and 1.",
        ),
        (
            changed(images=np.where(IMAGES == 255, np.nan, IMAGES / 255)),
            ": images is float64 between nan and nan: expected uint8, or floating point between 0 "
            "and 1.",
        ),
        (
            changed(images=IMAGES.astype(str)),
            ": images is <U3: expected uint8, or floating point between 0 and 1.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses(load, tmp_path, arrays, message):
    with pytest.raises(UserError) as error:
        load(**arrays)
    assert str(error.value) == f"{tmp_path / 'a.npz'}{message}"


class Trap:
    """Unpickling it creates a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.path),)


def test_reading_runs_no_code(load, tmp_path):
    trap = np.empty(20, object)
    trap[:] = [Trap(tmp_path / "sprung")] * 20
    for name in ("images", "labels"):
        with pytest.raises(UserError, match=f"{name} is pickled, and reading it could run code"):
            load(**changed(**{name: trap}))
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(UserError, match=r"a\.npz is no \.npz file, or is incomplete"):
        data.load(f"npz:{tmp_path / 'a.npz'}")
    assert not (tmp_path / "sprung").exists()
    pickle.loads((tmp_path / "a.npz").read_bytes())  # the trap is one
    assert (tmp_path / "sprung").exists()


def test_file_that_is_missing_or_of_another_kind(tmp_path):
    for content in ("text", ""):
        (tmp_path / "a.npz").write_text(content)
        with pytest.raises(UserError, match=r"a\.npz is no \.npz file, or is incomplete"):
            data.load(f"npz:{tmp_path / 'a.npz'}")
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(b"\0" + content[1:])  # NumPy would call it a pickle
    with pytest.raises(UserError, match=r"a\.npz is no \.npz file, or is incomplete"):
        data.load(f"npz:{tmp_path / 'a.npz'}")
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(UserError, match=r"a\.npy is no \.npz file, or is incomplete"):
        data.load(f"npz:{tmp_path / 'a.npy'}")
    with pytest.raises(UserError, match=r"this path does not exist, expected an \.npz"):
        data.load(f"npz:{tmp_path / 'none.npz'}")
    with pytest.raises(UserError, match=r"this path is no file, expected an \.npz"):
        data.load(f"npz:{tmp_path}")
    with pytest.raises(UserError, match="dataset 'npz:' names no path: expected npz:PATH"):
        data.load("npz:")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage_is_noticed_or_harmless(tmp_path, save):
    file = tmp_path / "a.npz"
    few = {"images": IMAGES[:9, :2, :2], "labels": LABELS[:9] % 2}
    save(file, **few)
    content, whole = file.read_bytes(), data.load(f"npz:{file}")

    def check(damaged):
        file.write_bytes(damaged)
        try:
            dataset = data.load(f"npz:{file}")
        except UserError as error:
            message = str(error)
        else:  # it hit a date, say
            for a, b in zip(dataset.splits, whole.splits, strict=True):
                np.testing.assert_array_equal(a.images, b.images)
                np.testing.assert_array_equal(a.labels, b.labels)
            return "harmless"
        assert re.fullmatch(r"[^\n]*a\.npz[^\n]*\.", message)
        return "noticed"

    assert {check(content[:length]) for length in range(0, len(content), 7)} == {"noticed"}
    flipped = [
        check(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        for place in range(0, len(content), 3)
    ]
    assert flipped.count("noticed") > len(flipped) / 2
