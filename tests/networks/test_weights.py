"""Weights put into networks: what is loaded, adapted, new and unused, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pictorch.errors import CheckpointError
from pictorch.images import InputSpec
from pictorch.networks import build_network
from pictorch.networks.state_dicts import StateDict
from pictorch.networks.weights import WeightsTable, _resampled, difference, load_weights
from pictorch.recipe import ModelSection

CLASSES = tuple("abcdefghij")


def ours(name: str, num_classes: int = 10, **options: Any) -> nn.Module:
    spec = InputSpec(stored_size=32, image_size=32)
    return build_network(ModelSection(name=name, **options), num_classes, spec).network.eval()


def stored(network: nn.Module, **facts: Any) -> StateDict:
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return StateDict(tensors, "their.pth", "0" * 64, **facts)


def statuses(table: WeightsTable, status: str) -> list[str]:
    return [name for name, each in table.rows if each == status]


class TheirNet(nn.Module):
    """A small network with a stem, a batch norm and a head, which is most of its values."""

    def __init__(self, num_classes: int = 10, kernel: int = 3, hidden: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(4)
        self.hidden = nn.Linear(4, hidden)
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(F.relu(self.hidden(self.norm(self.stem(x)).mean((2, 3)))))
        return logits


def test_all_is_loaded_where_all_fits() -> None:
    theirs, network = TheirNet(), TheirNet()
    theirs(torch.randn(4, 3, 8, 8))
    table = load_weights(network, stored(theirs))
    assert {status for _, status in table.rows} == {"loaded"}
    assert table.share == 1
    assert table.in_words() == f"{len(table.rows)} loaded (100.0 % of the values)"
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network.eval()(images), theirs.eval()(images))
    assert difference(network, stored(theirs)) is None


def test_counters_of_batch_norms_do_not_matter() -> None:
    theirs, network = stored(TheirNet()), TheirNet()
    less = {name: value for name, value in theirs.tensors.items() if "num_batches" not in name}
    more = {**theirs.tensors, "other.num_batches_tracked": torch.tensor(3)}
    for tensors in (less, more):
        given = replace(theirs, tensors=tensors)
        assert {status for _, status in load_weights(network, given).rows} == {"loaded"}
        assert difference(network, given) is None


class Holder(nn.Module):
    """An own network whose layer is called as wrappers call theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.module = TheirNet()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.module(x)
        return logits


def wrapped(given: StateDict, prefix: str) -> StateDict:
    return replace(given, tensors={f"{prefix}{name}": value for name, value in given.tensors.items()})


@pytest.mark.parametrize("make", [TheirNet, Holder])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_what_wrappers_put_before_names_is_taken_off(make: type[nn.Module], prefix: str) -> None:
    theirs, network = make(), make()
    given = wrapped(stored(theirs), prefix)
    assert difference(network, given) is None
    assert load_weights(network, given).counts == {"loaded": 11}
    assert all(torch.equal(value, theirs.state_dict()[n]) for n, value in network.state_dict().items())


def test_averages_of_torch_are_loaded() -> None:
    theirs, network = TheirNet(), TheirNet()
    average = torch.optim.swa_utils.AveragedModel(theirs)
    assert load_weights(network, stored(average)).counts == {"loaded": 11}
    assert torch.equal(network.head.weight, theirs.head.weight)


def test_names_with_and_without_a_prefix_are_different_tensors() -> None:
    theirs, network = stored(TheirNet()), TheirNet()
    tensors = {**theirs.tensors, "module.head.bias": torch.ones(10)}
    table = load_weights(network, replace(theirs, tensors=tensors))
    assert statuses(table, "unused") == ["module.head.bias"]
    assert torch.equal(network.head.bias, theirs.tensors["head.bias"])


def test_names_of_a_strangers_file_are_escaped_and_cut() -> None:
    theirs, network = stored(TheirNet()), TheirNet()
    for name, says in (("a\nb\x1b[31mRED", r"a\nb\x1b[31mRED"), ("n" * 3000, "n" * 59 + "…")):
        given = replace(theirs, tensors={**theirs.tensors, name: torch.ones(2)})
        assert difference(network, given) == f"the network has no {says}"
        table = load_weights(network, given)
        assert statuses(table, "unused") == [says]
        assert table.to_json()["rows"] == [[says, "unused"]]


@pytest.mark.parametrize("name", ["stem.weight", "hidden.weight", "head.bias"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.bool])
def test_integers_are_no_weights(name: str, dtype: torch.dtype) -> None:
    given = stored(TheirNet(kernel=5))
    given = replace(given, tensors={**given.tensors, name: given.tensors[name].to(dtype)})
    with pytest.raises(CheckpointError, match=rf"^their\.pth holds {name} as (int8|bool); save its weights"):
        load_weights(TheirNet(), given)


