"""Lists of images: any separator, encoding and line end is read, and a wrong line has its number told."""

import csv
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_data import noise, write_classes, write_image
from pictorch import data_check, data_show
from pictorch.datasets import load_splits
from pictorch.datasets.contents import Contents
from pictorch.datasets.sources import find_source
from pictorch.errors import DataError
from pictorch.recipe import DataSection


@pytest.fixture(autouse=True)
def pets(own_places: Path) -> Path:
    return write_classes(own_places / "pets", {"cat": 3, "dog": 3})


def opened(content: str | bytes, name: str = "list.txt", **options: str) -> Contents:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with find_source(name, lambda line: None, **options).open() as contents:
        return contents


def read(content: str | bytes, name: str = "list.txt", **options: str) -> dict[str, list[tuple[str, str]]]:
    """Returns (path, class) of each image by part; the list must be sound."""
    contents = opened(content, name, **options)
    contents.require_sound()
    return {
        part: [
            (path, contents.class_names[label])
            for path, label in zip(pictures.names, pictures.labels.tolist(), strict=True)
        ]
        for part, pictures in contents.parts.items()
    }


def refusal(content: str | bytes, name: str = "list.txt", **options: str) -> str:
    with pytest.raises(DataError) as caught:
        opened(content, name, **options).require_sound()
    return str(caught.value)


TWO = [("pets/cat/000.png", "cat"), ("pets/dog/000.png", "dog")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("list.txt", ["pets/cat/000.png cat", "pets/dog/000.png   dog  "]),
        ("list.lst", ["pets/cat/000.png\tcat", "", "pets/dog/000.png\tdog"]),
        ("list.list", ["pets/cat/000.png,cat", "pets/dog/000.png, dog"]),
        ("list.csv", ["pets/cat/000.png,cat", "pets/dog/000.png,dog", "  "]),
        ("list.csv", ["Label,Path", "cat,pets/cat/000.png", 'dog,"pets/dog/000.png"', ","]),
        ("list.csv", ["path;label;note", "pets/cat/000.png;cat;1,5", "pets/dog/000.png;dog;"]),
        ("list.tsv", ["file\tclass", "pets/cat/000.png\tcat", "pets/dog/000.png\tdog\t"]),
        ("list.txt", ['"pets/cat/000.png" cat', r'"pets\dog\000.png" dog']),
        ("list.txt", [r"pets\cat\000.png cat", r"pets/dog\000.png dog"]),
        ("list.CSV", ["./pets/../pets/cat/000.png,cat", "pets//dog/000.png,dog"]),
        ("list.csv", ['"pets/cat/000.png";cat', '"pets/dog/000.png";dog']),
        ("list.txt", ["Path  label", "pets/cat/000.png  cat", "pets/dog/000.png  dog"]),
    ],
)
def test_every_form_gives_the_same_images(name: str, lines: list[str], end: str) -> None:
    assert read(end.join(lines), name) == {"train": TWO}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gbk", "gb18030"]
)
def test_encodings(encoding: str) -> None:
    write_classes(Path("图片"), {"猫": 1, "狗": 1})
    text = "path,label\r\n图片/猫/000.png,猫\r\n图片/狗/000.png,狗\r\n"
    contents = opened(text.encode(encoding), "list.csv")
    assert contents.class_names == ("狗", "猫")
    name = encoding[:6].upper() if "16" in encoding else "GB18030"
    expected = () if "utf-8" in encoding else (f"the list is read as {name}",)
    assert contents.remarks == expected
    guessed = [finding.what for finding in contents.findings]
    assert guessed == (["list.csv is no UTF-8, it is read as GB18030"] if "gb" in encoding else [])


def test_a_word_in_gbk_that_happens_to_be_utf_8() -> None:
    """猫 in GBK are the bytes of è in UTF-8; the files tell which is meant."""
    write_classes(Path(), {"猫": 1})
    assert "猫".encode("gbk").decode() == "è"
    contents = opened("猫/000.png,猫\npets/dog/000.png,dog\n".encode("gbk"))
    contents.require_sound()
    assert contents.class_names == ("dog", "猫")
    assert opened("pets/cat/000.png,è\npets/dog/000.png,dog\nnone.png,dog").class_names == ("dog", "è")


