"""The kernels, compiled once for the session; tests that ask for them are slow."""

import pytest

from pictorch.kernels.building import Unavailable, find_compiler
from pictorch.kernels.library import Kernels, open_kernels


@pytest.fixture
def kernels(own_place: None) -> Kernels:
    """The kernels of the best form that this processor can run; skips where no compiler is."""
    if isinstance(found := find_compiler(), Unavailable):
        pytest.skip(f"no kernels: {found.reason}")
    opened = open_kernels(may_build=True)
    assert isinstance(opened, Kernels), opened
    return opened
