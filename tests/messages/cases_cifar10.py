"""CIFAR-10 as it comes: damaged archives and batches, foreign pickles, mirrors that give something else."""

import io
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_data import MadeCifar, python2_pickle
from messages.case import Case, again, typed
from messages.faults import Fault, mirror, ordinary_rights, patched
from messages.material import cifar, photos, recipe
from pictorch.datasets import cifar as cifar_files

TRAIN = "train small.yaml -q --out out --set train.batch_size=100"
BATCHES = f"{TRAIN} --data batches"
ARCHIVE = f"{TRAIN} --data archive.tar.gz"
NAMED = f"{TRAIN} --data cifar10"
MEMBER = "cifar-10-batches-py/data_batch_1"


def anew(name: str) -> Callable[[], None]:
    """Removes the copy and gets the whole one, as the message asks; the download has cases of its own."""

    def get() -> None:
        shutil.rmtree(name) if Path(name).is_dir() else Path(name).unlink()
        cifar(name) if name == "batches" else cifar("archive").rename(name)

    return get


def batch(
    name: str, names: str, data: bytes | Callable[[bytes], bytes] | None, file: str = "data_batch_1"
) -> Case:
    """A case of one batch file with other contents, or without the file."""

    def setup() -> None:
        recipe()
        path = cifar() / file
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data(path.read_bytes()) if callable(data) else data)

    return Case(name, BATCHES, 3, names, again(anew("batches")), setup)


def archive(name: str, names: str, make: Callable[[], object], fault: Fault | None = None) -> Case:
    """A case of an archive that `make` writes."""
    return Case(
        name, ARCHIVE, 3, names, again(anew("archive.tar.gz")), lambda: (recipe(), make()),
        **({"fault": fault} if fault else {}),
    )  # fmt: skip


def tar(members: dict[str, bytes]) -> Callable[[], None]:
    def write() -> None:
        with tarfile.open("archive.tar.gz", "w:gz") as packed:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                packed.addfile(member, io.BytesIO(data))

    return write


def cut_archive() -> None:
    whole = cifar("archive").read_bytes()
    Path("archive").rename("archive.tar.gz").write_bytes(whole[:-3000])


