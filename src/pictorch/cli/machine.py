"""The commands that look at the machine: doctor, and profile, which looks at a training on it."""

import argparse
import os
from typing import TYPE_CHECKING, Any

from pictorch.cli.output import console_of, print_json, print_table, rich_console
from pictorch.cli.parser import AddVerb

if TYPE_CHECKING:
    from pictorch.benchmarking.profiling import Profile
    from pictorch.diagnosis import Diagnosis

PLAIN, GOOD, OPEN, BAD = " ", "✓", "–", "!"

# Name, mark, and the pieces of text, some with a style, that follow it.
Rows = list[tuple[str, str, list[Any]]]


def add(verb: AddVerb) -> None:
    """Adds doctor and profile."""
    doctor = verb("doctor", _doctor, "show what this machine offers to pictorch, and what to do next")
    doctor.add_argument(
        "--build-kernels",
        action="store_true",
        help="compile the convolution kernels for this CPU first, in less than a minute",
    )

    profile = verb("profile", _profile, "show where time and memory of a training step go")
    profile.add_argument("recipe", metavar="RECIPE", help="what `pictorch train` takes")
    profile.add_argument("--data", metavar="SOURCE", help="images, as for train (data.source)")
    profile.add_argument("--steps", type=int, default=20, metavar="N", help="steps to measure (default: 20)")
    profile.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change a field of the recipe"
    )
    profile.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), help="where to train (train.device)"
    )
    profile.add_argument("--seed", type=int, metavar="N", help="seed of every random draw (train.seed)")
    profile.add_argument("--out", metavar="DIR", help="folder of the trace (default: profiles/RECIPE-NNN)")


def _doctor(args: argparse.Namespace) -> None:
    from pictorch.diagnosis import doctor

    found = doctor(build_kernels=args.build_kernels)
    if args.json:
        return print_json(found.to_json())
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    sections = {
        "Machine": _machine(found),
        "Convolution kernels": _kernels(found),
        "Versions": _versions(found),
        "Images": _data(found),
        "Optional parts": _parts(found),
        "Room": _room(found),
        "What auto becomes": _auto(found),
    }
    for title, rows in sections.items():
        grid.add_row(Text(title, "bold default"))
        for name, mark, value in rows:
            color = {GOOD: "green", OPEN: "dim", BAD: "yellow"}.get(mark, "")
            grid.add_row(f"  {name} ", Text(mark, color), Text.assemble(*value))
    console = rich_console()
    console.print(grid)
    for remark in found.remarks:
        console.print(Text(f"{BAD} {remark}", "yellow"))
    console.print(Text(f"\n{found.advice}", "bold"), soft_wrap=True)
    return None


def _machine(found: "Diagnosis") -> Rows:
    processor = found.processor
    quota, policy = processor["quota_cpus"], processor["omp_wait_policy"]
    cores = f"{processor['physical_cores']} physical, {processor['cpus_allowed']} logical CPUs allowed"
    keeps = processor["keeps_freed_memory"]
    kept = "freed memory is kept" if keeps else "freed memory is given back, only glibc can keep it"
    worth = _worth(processor["keeping_measured"])
    rows: Rows = [
        ("processor", PLAIN, [", ".join([processor["name"], *processor["instruction_sets"]])]),
        ("cores", PLAIN, [cores, "" if quota is None else f", quota of {quota:g} CPUs"]),
        ("load", BAD if processor["is_busy"] else GOOD, [f"{processor['load']:.0%} in the last minute"]),
        ("OMP_WAIT_POLICY", PLAIN, [policy or "not set: waiting threads spin"]),
        ("allocator", GOOD if keeps else OPEN, [f"{processor['allocator']}, {kept}", *worth]),
    ]
    for device in found.devices:
        memory = f", {_gigabytes(device['memory_bytes'])}" if "memory_bytes" in device else ""
        rows.append((device["device"], GOOD, [f"{device['name']}, {device['capability']}{memory}"]))
    return rows