def test_integers_are_loaded_where_the_network_has_them() -> None:
    theirs, network = TheirNet(), TheirNet()
    for each, value in ((theirs, 3), (network, 0)):
        each.register_buffer("places", torch.full((4,), value))
        each.register_buffer("mask", torch.full((4,), bool(value)))
    load_weights(network, stored(theirs))
    assert network.state_dict()["places"].tolist() == [3] * 4
    assert network.state_dict()["mask"].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_arithmetic_is_converted(dtype: torch.dtype) -> None:
    theirs = TheirNet()
    given = replace(stored(theirs), tensors={n: t.to(dtype) for n, t in theirs.state_dict().items()})
    network = TheirNet().double()
    load_weights(network, given)
    assert torch.equal(network.hidden.weight, theirs.hidden.weight.to(dtype).double())


def test_a_layer_of_another_shape_is_new() -> None:
    network = TheirNet(hidden=8)
    given = stored(network)
    tensors = {**given.tensors, "norm.weight": torch.ones(5), "more.weight": torch.ones(2)}
    drawn = network.norm.weight.detach().clone()
    table = load_weights(network, replace(given, tensors=tensors))
    assert statuses(table, "new") == ["norm.weight"]
    assert statuses(table, "unused") == ["norm.weight", "more.weight"]
    assert torch.equal(network.norm.weight, drawn)
    assert 0.9 < table.share < 1
    rows = [["norm.weight", "new"], ["norm.weight", "unused"], ["more.weight", "unused"]]
    assert table.to_json() == {
        "counts": {"loaded": 10, "new": 1, "unused": 2},
        "share": table.share,
        "rows": rows,
    }


@pytest.mark.parametrize(("saved", "name"), [("cifar10_cnn", "simple_net"), ("lenet", "simple_net")])
def test_weights_of_another_network_are_refused_and_change_nothing(saved: str, name: str) -> None:
    network = ours(name)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=r"^their\.pth has \d+% of the network's values only: "
    ) as caught:
        load_weights(network, stored(ours(saved)))
    assert "conv1.weight" in str(caught.value)
    assert str(caught.value).endswith("; give the model.name that was saved there")
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


def test_weights_that_are_not_finite_are_refused() -> None:
    given = stored(TheirNet())
    given.tensors["hidden.bias"][0] = float("nan")
    with pytest.raises(CheckpointError, match=r"hidden\.bias has values that are not finite"):
        load_weights(TheirNet(), given)


# --- the stem ---------------------------------------------------------------------------------------


def test_a_stem_with_larger_kernels_is_adapted() -> None:
    theirs, network = TheirNet(kernel=7), TheirNet(kernel=3)
    table = load_weights(network, stored(theirs))
    assert table.rows[0] == ("stem.weight", "adapted")
    assert statuses(table, "unused") == []
    torch.testing.assert_close(network.stem.weight.sum((2, 3)), theirs.stem.weight.sum((2, 3)))


@pytest.mark.parametrize("kernel", [3, 7])
def test_a_stem_that_is_asked_to_be_new_stays_drawn(kernel: int) -> None:
    theirs, network = TheirNet(kernel=kernel), TheirNet(kernel=3)
    drawn = network.stem.weight.detach().clone()
    table = load_weights(network, stored(theirs), stem="new")
    assert statuses(table, "new") == statuses(table, "unused") == ["stem.weight", "stem.bias"]
    assert torch.equal(network.stem.weight, drawn)
    assert table.share == 1, "what was asked to be new is not missed"


@given(st.integers(1, 11), st.integers(1, 11))
@settings(deadline=None, max_examples=40)
def test_a_resampled_kernel_answers_an_even_image_alike(old: int, new: int) -> None:
    kernels = torch.randn(2, 3, old, old)
    resampled = _resampled(kernels, new)
    assert resampled.shape == (2, 3, new, new)
    torch.testing.assert_close(resampled.sum((2, 3)), kernels.sum((2, 3)), atol=1e-4, rtol=1e-4)
    if old == new:
        torch.testing.assert_close(resampled, kernels)


# --- the head ---------------------------------------------------------------------------------------


def test_a_head_of_as_many_unknown_classes_is_loaded() -> None:
    theirs, network = TheirNet(), TheirNet()
    load_weights(network, stored(theirs), class_names=CLASSES)
    assert torch.equal(network.head.weight, theirs.head.weight)


