"""Where the made-up runs of these tests lie."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from made_run import make_run as make_run_in
from pictorch.run_folder import RunFolder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Returns a function that makes a run; its keywords change the records or leave them out."""
    return functools.partial(make_run_in, tmp_path)
