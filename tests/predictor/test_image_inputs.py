"""Files, folders and patterns as sources of images."""

import os
from pathlib import Path

import pytest
from PIL import Image

from messages.faults import ordinary_rights
from pictorch.errors import DataError
from pictorch.images import InputSpec
from pictorch.predictor import image_inputs
from pictorch.predictor.image_inputs import Refusal, found_files, given_images, read_image_file
from pictorch.predictor.shard import Shard


def touched(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def sources(place: str | Path) -> list[str]:
    found = found_files(place)
    assert found is not None
    return [each.source if isinstance(each, Refusal) else each for each in found]


def test_a_folder_gives_its_images_and_those_below_in_one_order(place: Path) -> None:
    touched("place/b.png", "place/a.JPG", "place/z/1.webp", "place/c/d/2.tif", "place/notes.txt", "place/png")
    touched("place/.hidden.png", "place/.git/x.png")
    assert sources("place") == ["place/a.JPG", "place/b.png", "place/c/d/2.tif", "place/z/1.webp"]
    assert sources(place) == [f"{place}/{name}" for name in ("a.JPG", "b.png", "c/d/2.tif", "z/1.webp")]


def test_links_to_images_count_and_links_to_folders_lead_nowhere() -> None:
    touched("place/x.png", "other/y.png")
    Path("place/link.png").symlink_to("x.png")
    Path("place/round").symlink_to(".")
    Path("place/elsewhere").symlink_to(Path("other").resolve())
    assert sources("place") == ["place/link.png", "place/x.png"]
    Path("here").symlink_to("place")
    assert sources("here") == ["here/link.png", "here/x.png"], "what the user names is followed"


def test_a_pattern_gives_the_files_that_it_matches() -> None:
    touched("p/b.png", "p/a.png", "p/deep/er/c.png", "p/d.dat")
    assert sources("p/*.png") == ["p/a.png", "p/b.png"]
    assert sources("p/**/*.png") == ["p/a.png", "p/b.png", "p/deep/er/c.png"]
    assert sources("p/[b-d].*") == ["p/b.png", "p/d.dat"]


def test_links_in_a_circle_lead_a_pattern_nowhere() -> None:
    """Each of them would double the files at every depth."""
    touched("p/a.png", "p/deep/b.png", "other/c.png", "p/.hidden/d.png")
    for name in ("p/round", "p/again", "p/deep/up"):
        Path(name).symlink_to(Path("p").resolve())
    assert sources("p/**/*.png") == ["p/a.png", "p/deep/b.png"]
    assert sources("**/*.png") == ["other/c.png", "p/a.png", "p/deep/b.png"]
    assert sources("p/round/**/b.png") == ["p/round/deep/b.png"], "what the user names is followed"
    assert sources("[op]*/**/*.png") == ["other/c.png", "p/a.png", "p/deep/b.png"]
    assert sources("**/d*/**/b.png") == ["p/deep/b.png"]
    assert sources("p/deep/**") == ["p/deep/b.png"]


def test_a_name_with_brackets_is_first_a_name() -> None:
    touched("a[1].png", "a1.png")
    assert found_files("a[1].png") is None
    assert sources("a[12].png") == ["a1.png"]


@pytest.mark.parametrize("name", ["missing.png", "a.png", "nul\0*.png", ""])
def test_any_other_name_can_only_be_a_file(name: str) -> None:
    touched("a.png")
    assert found_files(name) is None


@pytest.mark.parametrize("name", ["empty", "*.png"])
def test_what_gives_nothing_is_refused_by_its_name(name: str) -> None:
    Path("empty").mkdir()
    (refusal,) = found_files(name) or ()
    assert isinstance(refusal, Refusal)
    assert (refusal.source, refusal.named) == (name, True)
    assert "; " in refusal.error


def test_a_pipe_and_a_broken_link_are_refused_and_not_waited_for() -> None:
    Path("place").mkdir(exist_ok=True)
    os.mkfifo("place/pipe.png")
    Path("place/link.png").symlink_to("nowhere")
    Image.new("RGB", (4, 4)).save("place/a.png")
    read = [each.fitted(InputSpec(4, 4)) for each in given_images(["place"])]
    assert [isinstance(each, Refusal) for each in read] == [False, True, True]
    assert all("is no regular file" in each.error for each in read if isinstance(each, Refusal))


def test_only_the_files_of_ones_own_shard_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    touched(*(f"place/{number}.png" for number in range(8)))
    looked_at: list[str] = []
    isfile = os.path.isfile
    monkeypatch.setattr(os.path, "isfile", lambda path: looked_at.append(path) or isfile(path))
    for each in Shard.parse("3/4").of(given_images(["place"])):
        each.fitted(InputSpec(4, 4))
    assert looked_at == ["place/2.png", "place/6.png"]


def test_a_closed_folder_is_refused_and_the_rest_goes_on() -> None:
    touched("place/a/x.png", "place/b/y.png")
    Path("place/a").chmod(0)
    with ordinary_rights():
        closed, open_one = found_files("place") or ()
    Path("place/a").chmod(0o700)
    assert open_one == "place/b/y.png"
    assert isinstance(closed, Refusal)
    assert "Permission denied" in closed.error


def test_a_closed_folder_is_refused_by_a_pattern_too() -> None:
    touched("place/a/x.png", "place/b/y.png")
    Path("place/a").chmod(0)
    with ordinary_rights():
        closed, open_one = found_files("place/**/*.png") or ()
    Path("place/a").chmod(0o700)
    assert open_one == "place/b/y.png"
    assert isinstance(closed, Refusal)
    assert (closed.source, closed.named) == ("place/a", False)
    assert "Permission denied" in closed.error


def test_many_files_are_found_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is listed when its turn comes, so the first image is answered before the last is known."""
    touched(*(f"place/{folder}/{number}.png" for folder in "abc" for number in range(3)))
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    found = found_files("place")
    assert found is not None
    assert next(found) == "place/a/0.png"
    assert listed == ["place", "place/a"]


def test_a_file_that_is_too_large_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("big.png").write_bytes(b"123456")
    monkeypatch.setattr(image_inputs, "LARGEST_FILE_BYTES", 5)
    with pytest.raises(DataError, match="more than 5 bytes"):
        read_image_file("big.png")


def test_a_list_gives_the_path_of_each_line_relative_to_its_folder() -> None:
    touched("p/a.png", "p/my b.png", "p/c d.png", "p/e")
    text = "a.png\n\nmy b.png\r\n c d.png \na.png 3\nmy b.png\tcat\ne\nnone.png\n"
    text += "a.PNG big cat\na.png old.png\na.png old.png\t1 2\na.pngs\n"
    Path("p/list.txt").write_text(text)
    names = ["a.png", "my b.png", "c d.png", "a.png", "my b.png", "e", "none.png"]
    names += ["a.PNG", "a.png old.png", "a.png old.png", "a.pngs"]
    assert sources("p/list.txt") == [f"p/{name}" for name in names]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_list_of_windows_is_read(encoding: str) -> None:
    Path("list.txt").write_text("ä.png\r\nb.png\r\n", encoding=encoding)
    assert sources("list.txt") == ["ä.png", "b.png"]
    Path("list.csv").write_text("path,label\r\nä.png,1\r\n", encoding=encoding)
    assert sources("list.csv") == ["ä.png"]


def test_a_list_that_breaks_off_says_so() -> None:
    Path("list.txt").write_bytes("a.png\n".encode("utf-16") + b"x")
    found = found_files("list.txt")
    assert found is not None
    *_, last = found
    assert isinstance(last, Refusal)
    assert last.named
    assert "list.txt cannot be read" in last.error


def test_a_table_gives_the_paths_of_its_column() -> None:
    touched("p/a.png", "p/b,b.png")
    Path("p/named.csv").write_text('label,Path\ncat,a.png\ndog,"b,b.png"\n')
    assert sources("p/named.csv") == ["p/a.png", "p/b,b.png"]
    Path("p/bare.tsv").write_bytes("\ufeffa.png\tcat\nb,b.png\tdog\n".encode())
    assert sources("p/bare.tsv") == ["p/a.png", "p/b,b.png"]


def test_an_image_is_one_whatever_its_name_and_an_empty_list_says_so() -> None:
    Path("picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert found_files("picture.txt") is None
    Path("empty.txt").write_text("\n")
    found = found_files("empty.txt")
    assert found is not None
    (refusal,) = found
    assert isinstance(refusal, Refusal)
    assert "names no image" in refusal.error
