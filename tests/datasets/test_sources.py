"""Names and paths: each leads to its source, or to one line that helps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from made_data import write_classes
from pictorch.datasets.sources import SOURCES, find_source
from pictorch.errors import DataError


def refusal(source: str) -> str:
    with pytest.raises(DataError) as caught:
        find_source(source, lambda line: None)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_misspelt_names_get_the_list_and_the_nearest() -> None:
    message = refusal("cifar-10")
    assert (
        "unknown data source 'cifar-10' (did you mean cifar10?); known: cifar10, cifar100, digits" in message
    )


def test_missing_paths() -> None:
    assert "no/such/folder does not exist" in refusal("no/such/folder")
    assert "pets.zip does not exist" in refusal("pets.zip")


def test_files_that_are_no_source(tmp_path: Path) -> None:
    (tmp_path / "notes.pdf").write_text("hello")
    assert "neither a zip of images nor a list" in refusal(str(tmp_path / "notes.pdf"))
    os.mkfifo(tmp_path / "pipe")
    assert "neither a folder nor a regular file" in refusal(str(tmp_path / "pipe"))


def test_a_name_wins_over_a_folder_of_that_name(own_places: Path) -> None:
    write_classes(own_places / "digits", {"a": 1, "b": 1})
    assert find_source("digits", lambda line: None).stamp is None
    assert find_source("./digits", lambda line: None).origin == "image folder digits"
    assert set(SOURCES) == {"cifar10", "cifar100", "digits", "fashion_mnist", "mnist"}


def test_the_room_is_opened_without_torch_scikit_learn_or_network() -> None:
    heavy = {"torch", "sklearn", "urllib.request"}
    code = f"import sys, pictorch.datasets; print(sorted({heavy} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
