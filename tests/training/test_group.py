"""What a group divides, and what it refuses before anything is made."""

from itertools import chain

import pytest

from pictorch import load_recipe
from pictorch.errors import RecipeError
from pictorch.training.group import ALONE, Group, check_holds


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_the_parts_of_all_processes_are_everything_once(world: int) -> None:
    for count in (0, 1, 3, 10, 162):
        parts = [list(range(count))[Group(rank, world).part_of(count)] for rank in range(world)]
        assert list(chain(*parts)) == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("field", "device", "refused"),
    [
        ("compile", "cpu", True),
        ("compile", "cuda", True),
        ("cuda_graph", "cuda", True),
        ("cuda_graph", "cpu", False),
        ("channels_last", "cpu", False),
    ],
)
def test_a_group_refuses_what_it_would_switch_off(field: str, device: str, refused: bool) -> None:
    section = load_recipe("digits", {f"train.{field}": True}).train
    check_holds(ALONE, section, device)
    if not refused:
        return check_holds(Group(is_joined=True), section, device)
    with pytest.raises(RecipeError, match=f"train.{field}: true .*; give `--set train.{field}=auto`"):
        check_holds(Group(is_joined=True), section, device)
    return None
