"""What the run was made from: images, layers, recipe, environment."""

from pictorch import formats
from pictorch.markup import Content, Markup, element, group, missing, table
from pictorch.recipe.files import explain_recipe
from pictorch.reporting.bars import stack
from pictorch.reporting.records import PARTS, Records


def render_data(records: Records) -> Markup:
    """Returns where the images came from and how many of each class every split has."""
    data, classes = records.data, records.data.get("class_counts", {})
    splits = [split for split in PARTS if any(classes.get(split, []))]
    if not splits:
        counts = missing("The images of each class were not counted.")
    else:
        per_class = list(zip(*(classes[split] for split in splits), strict=True))
        largest = max(map(sum, per_class))
        rows = [
            [element("bdi", records.class_name(label)), *map(formats.count, counts), stack(counts, largest)]
            for label, counts in enumerate(per_class)
        ]
        heads = [
            group(element("span", class_=f"swatch part{place}"), PARTS[split])
            for place, split in enumerate(splits)
        ]
        counts = table(
            "Images of each class",
            ["class", *heads, "together"],
            rows,
            numeric=range(1, len(splits) + 1),
            foot=["all", *(formats.count(sum(classes[split])) for split in splits), ""],
            sortable=True,
        )
    facts = [
        ("source", data.get("source")),
        ("found", data.get("origin")),
        ("left out", _left_out(data.get("skipped", []))),
        ("fingerprint", data.get("fingerprint")),
        ("input", formats.plain(data["input"]) if data.get("input") else None),
    ]
    return group(_pairs(facts), counts)


def _left_out(skipped: list[dict[str, str]]) -> str | None:
    """Returns how many images and lines data.on_bad left out, and the first of them."""
    if not skipped:
        return None
    return f"{len(skipped):,} (all in data.json), first {skipped[0]['place']}: {skipped[0]['reason']}"


def render_layers(records: Records) -> Markup:
    """Returns the layers with output shape, parameters and multiply-adds for one image."""
    network = records.facts.get("network", {})
    if not network.get("layers"):
        return missing("The layers were not recorded.", f"pictorch models {records.recipe.model.name}")
    rows = [
        [
            layer["name"],
            layer["kind"],
            " × ".join(map(str, layer["output_shape"])),
            formats.count(layer["parameters"]),
            formats.count(layer["multiply_adds"]),
        ]
        for layer in network["layers"]
    ]
    foot = ["all", "", "", formats.count(network["parameters"]), formats.count(network["multiply_adds"])]
    heads = ["layer", "kind", "output shape", "parameters", "multiply-adds"]
    return table("Layers", heads, rows, numeric=(3, 4), foot=foot)


def render_recipe(records: Records) -> Markup:
    """Returns every field of the recipe, those that differ from their default marked."""
    rows: list[list[Content]] = []
    for field in explain_recipe(records.recipe):
        value, required = formats.plain(field["value"]), field["default"] == "required"
        differs = field["changed"] and not required
        rows.append(
            [
                field["path"],
                element("mark", value) if differs else value,
                "required" if required else formats.plain(field["default"]),
                field["description"],
            ]
        )
    box = element("input", type="checkbox", id="only-marked")
    note = element("p", element("mark", "Marked"), " values differ from their default.")
    only = element("p", element("label", box, " Show these alone"), class_="only")
    return group(note, only, table("Recipe", ["field", "value", "default", "meaning"], rows))


def render_environment(records: Records) -> Markup:
    """Returns the machine, the versions, and what each `auto` of the recipe became and why."""
    environment = records.environment
    if not environment:
        return missing("The environment was not recorded.")
    nested = ("packages", "auto", "convolutions")
    facts = [(key, formats.plain(value)) for key, value in environment.items() if key not in nested]
    if own := environment.get("convolutions"):
        facts.append(("own convolutions", f"{', '.join(own['layers'])} ({own['instruction_set']})"))
    packages = environment.get("packages", {})
    auto = environment.get("auto", {})
    return group(
        _pairs([("command", records.training_command), ("weights", _first_weights(records)), *facts]),
        element("h3", "Settings that were left to pictorch") if auto else None,
        table(
            "Automatic settings",
            ["field", "value", "reason", "measurement behind it"],
            [
                [path, formats.plain(made["value"]), made.get("reason", ""), made.get("measured", "")]
                for path, made in auto.items()
            ],
        )
        if auto
        else None,
        element("h3", "Packages") if packages else None,
        table("Packages", ["package", "version"], [[name, version] for name, version in packages.items()])
        if packages
        else None,
    )


def _first_weights(records: Records) -> str | None:
    weights = records.facts.get("weights")
    return f"{weights['origin']}: {weights['summary']}" if weights else None


def _pairs(facts: list[tuple[str, str | None]]) -> Markup | None:
    known = [(name, value) for name, value in facts if value]
    if not known:
        return None
    return element(
        "dl",
        *(group(element("dt", name), element("dd", value)) for name, value in known),
        class_="facts",
    )