def test_bytes_that_are_no_text() -> None:
    assert "none of UTF-8, UTF-16 and GB18030; save it as UTF-8" in refusal(b"pets/cat \xff\xff")
    assert "none of UTF-8" in refusal(b"\xff\xfea")


TEXT = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1, max_size=20)
NAMES = TEXT.filter(lambda name: name not in (".", "..") and name.strip() != "" and len(name.encode()) < 250)
LABELS = TEXT.map(str.strip).filter(bool)


@given(
    st.lists(st.tuples(NAMES, LABELS, st.sampled_from(["train", "val", "Test", "VALID"])), min_size=1),
    st.permutations(["path", "label", "split"]),
    st.sampled_from([",", ";", "\t"]),
)
@settings(max_examples=30, deadline=None)
def test_what_the_csv_module_writes_is_read_back(
    rows: list[tuple[str, str, str]], heads: list[str], separator: str
) -> None:
    """Any name that a file can have, any label less the space around it, quoted where it must be."""
    folder = Path("named")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rows = [row for place, row in enumerate(rows) if row[0] not in {name for name, *_ in rows[:place]}]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, heads, delimiter=separator)
    writer.writeheader()
    for name, label, split in rows:
        (folder / name).touch()
        writer.writerow({"path": name, "label": label, "split": split})
    contents = opened(text.getvalue(), "named/../list.csv", root="named")
    assert not any("cannot be used" in finding.what for finding in contents.findings)
    for part, spelled in (("train", {"train"}), ("val", {"val", "VALID"}), ("test", {"Test"})):
        found = contents.parts.get(part)
        given_rows = [(f"named/{name}", label) for name, label, split in rows if split in spelled]
        labels = [] if found is None else [contents.class_names[label] for label in found.labels]
        assert list(zip([] if found is None else found.names, labels, strict=True)) == given_rows


def test_paths_with_spaces_and_commas_and_a_name_with_a_backslash() -> None:
    write_image(Path("my pets, all/a cat.png"), noise(8, 8))
    write_image(Path("pets/dog\\1.png"), noise(8, 8))
    found = [("my pets, all/a cat.png", "cat"), ("pets/dog\\1.png", "dog")]
    assert (
        read('path,label\n"my pets, all/a cat.png",cat\npets/dog\\1.png,dog\n', "list.csv")["train"] == found
    )
    os.rename("my pets, all", "my pets")
    found = [("my pets/a cat.png", "cat"), ("pets/dog\\1.png", "dog")]
    assert read("my pets/a cat.png cat\npets/dog\\1.png dog\n")["train"] == found


def test_splits_and_their_synonyms() -> None:
    cats = [("cat/000", "cat", "train"), ("cat/001", "cat", "validation"), ("cat/002", "cat", "test")]
    dogs = [("dog/000", "dog", "Train"), ("dog/001", "dog", "valid"), ("dog/002", "dog", " TEST ")]
    found = read("".join(f"pets/{path}.png,{label},{split}\n" for path, label, split in cats + dogs))
    assert {part: [name[5:12] for name, _ in images] for part, images in found.items()} == {
        "train": ["cat/000", "dog/000"], "val": ["cat/001", "dog/001"], "test": ["cat/002", "dog/002"]
    }  # fmt: skip


def test_labels_that_are_all_integers_have_their_order() -> None:
    paths = [f"pets/{name}/00{number}.png" for name in ("cat", "dog") for number in range(2)]
    text = "".join(f"{path} {label}\n" for path, label in zip(paths, (10, 9, -1, 9), strict=True))
    contents = opened(text)
    assert contents.class_names == ("-1", "9", "10")
    assert contents.parts["train"].labels.tolist() == [2, 1, 0, 1]
    assert opened(text.replace("-1", "b")).class_names == ("10", "9", "b")


