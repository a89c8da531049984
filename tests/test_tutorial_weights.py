"""Files that the tutorials' scripts save: they load, answer bit for bit alike, and become bundles."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pictorch import cli
from pictorch.images import InputSpec
from pictorch.networks import build_network
from pictorch.networks.state_dicts import read_state_dict
from pictorch.networks.weights import load_weights
from pictorch.recipe import ModelSection

SCRIPTS = Path(__file__).parent / "tutorial_scripts"

pytestmark = pytest.mark.slow


@pytest.fixture
def single_thread() -> Any:
    """Sums are added in one order, as in the scripts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def saved_by(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Returns a function that gives the folder in which a script saved its files; each is run once."""

    @cache
    def run_script(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        text = (SCRIPTS / f"{name}.py").read_text()
        assert "pictorch" not in text
        command = [sys.executable, "-I", str(SCRIPTS / f"{name}.py"), str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return folder

    return run_script


@pytest.mark.parametrize(
    ("script", "network", "file", "answers", "side"),
    [
        ("a_full_pipeline", "cifar10_cnn", "checkpoint_epoch0.pth", "answers.pt", 32),
        ("b_alexnet", "alexnet", "alexnet_epoch_1.pth", "answers.pt", 256),
        ("c_framework", "lenet", "cifar_net.pth", "answers.pt", 32),
        ("d1_small_cnn", "small_bn_cnn", "notebook_best.pth", "notebook_answers.pt", 32),
        ("d1_small_cnn", "small_bn_cnn", "text_best.pth", "text_answers.pt", 32),
        ("d2_resnet34", "resnet34", "resnet34_best.pth", "answers.pt", 32),
        ("e_simple", "simple_net", "simple.pth", "answers.pt", 32),
    ],
)
@pytest.mark.usefixtures("single_thread")
def test_its_logits_are_theirs_bit_for_bit(
    script: str, network: str, file: str, answers: str, side: int, saved_by: Callable[[str], Path]
) -> None:
    folder = saved_by(script)
    ours = build_network(ModelSection(name=network), 10, InputSpec(32, side)).network.eval()
    table = load_weights(ours, read_state_dict(folder / file))
    assert {status for _, status in table.rows} == {"loaded"}
    theirs = torch.load(folder / answers, weights_only=True)
    with torch.inference_mode():
        assert torch.equal(ours(theirs["images"]), theirs["logits"])


def test_what_the_last_step_of_the_transfer_keeps_of_imagenet(saved_by: Callable[[str], Path]) -> None:
    """Its first convolution and last layer are new, the rest is torchvision's."""
    folder = saved_by("d2_resnet34")
    model = ModelSection(name="resnet34", stem_weights="new", head_weights="new")
    ours = build_network(model, 10, InputSpec(32, 32)).network
    drawn = ours.get_submodule("conv1").weight.clone()
    table = load_weights(ours, read_state_dict(folder / "original.pth"), stem="new", head="new")
    assert [name for name, status in table.rows if status == "new"] == [
        "conv1.weight",
        "fc.weight",
        "fc.bias",
    ]
    assert torch.equal(ours.get_submodule("conv1").weight, drawn)
    theirs = torch.load(folder / "resnet34_best.pth", weights_only=True)
    kept = [name for name in theirs if not name.startswith(("conv1.", "fc."))]
    assert all(torch.equal(ours.state_dict()[name], theirs[name]) for name in kept)


def test_a_tutorials_file_is_converted_judged_shown_exported_and_verified(
    saved_by: Callable[[str], Path], tmp_path: Path
) -> None:
    from made_data import MadeCifar
    from pictorch.bundle import open_bundle
    from pictorch.predictor import Predictor

    file = str(saved_by("d1_small_cnn") / "text_best.pth")
    MadeCifar(per_batch=40).write_batches(tmp_path / "data")
    made = ["convert", file, "--model", "small_bn_cnn", "--data", "data/cifar-10-batches-py"]
    for command in (
        [*made, "--out", "run"],
        ["evaluate", "run", "--split", "test"],
        ["report", "run"],
        ["export", "run"],
        ["verify", "run"],
        ["train", "--resume", "run", "--epochs", "1", "-q"],
    ):
        assert cli.main(command) == 0, command
    # The images only went through division by 255, as the tutorial's recipe says.
    bundle = open_bundle("run/bundle")
    images, _ = bundle.golden()
    theirs = build_network(ModelSection(name="small_bn_cnn"), 10, InputSpec(32, 32)).network.eval()
    load_weights(theirs, read_state_dict(file))
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images).permute(0, 3, 1, 2) / 255).softmax(1)
    torch.testing.assert_close(
        torch.from_numpy(Predictor(bundle).probabilities(images)), expected, atol=1e-5, rtol=0
    )
