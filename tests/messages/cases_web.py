"""The browser form where ONNX Runtime for browsers has not been fetched."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from messages.case import Case, succeeds
from messages.material import bundle
from pictorch.exporting import web


@contextmanager
def runtime(folder: str) -> Iterator[None]:
    """Puts another folder in the place of the one that `make web-runtime` fills."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "_RUNTIME", Path(folder))
        yield


def fetched(case: Case, message: str) -> None:
    """Stands for `make web-runtime`, which needs the network; tests/browser has what it really brings."""
    assert "`make web-runtime`" in message
    Path("runtime").mkdir()
    for name in web._RUNTIME_FILES:
        Path("runtime", name).write_bytes(b"")
    with runtime("runtime"):
        succeeds(case.words)


# fmt: off
CASES = [
    Case("browser form without its runtime", "export bundle --to web --out made", 9, "ONNX Runtime for browsers is not installed", fetched, bundle, partial(runtime, "nowhere")),
]
# fmt: on
