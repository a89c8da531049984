"""The download against a server on this machine; the real mirrors are not reached here."""

import dataclasses
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from made_data import MadeCifar
from pictorch.datasets import cifar, load_splits
from pictorch.download import RemoteFile, download
from pictorch.errors import CheckpointError, DataError, ResourceError
from pictorch.recipe import DataSection

CONTENT = os.urandom(3_000_000)


class Mirror(ThreadingHTTPServer):
    """Serves /<way>; `asked` collects (way, Range header)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = CONTENT
        self.asked: list[tuple[str, str | None]] = []

    def address(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{way}"


class _Handler(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        way, asked_range = self.path.strip("/"), self.headers["Range"]
        self.server.asked.append((way, asked_range))
        content, start = self.server.content, 0
        if way == "missing":
            self.send_error(404)
            return
        if way == "elsewhere":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file")
            self.end_headers()
            return
        if asked_range and way != "no_ranges":
            start = int(asked_range.removeprefix("bytes=").removesuffix("-"))
            if way == "unsatisfiable" or start >= len(content):
                self.send_error(416)
                return
        if way.endswith("wrong"):
            content = bytes(len(content))
        if way == "longer":
            content += b"more"
        self.send_response(206 if start else 200)
        if not way.startswith("silent"):
            self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        stop = len(content)
        if way == "cut_once" and not asked_range:
            stop = 1_000_000
        if way == "cut_always":
            stop = start
        self.wfile.write(content[start:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PICTORCH_OFFLINE")


def remote(mirror: Mirror, *ways: str) -> RemoteFile:
    md5 = hashlib.md5(mirror.content).hexdigest()
    addresses = tuple(mirror.address(way) for way in ways)
    return RemoteFile("archive.bin", addresses, md5, size_bytes=len(mirror.content))


def fetch(mirror: Mirror, folder: Path, *ways: str) -> list[str]:
    lines: list[str] = []
    path = download(remote(mirror, *ways), folder, lines.append)
    assert path.read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == ["archive.bin"]
    return lines


def refusal(mirror: Mirror, folder: Path, *ways: str) -> str:
    with pytest.raises(DataError) as caught:
        download(remote(mirror, *ways), folder, lambda line: None, looked_in=[Path("data"), folder])
    message = str(caught.value)
    assert "\n" not in message
    assert not (folder / "archive.bin").exists()
    return message


def test_plain_with_address_size_and_progress(mirror: Mirror, tmp_path: Path) -> None:
    lines = fetch(mirror, tmp_path / "new" / "folder", "plain")
    assert lines[0].startswith(f"downloading archive.bin (3.0 MB) from {mirror.address('plain')} into ")
    assert lines[-1] == "archive.bin: 3.0 of 3.0 MB"
    assert len(lines) == 11
    assert mirror.asked == [("plain", None)]


def test_a_cut_connection_is_continued(mirror: Mirror, tmp_path: Path) -> None:
    fetch(mirror, tmp_path, "cut_once")
    assert mirror.asked == [("cut_once", None), ("cut_once", "bytes=1000000-")]


def test_what_an_earlier_call_left_is_continued(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "archive.bin.part").write_bytes(CONTENT[:2_000_000])
    lines = fetch(mirror, tmp_path, "plain")
    assert lines[0].endswith("going on at 2.0 MB")
    assert mirror.asked == [("plain", "bytes=2000000-")]


def test_another_mirror_continues(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "archive.bin.part").write_bytes(CONTENT[:500])
    fetch(mirror, tmp_path, "cut_always", "missing", "plain")
    assert mirror.asked[-1] == ("plain", "bytes=500-")


def test_a_server_without_ranges_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "archive.bin.part").write_bytes(b"x" * 2_000_000)
    fetch(mirror, tmp_path, "no_ranges")


def test_a_refused_range_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "archive.bin.part").write_bytes(CONTENT[:500])
    fetch(mirror, tmp_path, "unsatisfiable")
    assert mirror.asked == [("unsatisfiable", "bytes=500-"), ("unsatisfiable", None)]


def test_a_part_that_is_already_whole_needs_no_request(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "archive.bin.part").write_bytes(CONTENT)
    fetch(mirror, tmp_path, "plain")
    assert mirror.asked == []


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)])
def test_a_wrong_part_is_thrown_away_and_the_next_mirror_asked(
    left: bytes, mirror: Mirror, tmp_path: Path
) -> None:
    (tmp_path / "archive.bin.part").write_bytes(left)
    fetch(mirror, tmp_path, "plain", "plain")
    assert mirror.asked[-1] == ("plain", None)


def test_wrong_md5_goes_to_the_next_mirror(mirror: Mirror, tmp_path: Path) -> None:
    lines = fetch(mirror, tmp_path, "wrong", "longer", "missing", "plain")
    assert any("sends another file" in line for line in lines)
    assert any("sends more than 3,000,000 bytes" in line for line in lines)
    assert any("HTTP 404" in line for line in lines)


def unsized(mirror: Mirror, *ways: str, digits: int = 8) -> RemoteFile:
    """A file that only the beginning of its SHA-256 is known of, as weights carry it in their names."""
    sha256 = hashlib.sha256(mirror.content).hexdigest()
    return RemoteFile("archive.bin", remote(mirror, *ways).mirrors, sha256[:digits], "sha256")


@pytest.mark.parametrize("way", ["plain", "cut_once", "silent", "no_ranges"])
@pytest.mark.parametrize("left", [b"", CONTENT[:2_000_000], CONTENT])
def test_a_size_that_the_server_says(way: str, left: bytes, mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "archive.bin.part").write_bytes(left)
    lines: list[str] = []
    path = download(unsized(mirror, way), tmp_path, lines.append)
    assert path.read_bytes() == CONTENT
    said = "size not said" if way == "silent" and len(left) != 2_000_000 else "3.0 MB"
    assert lines[0].startswith(f"downloading archive.bin ({said}) from {mirror.address(way)} into ")


@pytest.mark.parametrize("way", ["wrong", "silent_wrong"])
def test_wrong_sha256_is_refused(way: str, mirror: Mirror, tmp_path: Path) -> None:
    file = dataclasses.replace(unsized(mirror, way), refusal=CheckpointError)
    with pytest.raises(CheckpointError, match="sends another file, whose sha256 differs"):
        download(file, tmp_path, lambda line: None)
    assert not (tmp_path / "archive.bin").exists()


@pytest.mark.parametrize(
    ("way", "says"),
    [
        ("wrong", "sends another file"),
        ("missing", "HTTP 404"),
        ("cut_always", "ends after 0 of 3,000,000 bytes"),
        ("elsewhere", "HTTP 302 sends on to ftp://127.0.0.1/file"),
    ],
)
def test_no_mirror_gives_it(way: str, says: str, mirror: Mirror, tmp_path: Path) -> None:
    message = refusal(mirror, tmp_path, way)
    assert f"not in data, {tmp_path} and no mirror gave it (127.0.0.1:{mirror.server_port}: {says}" in message
    assert message.endswith(f"try again later, or put {mirror.address(way)} into {tmp_path}")
    assert (tmp_path / "archive.bin.part").stat().st_size == 0


def test_no_network(tmp_path: Path) -> None:
    file = RemoteFile(
        "archive.bin", ("http://127.0.0.1:1/x", "http://nowhere.invalid/x"), "0" * 32, size_bytes=10
    )
    with pytest.raises(DataError, match=r"no mirror gave it \(127\.0\.0\.1:1: .*refused.*nowhere\.invalid: "):
        download(file, tmp_path, lambda line: None)


def test_offline_asks_nobody(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTORCH_OFFLINE", "1")
    assert "PICTORCH_OFFLINE forbids a download; unset it, or put" in refusal(mirror, tmp_path, "plain")
    assert mirror.asked == []


def test_a_folder_that_cannot_be_written(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="cannot write"):
        download(remote(mirror, "plain"), tmp_path / "file" / "folder", lambda line: None)


def test_a_second_process_does_not_write_into_the_same_part(mirror: Mirror, tmp_path: Path) -> None:
    messages = []

    def progress(line: str) -> None:
        if not messages:
            with pytest.raises(ResourceError) as caught:
                download(remote(mirror, "plain"), tmp_path, lambda line: None)
            messages.append(str(caught.value))

    download(remote(mirror, "plain"), tmp_path, progress)
    assert "another process is downloading" in messages[0]
    assert (tmp_path / "archive.bin").read_bytes() == CONTENT


def test_cifar10_asked_for_by_name(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PICTORCH_DATA", raising=False)
    made = MadeCifar()
    mirror.content = made.write_archive(tmp_path / "mirror").read_bytes()
    archive = dataclasses.replace(
        cifar.CIFAR10,
        mirrors=(mirror.address("plain"),),
        archive_bytes=len(mirror.content),
        archive_md5=hashlib.md5(mirror.content).hexdigest(),
    )
    monkeypatch.setattr(cifar, "CIFAR10", archive)
    lines: list[str] = []
    for _ in range(2):
        splits = load_splits(DataSection(source="cifar10"), lines.append)
        assert splits.test is not None
        assert splits.test.labels.tolist() == made.labels["test_batch"]
        assert splits.origin.endswith("/cache/pictorch/data/cifar-10-python.tar.gz")
    assert len(mirror.asked) == 1
    assert lines[0].startswith("downloading cifar-10-python.tar.gz (")
    assert not any("official" in line for line in lines)