def test_a_head_of_other_classes_needs_to_be_asked_for() -> None:
    theirs, network = TheirNet(5), TheirNet(10)
    with pytest.raises(CheckpointError, match="last layer has 5 classes, and the data 10; draw the last"):
        load_weights(network, stored(theirs), class_names=CLASSES)
    drawn = network.head.weight.detach().clone()
    table = load_weights(network, stored(theirs), head="new", class_names=CLASSES)
    assert statuses(table, "new") == ["head.weight", "head.bias"]
    assert torch.equal(network.head.weight, drawn)
    assert torch.equal(network.hidden.weight, theirs.hidden.weight)


def test_other_classes_are_said_where_the_head_is_most_of_the_network() -> None:
    with pytest.raises(CheckpointError, match="last layer has 5 classes, and the data 60"):
        load_weights(TheirNet(60), stored(TheirNet(5)))


def test_a_head_is_adapted_by_the_names_of_its_classes() -> None:
    theirs, network = TheirNet(3), TheirNet(4)
    drawn = network.head.weight.detach().clone()
    known = stored(theirs, class_names=("fox", "cat", "dog"))
    table = load_weights(network, known, class_names=("ant", "cat", "fox", "yak"))
    assert statuses(table, "adapted") == ["head.weight", "head.bias"]
    assert torch.equal(network.head.weight[[2, 1]], theirs.head.weight[[0, 1]])
    assert torch.equal(network.head.bias[[2, 1]], theirs.head.bias[[0, 1]])
    assert torch.equal(network.head.weight[[0, 3]], drawn[[0, 3]])


def test_known_classes_are_never_taken_by_their_places() -> None:
    theirs, network = TheirNet(3), TheirNet(3)
    load_weights(network, stored(theirs, class_names=("a", "b", "c")), class_names=("c", "b", "a"))
    assert torch.equal(network.head.weight, theirs.head.weight.flip(0))
    with pytest.raises(CheckpointError, match="none of its 3 classes has the name of one of the data's 3"):
        load_weights(network, stored(theirs, class_names=("a", "b", "c")), class_names=("x", "y", "z"))


def test_a_name_that_stands_twice_is_nobodys() -> None:
    theirs, network = TheirNet(3), TheirNet(2)
    known = stored(theirs, class_names=("crane", "crane", "dog"))
    drawn = network.head.weight.detach().clone()
    load_weights(network, known, class_names=("crane", "dog"))
    assert torch.equal(network.head.weight[0], drawn[0])
    assert torch.equal(network.head.weight[1], theirs.head.weight[2])


def test_another_architecture_is_said_before_other_classes() -> None:
    theirs = {"head.weight": torch.zeros(5, 8), "head.bias": torch.zeros(5)}
    with pytest.raises(CheckpointError, match=r"0% of the network's values only: it has no stem\.weight"):
        load_weights(TheirNet(), StateDict(theirs, "their.pth", ""), class_names=CLASSES)


# --- the tutorials' and torchvision's ---------------------------------------------------------------


def test_the_small_cnn_goes_by_the_names_of_the_tutorials_text_too() -> None:
    theirs, network = ours("small_bn_cnn"), ours("small_bn_cnn")
    names = {"linear1": "fc1", "linear2": "fc2", "out": "fc3"}
    tensors = {
        ".".join([names.get(layer, layer), last]): tensor
        for layer, last, tensor in (
            (*name.split("."), value) for name, value in stored(theirs).tensors.items()
        )
    }
    table = load_weights(network, wrapped(StateDict(tensors, "their.pth", ""), "module."))
    assert {status for _, status in table.rows} == {"loaded"}
    assert torch.equal(network.get_submodule("out").weight, theirs.get_submodule("out").weight)


@pytest.mark.slow
def test_small_stems_take_torchvisions_weights() -> None:
    spec = InputSpec(stored_size=32, image_size=32)
    for name, unused in (("resnet18", 0), ("vgg11_bn", 6)):
        with torch.device("meta"):
            theirs = ours_on_meta(name)
        tensors = {key: torch.zeros(value.shape) for key, value in theirs.items()}
        network = build_network(ModelSection(name=name), 10, spec).network
        table = load_weights(network, StateDict(tensors, "their.pth", ""), head="new")
        assert table.share == 1
        assert len(statuses(table, "unused")) == (2 if unused == 0 else unused)
        assert statuses(table, "adapted") == (["conv1.weight"] if name == "resnet18" else [])


def ours_on_meta(name: str) -> dict[str, Tensor]:
    import torchvision.models

    state: dict[str, Tensor] = torchvision.models.get_model(name, weights=None).state_dict()
    return state
