import pytest
from PIL import Image

from eyespot.transfer import ExamplesError, load_data
from eyespot.v1.preprocessing import PreprocessingRule

RULE = PreprocessingRule((2, 2), None, "nearest", "RGB", (0.0,) * 3, (1.0,) * 3)


@pytest.fixture
def folder(tmp_path):
    """Pictures p0.png to p7.png, told apart by their red."""
    for number in range(8):
        Image.new("RGB", (3, 3), (number, 0, 0)).save(tmp_path / f"p{number}.png")
    return tmp_path


def write(folder, text):
    path = folder / "pictures.csv"
    path.write_text(text, encoding="utf-8")
    return path


def reds(examples):
    return examples.images[:, 0, 0, 0].tolist()


def test_columns_are_found_by_their_names(folder):
    path = write(
        folder,
        "split,Label,ignored,path\nval,cat,x,p0.png\ntrain,dog,x,p1.png\ntrain,cat,x,p2.png\n"
        "test,dog,x,p4.png\nval,dog,x,p3.png\n",
    )
    split = load_data(path, RULE)
    assert split.labels == ("cat", "dog")
    assert (split.train_names, split.held_out_names) == (
        ("p1.png", "p2.png"),
        ("p0.png", "p3.png"),
    )
    assert (reds(split.train), split.train.labels.tolist()) == ([1, 2], [1, 0])
    assert (reds(split.held_out), split.held_out.labels.tolist()) == ([0, 3], [0, 1])


def test_without_a_header_they_are_path_label_and_split(folder):
    rows = [f"p{number}.png,{'cat' if number < 4 else 'dog'}" for number in range(8)]
    split = load_data(write(folder, "\n".join(rows)), RULE, held_out=0.25)
    assert (len(split.train), len(split.held_out)) == (6, 2)
    parts = ["train", "val"] * 4
    told = load_data(
        write(folder, "\n".join(f"{row},{part}" for row, part in zip(rows, parts, strict=True))),
        RULE,
    )
    assert reds(told.held_out) == [1, 3, 5, 7]


def test_a_file_that_is_not_there_is_named_and_skipped(folder):
    rows = "p0.png,a\np1.png,a\np2.png,b\np3.png,b\ngone.png,a\n"
    split = load_data(write(folder, rows), RULE)
    assert split.skipped == ("gone.png: No such file or directory",)


def test_several_labels_stand_between_semicolons(folder):
    path = write(
        folder,
        "path,labels\np0.png,sea; sand\np1.png,sea\np2.png,\np3.png,sand\np4.png,sea\n"
        "p5.png,sand\np6.png,\np7.png,sun;sea\n",
    )
    split = load_data(path, RULE, multi_label=True)
    assert split.labels == ("sand", "sea", "sun")
    together = dict(zip(reds(split.train), split.train.labels.tolist(), strict=True)) | dict(
        zip(reds(split.held_out), split.held_out.labels.tolist(), strict=True)
    )
    assert together == {
        0: [1, 1, 0],
        1: [0, 1, 0],
        2: [0, 0, 0],
        3: [1, 0, 0],
        4: [0, 1, 0],
        5: [1, 0, 0],
        6: [0, 0, 0],
        7: [0, 1, 1],
    }
    assert split.is_multi_label
    # 3 of sand, 2 of sea alone and 2 of nothing give one each; the only sun is learnt from.
    assert len(split.held_out) == 3
    assert 7 in reds(split.train)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("path,label\np0.png,cat\np1.png,\np2.png,dog\n", "no label in line 3"),
        ("p0.png,cat\n,dog\n", "no path in line 2"),
        ("path,kind\np0.png,cat\n", "no column label: its header is path, kind"),
        ("a,b,c,d\n", "4 columns and no header"),
        ("p0.png,cat,learn\np1.png,cat,train\n", "split 'learn' in line 1: one of train, val"),
        ("p0.png,cat\np1.png,dog\np0.png,dog\n", r"p0.png two labels, in lines 1, 3.*multi_label"),
        ('p0.png,"cat\n', "no CSV in UTF-8"),
        ("p0.png,cat\np1.png,cat\n", r"one class \(cat\)"),
    ],
)
def test_what_is_wrong_in_it_is_told(folder, text, message):
    with pytest.raises(ExamplesError, match=message):
        load_data(write(folder, text), RULE)


def test_a_table_of_another_encoding_is_told(folder):
    (folder / "pictures.csv").write_bytes("p0.png,\xfc".encode("latin-1"))
    with pytest.raises(ExamplesError, match=r"pictures\.csv is no CSV in UTF-8"):
        load_data(folder / "pictures.csv", RULE)
