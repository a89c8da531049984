import io
import zipfile

import pytest

from pictorch.bundle import source as bundle_source
from pictorch.bundle.source import zip_bytes
from pictorch.errors import CheckpointError

FILES = {"bundle.json": b"{}", "model.onnx": b"m" * 1000}


def written(tmp_path, data):
    path = tmp_path / "b.zip"
    path.write_bytes(data)
    return path


def zipped(*members, **options):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def read_all(path):
    source = bundle_source.bundle_source(path)
    return {name: source.read(name, 10_000) for name in source.names()}


def refusal(tmp_path, data):
    with pytest.raises(CheckpointError) as caught:
        read_all(written(tmp_path, data))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folder_and_zip_give_the_same_files(tmp_path):
    folder = tmp_path / "b"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    for path in (folder, written(tmp_path, zip_bytes(FILES))):
        assert read_all(path) == FILES


def test_zip_bytes_follow_from_the_files_alone():
    assert zip_bytes(FILES) == zip_bytes(dict(reversed(FILES.items())))


def test_zip_of_another_program_is_read(tmp_path):
    data = zipped(*FILES.items(), compression=zipfile.ZIP_DEFLATED)
    source = bundle_source.bundle_source(written(tmp_path, data))
    assert source.read("model.onnx", 10_000) == FILES["model.onnx"]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_no_more_than_the_limit_is_read(tmp_path, kind):
    path = tmp_path / "b"
    path.mkdir()
    (path / "model.onnx").write_bytes(FILES["model.onnx"])
    if kind == "zip":
        path = written(tmp_path, zipped(*FILES.items(), compression=zipfile.ZIP_DEFLATED))
    assert bundle_source.bundle_source(path).read("model.onnx", 10) == b"m" * 11


@pytest.mark.parametrize("name", ["../model.onnx", "/model.onnx", "a/b", ".hidden", "a\\b", "é", "folder/"])
def test_odd_member_names_are_refused(tmp_path, name):
    assert "not the name" in refusal(tmp_path, zipped((name, b"x")))


def test_double_members_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(("model.onnx", b"one"), ("model.onnx", b"two"))
    assert "twice" in refusal(tmp_path, data)


def test_too_many_members_are_refused(tmp_path):
    assert "more than 32" in refusal(tmp_path, zipped(*((f"f{i}", b"") for i in range(33))))


def test_unusual_packing_is_refused(tmp_path):
    assert "unusual" in refusal(tmp_path, zipped(("model.onnx", b"x"), compression=zipfile.ZIP_LZMA))


def test_encrypted_member_is_refused(tmp_path):
    data = bytearray(zip_bytes(FILES))
    data[data.rindex(b"PK\1\2") + 8] |= 1
    assert "encrypted" in refusal(tmp_path, bytes(data))


def test_huge_directory_is_refused_before_it_is_read(tmp_path):
    data = zipped(*((f"{i:05d}", b"") for i in range(2000)))
    assert "too large" in refusal(tmp_path, data)


def test_more_bytes_than_a_bundle_has_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_source, "LARGEST_BUNDLE_BYTES", 500)
    assert "more than 500 bytes" in refusal(tmp_path, zip_bytes(FILES))


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"no zip", b"PK\3\4" + bytes(100)])
def test_what_is_no_zip_is_refused(tmp_path, data):
    refusal(tmp_path, data)


@pytest.mark.parametrize(("before", "after"), [(b"x", b""), (b"", b"x"), (b"", bytes(100))])
def test_bytes_before_and_after_a_zip_are_refused(tmp_path, before, after):
    refusal(tmp_path, before + zip_bytes(FILES) + after)


def test_every_cut_off_zip_is_refused(tmp_path):
    data = zip_bytes(FILES)
    for length in [*range(0, len(data), 9), *range(len(data) - 30, len(data))]:
        refusal(tmp_path, data[:length])


def test_zip64_is_refused_not_followed(tmp_path):
    data = zip_bytes(FILES)
    locator = b"PK\6\7" + bytes(16)
    assert "too large" in refusal(tmp_path, data[:-22] + locator + data[-22:])
