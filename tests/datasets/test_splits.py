"""The division: disjoint, covering, stratified, and a function of split_seed alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_data import write_classes
from pictorch.datasets import ImageSet, Splits, load_splits
from pictorch.datasets.splits import describe_splits, divide, split_hashes
from pictorch.datasets.store import Store
from pictorch.errors import DataError
from pictorch.recipe import DataSection

SHARES = st.sampled_from([0.0, 0.05, 0.1, 0.25, 1 / 3, 0.5])


def made_store(labels: dict[str, list[int]]) -> Store:
    joined = np.array([label for part in labels.values() for label in part], dtype=np.int64)
    images = np.arange(len(joined) * 12, dtype=np.int64).astype(np.uint8).reshape(-1, 2, 2, 3)
    names = tuple(f"class {label}" for label in range(int(joined.max()) + 1))
    counts = {name: len(part) for name, part in labels.items()}
    return Store(images, joined, names, counts, "0" * 64, ())


def section(**data: object) -> DataSection:
    return DataSection.model_validate({"source": "x", **data})


def rows(split: ImageSet | None) -> set[int]:
    return set() if split is None else set(split.indices.tolist())


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=120),
    SHARES,
    SHARES,
    st.integers(0, 2**40),
)
@settings(max_examples=150)
def test_disjoint_covering_and_stratified(labels: list[int], val: float, test: float, seed: int) -> None:
    store = made_store({"train": labels})
    data = section(val_fraction=val, test_fraction=test, split_seed=seed)
    sizes = np.bincount(labels)
    if sizes.max() < 2 and (val or test):
        with pytest.raises(DataError, match=r"data\.(val|test)_fraction needs"):
            divide(store, data, "here")
        return
    if sizes.max() < 4 and val and test:
        return  # may or may not be enough for both
    splits = divide(store, data, "here")
    parts = [rows(splits.train), rows(splits.val), rows(splits.test)]
    assert sum(len(part) for part in parts) == len(labels)
    assert set.union(*parts) == set(range(len(labels)))
    assert (splits.val is None, splits.test is None) == (val == 0, test == 0)
    for label, size in enumerate(sizes):
        in_train, in_val, in_test = (sum(labels[row] == label for row in part) for part in parts)
        assert in_train >= min(size, 1)
        for taken, share, whole in ((in_test, test, size), (in_val, val, size - in_test)):
            assert taken == 0 if share == 0 else abs(taken - whole * share) <= 0.5 or taken in (1, whole - 1)
            assert taken >= 1 or share == 0 or whole < 2


@given(st.integers(0, 2**62), st.permutations([0, 1, 2]))
@settings(max_examples=20)
def test_the_same_for_any_order_of_calls(seed: int, order: list[int]) -> None:
    store = made_store({"train": [0, 1, 2] * 20})
    recipes = [
        section(split_seed=seed),
        section(split_seed=seed + 1),
        section(split_seed=seed, test_fraction=0.0),
    ]
    straight = [split_hashes(divide(store, data, "")) for data in recipes]
    mixed = {place: split_hashes(divide(store, recipes[place], "")) for place in order}
    assert [mixed[place] for place in range(3)] == straight
    assert straight[0] != straight[1]


def test_the_division_of_a_seed_never_changes() -> None:
    """Old runs must find their validation images again."""
    splits = divide(made_store({"train": [0, 1] * 10}), section(split_seed=7), "")
    assert (sorted(rows(splits.val)), sorted(rows(splits.test))) == ([8, 13], [2, 19])


def test_val_and_test_are_drawn_apart() -> None:
    store = made_store({"train": [0, 1] * 100})
    both = divide(store, section(val_fraction=0.2, test_fraction=0.2), "")
    only_val = divide(store, section(val_fraction=0.2, test_fraction=0.0), "")
    only_test = divide(store, section(val_fraction=0.0, test_fraction=0.2), "")
    assert rows(both.test) == rows(only_test.test)
    overlap = len(rows(only_val.val) & rows(only_test.test))
    assert 0 < overlap < 25


def test_own_parts_are_used_in_place_of_carving() -> None:
    store = made_store({"train": [0, 1] * 10, "val": [0, 1, 1], "test": [1, 0]})
    splits = divide(store, section(val_fraction=0.1, test_fraction=0.1), "")
    assert [len(splits.named()[name]) for name in ("train", "val", "test")] == [20, 3, 2]
    assert splits.val is not None
    assert splits.test is not None
    assert splits.val.labels[splits.val.indices].tolist() == [0, 1, 1]
    assert np.array_equal(splits.test.images, store.images[23:])
    assert np.shares_memory(splits.train.images, store.images)


def test_without_validation_an_own_val_part_trains_too() -> None:
    store = made_store({"train": [0, 1] * 10, "val": [1, 1], "test": [1, 0]})
    splits = divide(store, section(val_fraction=0.0), "")
    assert splits.val is None
    assert splits.train.labels[splits.train.indices].tolist() == [0, 1] * 10 + [1, 1]
    assert np.array_equal(splits.train.images, store.images[:22])


def test_too_few_images_to_divide() -> None:
    with pytest.raises(DataError, match=r"data\.test_fraction needs"):
        divide(made_store({"train": [0, 1, 2]}), section(), "")


def grouped(labels: list[int], groups: list[int]) -> Store:
    return replace(made_store({"train": labels}), groups=np.array(groups, dtype=np.int64))


LABELS_AND_GROUPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=150)


@given(LABELS_AND_GROUPS, SHARES, SHARES, st.integers(0, 2**40))
@settings(max_examples=60)
def test_groups_are_never_divided(images: list[tuple[int, int]], val: float, test: float, seed: int) -> None:
    labels, groups = [label for label, _ in images], [group for _, group in images]
    store, data = grouped(labels, groups), section(val_fraction=val, test_fraction=test, split_seed=seed)
    groups_of = {label: {group for one, group in images if one == label} for label in labels}
    try:
        splits = divide(store, data, "here")
    except DataError:  # no class has groups enough for both, which has a test of its own
        return
    assert split_hashes(splits) == split_hashes(divide(store, data, "here"))
    parts = [rows(splits.train), rows(splits.val), rows(splits.test)]
    assert sum(map(len, parts)) == len(images)
    assert set.union(*parts) == set(range(len(images)))
    for group in set(groups):
        assert sum(any(groups[row] == group for row in part) for part in parts) == 1
    for label, own in groups_of.items():
        assert any(labels[row] == label for row in parts[0])
        if len(own) == 1:
            assert not any(labels[row] == label for part in parts[1:] for row in part)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=100), SHARES, SHARES, st.integers(0, 2**40))
@settings(max_examples=50)
def test_groups_of_one_image_change_nothing(labels: list[int], val: float, test: float, seed: int) -> None:
    data = section(val_fraction=val, test_fraction=test, split_seed=seed)
    try:
        alone = split_hashes(divide(made_store({"train": labels}), data, ""))
    except DataError:
        return
    assert split_hashes(divide(grouped(labels, list(range(len(labels)))), data, "")) == alone


def test_small_groups_keep_the_shares_of_the_classes() -> None:
    """50 groups of 2 to 6 images of two classes: each class gives its share, to two images."""
    draw = np.random.default_rng(0)
    sizes = draw.integers(2, 7, 50).tolist()
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    labels = draw.integers(0, 2, len(groups)).tolist()
    for seed in range(20):
        data = section(val_fraction=0.2, test_fraction=0.2, split_seed=seed)
        splits = divide(grouped(labels, groups), data, "")
        for label in (0, 1):
            whole = labels.count(label)
            tested, judged = (sum(labels[row] == label for row in rows(part))
                              for part in (splits.test, splits.val))  # fmt: skip
            assert abs(tested - 0.2 * whole) <= 2
            assert abs(judged - 0.2 * (whole - tested)) <= 2


def test_the_division_of_groups_never_changes() -> None:
    store = grouped([0, 1] * 12, [row // 3 for row in range(24)])
    splits = divide(store, section(split_seed=7), "")
    assert (sorted(rows(splits.val)), sorted(rows(splits.test))) == ([6, 7, 8], [0, 1, 2])


def test_large_groups_are_taken_where_a_class_would_have_none() -> None:
    splits = divide(grouped([0] * 30 + [1] * 30, [row // 10 for row in range(60)]), section(), "")
    for part in splits.named().values():
        assert part.labels[part.indices].tolist() == [0] * 10 + [1] * 10
    with pytest.raises(DataError, match=r"no class has the two groups that data\.val_fraction needs"):
        divide(grouped([0] * 20 + [1] * 20, [row // 10 for row in range(40)]), section(), "")


def test_train_seed_cannot_matter_and_split_seed_does(tmp_path: Path) -> None:
    folder = write_classes(tmp_path, {"a": 20, "b": 20}, side=2)

    def loaded(seed: int) -> Splits:
        return load_splits(DataSection(source=str(folder), split_seed=seed))

    assert split_hashes(loaded(0)) == split_hashes(loaded(0))
    assert split_hashes(loaded(0)) != split_hashes(loaded(1))
    assert loaded(0).fingerprint == loaded(1).fingerprint


def test_the_record_for_data_json(tmp_path: Path) -> None:
    folder = write_classes(tmp_path, {"a": 20, "b": 10}, side=4)
    splits = load_splits(DataSection(source=str(folder), image_size=16))
    record = describe_splits(splits, str(folder))
    assert json.loads(json.dumps(record)) == record
    assert record["counts"] == {"train": 24, "val": 3, "test": 3}
    assert record["class_counts"] == {"train": [16, 8], "val": [2, 1], "test": [2, 1]}
    assert record["class_names"] == ["a", "b"]
    assert record["split_hashes"] == split_hashes(splits)
    assert len(set(record["split_hashes"].values())) == 3
    assert (record["input"]["stored_size"], record["input"]["image_size"]) == (4, 16)
    assert record["fingerprint"] == splits.fingerprint
    assert record["origin"] == f"image folder {folder}"
    train_only = load_splits(DataSection(source=str(folder), val_fraction=0.0, test_fraction=0.0))
    assert describe_splits(train_only, "x")["counts"] == {"train": 30, "val": 0, "test": 0}
