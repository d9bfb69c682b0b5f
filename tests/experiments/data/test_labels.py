"""Tables that name the classes of images: labels.csv."""

import pytest

from experiments.command_line import UserError
from tests.experiments.data.folders import load, write

pytestmark = pytest.mark.usefixtures("cache_here")


@pytest.fixture
def table(tmp_path):
    """A function that writes 14 images and a table with a row for each, and returns the folder."""

    def write_both(row, titles="file,label", *, images="", name="labels.csv", more=""):
        root = tmp_path / "photos"
        rows = [titles] if titles else []
        for number in range(14):
            write(root / images, number)
            split = "train" if number < 8 else "Val" if number < 10 else "test"
            label = "dog" if number % 2 else "cat"
            rows.append(row.format(f"{number}.png", n=number, label=label, split=split))
        (root / name).write_text("\n".join(rows) + "\n" + more)
        return root

    return write_both


@pytest.mark.parametrize(
    ("row", "titles", "images"),
    [
        ("{},{label}", "file,label", ""),
        ("{},{label}", "", ""),
        ("{},{label}", "image,which", "images"),
        ("images/{},{label}", "file,label", "images"),
        ("images\\{},{label}", "file,label", "images"),
        ("/elsewhere/images/{},{label}", "file,label", "images"),
        ("{n},{label}", "id,breed", "train"),
        ("{n},{},{label}", ",file_name,label", "a/b"),
        ("{};20;{label}", "\ufeffName;Width;Class", ""),
        ("{}\t{label}", "file\tlabel", ""),
        ('"{}", "{label}"', '"file","label"', ""),
        ("{label} ,{}\n", "label,file", ""),
    ],
    ids=repr,
)
def test_table_names_the_classes(table, row, titles, images):
    root = table(row, titles, images=images)
    dataset = load(root)
    assert [name.strip(' "') for name in dataset.class_names] == ["cat", "dog"]
    for split in dataset.splits:
        assert (split.images[:, 0, 0, 0] % 2 == split.labels).all()
    assert sum(split.size for split in dataset.splits) == 14


def test_table_of_numbers_that_are_also_names(table):
    root = table("")
    rows = "".join(f"{n % 2},{n}\n" for n in range(14))
    (root / "labels.csv").write_text(f"label,id\n{rows}")
    dataset = load(root)
    assert dataset.class_names == ("0", "1")
    assert (dataset.train.images[:, 0, 0, 0] % 2 == dataset.train.labels).all()


def test_table_names_the_splits(table):
    dataset = load(table("{},{split},{label}", "file,Split,Label"))
    numbers = [sorted(split.images[:, 0, 0, 0].tolist()) for split in dataset.splits]
    assert numbers == [list(range(8)), [8, 9], [10, 11, 12, 13]]


def test_table_of_another_name_counts_if_there_are_no_classes(table, tmp_path, capsys):
    root = table("{},{label}", name="metadata.csv")
    assert load(root).class_names == ("cat", "dog")
    for name in ("ant", "bee"):
        for number in range(3):
            write(tmp_path / "classes" / name, number)
    (root / "metadata.csv").rename(tmp_path / "classes" / "metadata.csv")
    assert load(tmp_path / "classes").class_names == ("ant", "bee")
    assert "does not name" not in capsys.readouterr().err


def test_images_without_a_row_are_ignored_and_files_that_are_missing_can_be(table, capsys):
    root = table("{},{label}", more="missing.png,cat\n")
    write(root / "more", 99)
    with pytest.raises(UserError, match=r"names missing\.png, which is not one of its images"):
        load(root)
    dataset = load(root, skip_bad_files=True)
    assert sum(split.size for split in dataset.splits) == 14
    said = capsys.readouterr().err
    assert "left out: " in said
    assert f"ignored: 1 of the images in {root}, which labels.csv does not name" in said


@pytest.mark.parametrize(
    ("row", "titles", "more", "message"),
    [
        ("{},{label},1", "a,b,c", "", "has several columns (a, b, c): call one of them label."),
        ("{},{label},1", "", "", "has several columns (no titles): call one of them label."),
        ("x{},{label}", "file,label", "", "has no column that names images in "),
        ("{}", "file", "", "has one column: expected the file and the label of one image"),
        ("{},{label}", "file,label", "1.png\n", "has 2 columns, but not in ['1.png']: "),
        ("{},{label}", "file,label", "1.png,cat\n", "has two rows for 1.png, which differ."),
        ("{},", "file,label", "", ": 0.png has no label."),
        ("{},{n},{label}", "file,split,label", "", ": 0.png is in the split '0', expected train"),
        ("{},{label},test", "file,label,split", "", "names no image to train with."),
    ],
)
def test_table_that_cannot_be_understood(table, row, titles, more, message):
    root = table(row, titles, more=more)
    with pytest.raises(UserError) as error:
        load(root)
    assert f"{root}/labels.csv" in str(error.value)
    assert message in str(error.value)


def test_table_that_cannot_be_read(table):
    root = table("{},{label}")
    (root / "labels.csv").write_bytes("file,label\n0.png,\xe9lan\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"cannot read .*labels\.csv as text in UTF-8"):
        load(root)
    (root / "labels.csv").write_text("\n")
    with pytest.raises(UserError, match=r"labels\.csv is empty"):
        load(root)
