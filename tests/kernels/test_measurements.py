"""Measurements that are kept: found again under the same settings, lost without harm."""

from pathlib import Path

from pictorch.kernels.measurements import LAYERS, NETWORKS, Kept, read


def test_what_was_measured_is_found_under_its_settings_alone(tmp_path: Path) -> None:
    kept = Kept(tmp_path, "2 threads")
    kept.put(LAYERS, "a shape", {"own": 1.0, "library": 2.0})
    assert read(tmp_path) == {}
    kept.save()
    others = Kept(tmp_path, "1 thread")
    others.put(NETWORKS, "a shape", {"own": 3.0, "library": 4.0})
    others.save()
    assert Kept(tmp_path, "2 threads").get(LAYERS, "a shape") == {"own": 1.0, "library": 2.0}
    assert Kept(tmp_path, "2 threads").get(NETWORKS, "a shape") is None
    assert Kept(tmp_path, "1 thread").get(LAYERS, "a shape") is None
    assert read(tmp_path).keys() == {"2 threads", "1 thread"}


def test_processes_that_measure_at_once_keep_both(tmp_path: Path) -> None:
    times, pair = {"own": 1.0, "library": 2.0}, [Kept(tmp_path, "2 threads") for _ in "ab"]
    for name, kept in zip("ab", pair, strict=True):
        kept.put(LAYERS, name, times)
        kept.save()
    assert read(tmp_path) == {"2 threads": {LAYERS: {"a": times, "b": times}, NETWORKS: {}}}


def test_a_file_that_cannot_be_used_counts_as_none(tmp_path: Path) -> None:
    for text in (
        "{",
        "[1]",
        '{"settings": []}',
        '{"settings": {"layers": {"a shape": 1.0}}}',
        '{"settings": {"layers": {"a shape": {"own": 1.0}}}}',
        '{"settings": {"layers": {"a shape": {"own": 1.0, "library": null}}}}',
        '{"settings": {"layers": {"a shape": {"own": 1.0, "library": NaN}}}}',
    ):
        (tmp_path / "measurements.json").write_text(text)
        assert read(tmp_path) == {}
    blocked = tmp_path / "a file"
    blocked.write_text("where the folder should be")
    kept = Kept(blocked, "settings")
    assert kept.save() is None, "there is nothing to write"
    kept.put(LAYERS, "a shape", {"own": 1.0})
    problem = kept.save()
    assert problem is not None
    assert problem.startswith(f"cannot write {blocked}")
    assert problem.endswith("in XDG_CACHE_HOME")
    assert kept.get(LAYERS, "a shape") == {"own": 1.0}


def test_what_was_taken_on_a_busy_machine_can_be_forgotten(tmp_path: Path) -> None:
    times = {"own": 1.0, "library": 2.0}
    for what, others in (("idle", 0.05), ("busy", 1.234)):
        kept = Kept(tmp_path, "settings")
        assert not kept.has_crowded
        kept.put(LAYERS, what, times)
        kept.save(others)
    assert times == {"own": 1.0, "library": 2.0}
    busy = {**times, "others": 1.23}
    assert read(tmp_path)["settings"][LAYERS] == {"idle": times, "busy": busy}
    kept = Kept(tmp_path, "settings")
    assert kept.has_crowded
    assert kept.get(LAYERS, "busy") == times
    kept.forget_crowded()
    assert kept.get(LAYERS, "busy") is None
    assert kept.get(LAYERS, "idle") == times
    assert read(tmp_path)["settings"][LAYERS].keys() == {"idle", "busy"}, "until something new is saved"
    kept.put(NETWORKS, "a network", times)
    kept.save()
    assert read(tmp_path) == {"settings": {LAYERS: {"idle": times}, NETWORKS: {"a network": times}}}