def _kernels(found: "Diagnosis") -> Rows:
    from pictorch.kernels.measurements import OTHERS

    kernels = found.kernels
    compiler, problem = kernels["compiler"], kernels["problem"]
    seconds = "" if kernels["seconds"] is None else f" in {kernels['seconds']:.1f} s"
    if problem:
        rows: Rows = [("kernels", OPEN, [problem])]
    elif kernels["built"] is None:
        when = "not built; the first training that is long enough does it"
        rows = [("kernels", OPEN, [f"{when}, or\npictorch doctor --build-kernels"])]
    else:
        form = kernels["instruction_set"] or "which form, only torch can tell"
        made = "came with the wheel" if kernels["in_wheel"] else f"built{seconds}"
        rows = [("kernels", GOOD, [f"{made}, {form}\n{kernels['built']}"])]
    if compiler is not None:
        command = " ".join([compiler["path"], *compiler["arguments"]])
        rows.append(("compiler", PLAIN, [f"{command}: {compiler['version']}"]))
    for settings, kinds in kernels["measurements"].items():
        rows.append(("measured", PLAIN, [settings]))
        for what, times in (row for kind in kinds.values() for row in kind.items()):
            others = times.get(OTHERS)
            busy = "" if others is None else f", while other programs took {others:.1f} CPUs"
            each = ", ".join(f"{form} {1000 * one:,.1f} ms" for form, one in times.items() if form != OTHERS)
            rows.append(("", PLAIN, [what, (f"\n{each}{busy}", "dim")]))
    return rows


def _versions(found: "Diagnosis") -> Rows:
    known = [f"{name} {version}" for name, version in found.versions.items() if version]
    return [("installed", PLAIN, [", ".join(known)])]


def _data(found: "Diagnosis") -> Rows:
    rows: Rows = []
    for source in found.data:
        if source["problem"]:
            rows.append((source["name"], BAD, [source["problem"]]))
        elif source["found"]:
            rows.append((source["name"], GOOD, [source["found"]]))
        else:
            looked = f", looked in {', '.join(source['looked_in'])}" if source["looked_in"] else ""
            rows.append((source["name"], OPEN, [f"not here{looked}"]))
    return rows


def _parts(found: "Diagnosis") -> Rows:
    return [
        (part["extra"], OPEN, [f"lacks {', '.join(part['missing'])}\n{part['install']}"])
        if part["missing"]
        else (part["extra"], GOOD, ["installed"])
        for part in found.parts
    ]


def _room(found: "Diagnosis") -> Rows:
    memory = found.memory
    free = f"{_gigabytes(memory['free_bytes'])} free of {_gigabytes(memory['total_bytes'])}"
    rows: Rows = [("memory", PLAIN, [free])]
    for place in found.disk:
        taken = f"{_gigabytes(place['taken_bytes'])} taken, {_gigabytes(place['free_bytes'])} free"
        rows.append((place["what"], PLAIN, [f"{taken}, {os.path.join(place['folder'], '')}"]))
    return rows


def _auto(found: "Diagnosis") -> Rows:
    from pictorch.formats import plain

    rows: Rows = []
    for path, choice in found.auto.items():
        rule = choice["reason"].removeprefix("auto: ")
        value = [(plain(choice["value"]), "bold"), f": {rule}", *_worth(choice["measured"])]
        rows.append((path, PLAIN, value))
    return rows or [("recipe fields", OPEN, ["only torch can tell"])]


def _worth(measured: str | None) -> list[tuple[str, str]]:
    return [] if measured is None else [(f"\n{measured}", "dim")]


def _gigabytes(size_bytes: Any) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e9:,.1f} GB"


def _profile(args: argparse.Namespace) -> None:
    from pictorch.benchmarking.profiling import profile

    found = profile(
        args.recipe,
        data=args.data,
        steps=args.steps,
        set=args.set,
        device=args.device,
        seed=args.seed,
        out=args.out,
        console=console_of(args),
    )
    if args.json:
        return print_json(found.to_json())
    print(
        f"{found.recipe} on {found.device} ({found.precision}), {found.batch_size} images a step: "
        f"{found.step_milliseconds:.4g} ms, {found.images_per_second:,.0f} images/s; "
        f"under the profiler {found.profiled_step_milliseconds:.4g} ms\n"
    )
    for table in _profile_tables(found):
        print_table(table)
        print()
    print(f"trace   {found.trace} (open it in https://ui.perfetto.dev)\n")
    print(f"{found.sentence}.")
    return None


def _profile_tables(found: "Profile") -> list[Any]:
    from rich.table import Table

    from pictorch.formats import percent

    parts, operators = (Table(head, box=None, pad_edge=False) for head in ("part of a step", "operator"))
    for title in ("ms", "share", "MB allocated", "MB kept"):
        parts.add_column(title, justify="right")
    for part in found.parts:
        sizes = (f"{round(size / 1e6, 1) + 0.0:,.1f}" for size in (part.allocated_bytes, part.kept_bytes))
        parts.add_row(part.name, f"{part.milliseconds:,.2f}", percent(part.share, 1), *sizes)
    for title in ("calls", "own ms", "share"):
        operators.add_column(title, justify="right")
    for one in found.operators:
        operators.add_row(one.name, f"{one.calls:g}", f"{one.milliseconds:,.2f}", percent(one.share, 1))
    return [parts, operators]