def test_root_absolute_paths_and_links(tmp_path: Path) -> None:
    away = write_classes(tmp_path / "away", {"bird": 1})
    absolute = str(away / "bird" / "000.png")
    os.symlink(absolute, "pets/link.png")
    text = f"cat/000.png cat\n{absolute} bird\nlink.png link\n"
    assert read(text, root="pets")["train"][0] == ("pets/cat/000.png", "cat")
    assert read(text, "pets/list.txt")["train"][1:] == [(absolute, "bird"), ("pets/link.png", "link")]
    assert "data.root: nowhere is no folder" in refusal(text, root="nowhere")


def train_line(reason: str) -> str:
    return f"list.txt: 1 of 3 lines cannot be used, first line 3 ({reason}"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pets/cat/9.png,cat", "pets/cat/9.png,cat): no such file in HERE; mend the path, set data.root"),
        ("/no/9.png,cat", "/no/9.png,cat): no such file; mend the path"),
        ("pets/cat/002.png,", "pets/cat/002.png,): no label; give it one"),
        (",cat", ",cat): no path; give it one"),
        ("../x.png,cat", "../x.png,cat): leaves the folder HERE; write the whole path"),
        (r"pets\..\..\x.png,cat", r"pets\..\..\x.png,cat): leaves the folder"),
        ("pets,cat", "pets,cat): is no regular file; give the path of an image"),
        ("pets/cat/000.png,cat", "pets/cat/000.png,cat): the image of line 1 again; remove one"),
        ("./pets//cat/000.png,cat", "./pets//cat/000.png,cat): the image of line 1 again"),
        ("pets/cat/002.png cat", "pets/cat/002.png cat): no comma between path and label; use one"),
        ("pets/cat/002.png\tcat", r"pets/cat/002.png\tcat): no comma"),
        ("pets/cat/002.png,cat,train", "pets/cat/002.png,cat,train): 3 columns, most lines have 2; put"),
        ("pets/cat/\0.png,cat", r"pets/cat/\x00.png,cat): no such file"),
        (f"pets/{'x' * 300}.png,cat", f"pets/{'x' * 52}...): cannot be read (File name too long); check"),
    ],
)  # fmt: skip
def test_a_wrong_line(line: str, told: str) -> None:
    message = refusal(f"pets/cat/000.png,cat\npets/dog/000.png,dog\n{line}\n")
    assert message.startswith(train_line(told.replace("HERE", str(Path.cwd())))), message


def test_one_image_of_two_classes_makes_both_lines_wrong() -> None:
    text = "pets/cat/000.png,cat\npets/dog/000.png,dog\npets/cat/000.png,dog\npets/cat/001.png,cat\n"
    message = refusal(text)
    assert (
        "2 of 4 lines cannot be used, first line 1 (pets/cat/000.png,cat): is cat here and dog on line 3"
        in message
    )
    assert read(text, on_bad="skip")["train"] == [TWO[1], ("pets/cat/001.png", "cat")]


def test_a_wrong_split_has_its_nearest() -> None:
    text = "pets/cat/000.png,cat,train\npets/dog/000.png,dog,train\npets/dog/001.png,dog,tset\n"
    assert "line 3 (pets/dog/001.png,dog,tset): unknown split 'tset' (did you mean test?)" in refusal(text)
    assert "line 3 (pets/dog/001.png,dog,): no split" in refusal(text.replace("tset", ""))
    assert "line 3 (pets/dog/001.png,dog): 2 columns, most lines have 3; give path, label" in refusal(
        text.replace(",tset", "")
    )


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        ("", "list.txt", "list.txt names no images; write a line path,label for each"),
        ("\n \r\n", "list.csv", "list.csv names no images"),
        ("path,label\n", "list.csv", "list.csv names no images"),
        ("photo,kind\na,b", "list.csv", "line 1 (photo,kind) is a header without a column path and a column"),
        ("path;kind\na;b", "list.csv", "is a header without a column label; call the columns path and label"),
        ("name\tlabel\n", "list.tsv", "is a header without a column path"),
        ('path,label\npets/cat/000.png,cat\n\n"pets/dog,dog\n', "list.csv", "list.csv, line 4: its quotes"),
        ('path,label\n"pets/cat"/000.png,cat', "list.csv", "list.csv, line 2: its quotes do not close"),
        ("pets/cat/000.png cat\npets/cat/001.png cat", "list.txt", "list.txt has one class only (cat)"),
        ("pets/cat/000.png,a,test\npets/cat/001.png,b,test", "list.txt", "has no line of the split train"),
    ],
)  # fmt: skip
def test_a_list_that_is_wrong_as_a_whole(content: str, name: str, told: str) -> None:
    assert told in refusal(content, name)
    assert told in refusal(content, name, on_bad="skip")