class Foreign:
    """Asks the reader of its pickle to run something."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getcwd, ()


IMAGES = np.zeros((2, 3072), np.uint8)


def pickled(**record: Any) -> bytes:
    return python2_pickle({key.encode(): value for key, value in record.items()})


# --- mirrors ----------------------------------------------------------------------------------------

CONTENT = b"x" * 5000


def sends(
    data: bytes = CONTENT, status: int = 200, length: int | None = None, **headers: str
) -> Callable[..., None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data) if length is None else length))
        request.end_headers()
        request.wfile.write(data)

    return answer


def hangs_up(request: BaseHTTPRequestHandler) -> None:
    request.close_connection = True


def mirrored(answer: Callable[[BaseHTTPRequestHandler], None] | None) -> Fault:
    """Lets the only mirror be a server of this machine; None: a port that nobody answers."""

    @contextmanager
    def fault() -> Iterator[None]:
        with mirror(answer or sends()) as address, pytest.MonkeyPatch.context() as patch:
            patch.setenv("PICTORCH_OFFLINE", "0")
            mirrors = (address if answer else "http://127.0.0.1:9/cifar-10-python.tar.gz",)
            archive = replace(cifar_files.CIFAR10, mirrors=mirrors, archive_bytes=len(CONTENT))
            patch.setattr(cifar_files, "CIFAR10", archive)
            yield

    return fault


def by_hand() -> None:
    """Puts the archive where the message says."""
    target = cifar_files.download_folder() / cifar_files.CIFAR10.archive
    target.parent.mkdir(parents=True, exist_ok=True)
    cifar("archive").rename(target)


def fetched(name: str, names: str, answer: Callable[[BaseHTTPRequestHandler], None] | None) -> Case:
    """A case of a mirror; a file that was put there by hand is then found."""
    return Case(name, NAMED, 3, names, again(by_hand), recipe, mirrored(answer))


# fmt: off
CASES = [
    batch("missing batch", "batches is incomplete, it lacks data_batch_4", None, "data_batch_4"),
    batch("batch that is cut off", "data_batch_1: damaged or truncated pickle", lambda data: data[:-100]),
    batch("batch that runs something", "posix.getcwd", pickle.dumps(Foreign(), 2)),
    batch("batch that is a list", "data_batch_1: the pickle holds no dict", python2_pickle([1])),
    batch("batch of text arrays", "array of type", pickle.dumps({"data": np.zeros(2, complex)}, 4)),
    batch("batch with a far place", "place 268,435,455 of the memo", b"\x80\x02}p268435455\n."),
    batch("batch of no shape", "whose shape is no numbers", lambda data: data.replace(b"J" + (3072).to_bytes(4, "little"), b"N", 1)),
    batch("batch of objects", "not plain numbers", pickle.dumps({"data": np.array([1], object)}, 4)),
    batch("batch that names the type of arrays", "a bare numpy.ndarray", b"cnumpy\nndarray\n)R."),
    batch("array that is too short", "bytes for an array of shape", lambda data: data.replace(b"J" + (3072).to_bytes(4, "little"), b"J" + (3073).to_bytes(4, "little"), 1)),
    batch("batch without images", "data_batch_1 has no images", pickled(labels=[0, 1])),
    batch("batch without labels", "data_batch_1 has not one label", pickled(data=IMAGES, labels=[0])),
    batch("batch with label 10", "data_batch_1 has a label that is not 0 to 9", pickled(data=IMAGES, labels=[0, 10])),
    batch("nine class names", "batches.meta has no 10 label_names", pickled(label_names=[b"cat"]), "batches.meta"),
    Case("batch without rights", BATCHES, 3, "batches/data_batch_1 cannot be read", typed(), lambda: (recipe(), (cifar() / "data_batch_1").chmod(0)), ordinary_rights),
    Case("batch of 100 MB", BATCHES, 3, "batches/batches.meta is too large", again(lambda: None), lambda: (recipe(), cifar()), patched(cifar_files, "_LARGEST_BATCH_BYTES", 50)),
    archive("archive that is cut off", "archive.tar.gz: damaged or truncated archive", cut_archive),
    archive("archive of something else", "archive.tar.gz holds no batches", tar({"readme.txt": b"hello"})),
    archive("archive that lacks batches", "it lacks data_batch_2", tar({MEMBER: MadeCifar(2).files["data_batch_1"]})),
    archive("archive with a batch of 100 MB", "data_batch_1 is too large", tar({MEMBER: b"0" * 60}), patched(cifar_files, "_LARGEST_BATCH_BYTES", 50)),
    Case("official archive without rights", NAMED, 3, "data/cifar-10-python.tar.gz cannot be read", typed(), lambda: (recipe(), Path("data").mkdir(), cifar("archive").rename("data/cifar-10-python.tar.gz").chmod(0)), ordinary_rights),
    Case("another folder called cifar10", NAMED, 3, "data/cifar10 is not CIFAR-10", typed(), lambda: (recipe(), Path("data").mkdir(), photos("data/cifar10"))),
    Case("no network allowed", NAMED, 3, "PICTORCH_OFFLINE forbids", again(by_hand), recipe),
    fetched("mirror without the file", "HTTP 404 Not Found", sends(b"", 404)),
    fetched("mirror that nobody answers", "Connection refused", None),
    fetched("mirror that hangs up", "Remote end closed connection", hangs_up),
    fetched("mirror that ends early", "ends after 0 of 5,000 bytes", sends(b"")),
    fetched("mirror that sends on elsewhere", "sends on to ftp://", sends(b"", 302, Location="ftp://127.0.0.1/x")),
    fetched("mirror that sends too much", "sends more than 5,000 bytes", sends(CONTENT * 2)),
    fetched("mirror that sends another file", "sends another file", sends()),
]
# fmt: on
