"""A GPU that is really full."""

from typing import Any

import pytest
import torch

from pictorch.errors import ResourceError
from pictorch.training.console import Console
from pictorch.training.start import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_a_full_gpu_says_what_to_try_and_that_works() -> None:
    recipe: dict[str, Any] = {
        "name": "large",
        "data": {"source": "digits", "image_size": 64},
        "model": {"name": "cifar10_cnn"},
        "optimizer": {"lr": 0.01},
        "train": {"epochs": 1, "batch_size": 1024, "device": "cuda", "precision": "float32"},
    }
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(1.5e9 / whole)
    try:
        with pytest.raises(ResourceError) as caught:
            train(recipe, console=Console("quiet"))
        message = str(caught.value)
        assert "out of memory on cuda with train.batch_size 1024 in 1 part (peak " in message
        assert "`--set train.accumulate=2`" in message
        torch.cuda.empty_cache()
        assert train(recipe, set={"train.accumulate": 32}, console=Console("quiet")).epochs == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