def test_lists_without_a_header_whose_first_line_looks_like_one() -> None:
    """Labels are called anything, and a file needs no ending."""
    write_image(Path("images/0.png"), noise(8, 8))
    (Path("images") / "1").touch()
    assert len(read("images/0.png,image\npets/dog/000.png,file\n", "list.csv")["train"]) == 2
    assert len(read("1,2\n0.png,1\n", "list.csv", root="images")["train"]) == 2


def test_a_class_that_training_lacks() -> None:
    text = "pets/cat/000.png,cat,train\npets/dog/000.png,dog,train\npets/cat/001.png,catt,test\n"
    message = refusal(text)
    assert "classes in test but not in train: catt (did you mean cat?) on line 3; rename" in message
    assert refusal(text, on_bad="skip") == message


def test_skip_leaves_lines_out_and_lists_them() -> None:
    text = "pets/cat/000.png,cat\nnone.png,cat\npets/dog/000.png,dog\npets/dog/001.png,\n"
    contents = opened(text, on_bad="skip")
    assert read(text, on_bad="skip") == {"train": TWO}
    assert contents.remarks == (
        "2 of 4 lines cannot be used and are skipped, first line 2 (none.png,cat): "
        f"no such file in {Path.cwd()}",
    )
    assert [place for place, _ in contents.skipped] == [
        "list.txt, line 2: none.png,cat",
        "list.txt, line 4: pets/dog/001.png,",
    ]
    assert [finding.severity for finding in contents.findings] == ["warning"]


def test_skip_must_not_lose_a_class_or_all() -> None:
    text = "pets/cat/000.png,cat\npets/dog/000.png,dog\nnone.png,bird\n"
    assert "classes whose lines in train cannot be used: bird; mend" in refusal(text, on_bad="skip")
    assert "2 of 2 lines cannot be used" in refusal("a.png b\nc.png d", on_bad="skip")


def test_the_stamp_follows_list_root_and_files() -> None:
    text = "cat/000.png cat\ndog/000.png dog\nnone.png dog\n"

    def stamp() -> str | None:
        return find_source("pets/list.txt", lambda line: None).stamp

    def written(text: str) -> None:
        Path("pets/list.txt").write_text(text)

    written(text)
    seen = [stamp()]
    changes: list[Callable[[], object]] = [
        lambda: written(f"{text}\n"),
        lambda: os.utime("pets/cat/000.png", ns=(0, 0)),
        lambda: write_image(Path("pets/dog/000.png"), noise(8, 8, 5)),
        lambda: write_image(Path("pets/none.png"), noise(8, 8, 6)),
        lambda: os.rename("pets", "others") or os.symlink("others", "pets"),
    ]
    for change in changes:
        assert stamp() == seen[-1]
        change()
        seen.append(stamp())
    assert len(set(seen)) == len(seen)
    spelled = str(Path("pets/list.txt").absolute())
    assert find_source(spelled, lambda line: None).stamp == seen[-1]


def test_a_list_and_the_folder_give_the_same_training() -> None:
    """The same pictures in the same order have the same fingerprint, whatever named them."""
    paths = sorted(str(path) for path in Path("pets").rglob("*.png"))
    Path("list.csv").write_text("path,label\n" + "".join(f"{path},{path.split('/')[1]}\n" for path in paths))
    by_list, by_folder = (load_splits(DataSection(source=name)) for name in ("list.csv", "pets"))
    assert by_list.fingerprint == by_folder.fingerprint
    assert np.array_equal(by_list.train.indices, by_folder.train.indices)
    assert by_list.origin == "list list.csv"


