"""What torch's profiler recorded, as the parts of a step and the operators in them."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.profiler import DeviceType

from pictorch.benchmarking.bottleneck import Operator, Part
from pictorch.training.regions import PREFIX, REGIONS, STEP

# What `.item()`, float(), bool() and int() of a tensor end in.
_ITEM = "aten::_local_scalar_dense"


@dataclass(frozen=True)
class Records:
    """The mean step: its length, its parts with the rest last, its operators with the largest first.

    `items` counts the calls of `.item()` in the network and the loss, forward and backward; the loop itself
    makes none there.
    """

    step_milliseconds: float
    parts: tuple[Part, ...]
    operators: tuple[Operator, ...]
    items: float


def records_of(events: Sequence[Any], steps: int, *, on_cuda: bool) -> Records:
    """Returns what the profiler's events (FunctionEvent) say of the last `steps` steps.

    One more comes before them, with the start of the profiler in it. An operator belongs to the part in
    whose time it begins, whichever thread it runs in.
    """
    on_host = [event for event in events if event.device_type == DeviceType.CPU]
    begin = sorted(e.time_range.start for e in on_host if e.name == PREFIX + STEP)[-steps]
    on_host = [event for event in on_host if event.time_range.start >= begin]
    windows = [event for event in on_host if event.name.startswith(PREFIX) and event.name != PREFIX + STEP]
    windows.sort(key=lambda event: event.time_range.start)
    starts = [event.time_range.start for event in windows]
    allocated, items, calls = Counter[str](), 0, Counter[str]()
    times: defaultdict[str, Counter[str]] = defaultdict(Counter)  # of each operator, by part
    for event in on_host:
        if not event.is_user_annotation:
            place = bisect_right(starts, event.time_range.start) - 1
            inside = place >= 0 and event.time_range.start <= windows[place].time_range.end
            part = windows[place].name.removeprefix(PREFIX) if inside else "rest"
            own_time = event.self_device_time_total if on_cuda else event.self_cpu_time_total
            memory = event.self_device_memory_usage if on_cuda else event.self_cpu_memory_usage
            calls[event.name] += 1
            times[part][event.name] += own_time
            allocated[part] += max(0, memory)
            items += event.name == _ITEM and part in ("forward", "backward")
    step_us = sum(event.cpu_time_total for event in on_host if event.name == PREFIX + STEP) / steps
    parts = []
    for name in REGIONS:
        of_part = [event for event in windows if event.name == PREFIX + name]
        part_us = sum(event.cpu_time_total for event in of_part) / steps
        outside_us = sum(event.self_cpu_time_total for event in of_part) / steps
        kept = sum(e.device_memory_usage if on_cuda else e.cpu_memory_usage for e in of_part) // steps
        busiest = times[name].most_common(1)[0][0] if times[name] else ""
        figures = part_us / 1000, part_us / step_us, allocated[name] // steps, kept, outside_us / part_us
        parts.append(Part(name, *figures, busiest))
    share = 1 - sum(part.share for part in parts)
    parts.append(Part("rest", share * step_us / 1000, share, allocated["rest"] // steps, 0, 1.0, ""))
    summed = sum(times.values(), Counter[str]())
    total = summed.total() or 1
    operators = tuple(
        Operator(name, calls[name] / steps, own_time / steps / 1000, own_time / total)
        for name, own_time in summed.most_common()
    )
    return Records(step_us / 1000, tuple(parts), operators, items / steps)