def test_a_list_that_moved_with_its_images_or_into_them() -> None:
    text = "".join(f"{name}/00{number}.png {name}\n" for name in ("cat", "dog") for number in range(3))
    Path("list.txt").write_text(text)
    shutil.copytree("pets", "moved")
    Path("moved/list.txt").write_text(text)
    old = load_splits(DataSection(source="list.txt", root="pets"))
    shutil.rmtree("pets")
    section = DataSection(source="list.txt", root="pets")
    os.renames("moved/list.txt", "whole/list.txt")
    shutil.copytree("moved", "whole/pets")
    assert load_splits(section, given="whole/list.txt").fingerprint == old.fingerprint
    shutil.copy("whole/list.txt", "moved")
    assert load_splits(section, given="moved/list.txt").fingerprint == old.fingerprint
    with pytest.raises(DataError, match=r"data\.root: pets is no folder"):
        load_splits(section)


def test_photographs_of_ten_numbered_classes_are_no_digits() -> None:
    write_classes(Path("ten"), {str(number): 1 for number in range(10)})
    Path("list.txt").write_text("".join(f"ten/{number}/000.png {number}\n" for number in range(10)))
    assert [data_check(source).recipe for source in ("list.txt", "ten")] == ["folder-small"] * 2


def test_data_check_names_every_wrong_line() -> None:
    good = "".join(f"pets/{name}/00{n}.png {name}\n" for name in ("cat", "dog") for n in range(3))
    Path("list.txt").write_text("".join(f"none{n}.png cat\n" for n in range(30)) + good)
    found = data_check("list.txt")
    (lines,) = [finding for finding in found.findings if finding.severity == "error"]
    assert len(lines.where) == 30
    assert lines.where[29].startswith("line 30 (none29.png cat): no such file in ")
    assert found.must_mend
    assert found.counts == {"train": 6}
    Path("list.txt").write_text(good.replace("pets/", ""))
    assert not data_check("list.txt", root="pets").must_mend


@pytest.mark.slow
def test_data_show_reads_lists_and_keeps_groups_together() -> None:
    rows = [f"{name}/00{number}.png,{name},{number}\n" for name in ("cat", "dog") for number in range(3)]
    Path("list.csv").write_text("path,label,group\n" + "".join(rows))
    shown = data_show("list.csv", root="pets", out="shown")
    assert shown.class_names == ("cat", "dog")
    assert shown.class_counts == {"train": (1, 1), "val": (1, 1), "test": (1, 1)}
    assert "data.root=pets" in shown.needs


def test_the_division_of_a_list_keeps_its_groups_in_the_cache_too() -> None:
    paths = sorted(write_classes(Path("many"), {"cat": 24, "dog": 24}, side=2).rglob("*.png"))
    groups = [int(path.stem) // 3 for path in paths]
    rows = [f"{path},{path.parent.name},film {group}\n" for path, group in zip(paths, groups, strict=True)]
    Path("list.csv").write_text("path,label,group\n" + "".join(rows))
    for _ in range(2):
        splits = load_splits(DataSection(source="list.csv")).named().values()
        places = [{groups[row] for row in split.indices.tolist()} for split in splits]
        assert len(places) == 3
        assert sum(map(len, places)) == len(set(groups)) == 8


def test_groups_of_a_list() -> None:
    rows = ["cat/000.png,cat,a,train", "dog/000.png,dog,b,train", "cat/001.png,cat,,train",
            "dog/001.png,dog,b,train", "dog/002.png,dog,c,test"]  # fmt: skip
    text = "path,label,group,split\n" + "".join(f"pets/{row}\n" for row in rows)
    contents = opened(text, "list.csv")
    groups = contents.parts["train"].groups
    assert groups is not None
    assert len(set(groups.tolist())) == 3
    assert groups[1] == groups[3]
    assert not any("all of one group" in finding.what for finding in contents.findings)
    torn = refusal(text.replace(",c,test", ",b,test"), "list.csv")
    assert "group b is in train on line 3 and in test on line 6; give all lines of a group one split" in torn
    single = opened(text.replace(",,train", ",a,train"), "list.csv").findings
    assert any("all of one group: cat" in finding.what for finding in single)
    assert opened(text.replace(",group", ",other"), "list.csv").parts["train"].groups is None
