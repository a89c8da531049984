"""Recipes as YAML: found by name or path, overridden, checked as a whole, written, explained."""

import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import ValidationError

from pictorch.errors import RecipeError, listed, nearest, renaming, unknown, unreadable
from pictorch.recipe import SECTIONS, Recipe, contradictions, default_of

RecipeRef = str | Path | Recipe | Mapping[str, Any]
Overrides = Iterable[str | tuple[str, Any]] | Mapping[str, Any]

_LARGEST_BYTES = 1_000_000
_LONGEST_SHOWN = 60


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, less aliases and double keys, with 1e-3 read as the number it is."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a key stands twice")
        return mapping


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper, which puts the text '1e5' in quotes, so that _Loader reads it as text."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+0123456789."),
    )

# What YAML raises: for its syntax; for 2020-13-45 and 0x_; for very deep nesting.
_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


def load_recipe(
    ref: RecipeRef,
    overrides: Overrides = (),
    *,
    network_problem: Callable[[str], str | None] | None = None,
) -> Recipe:
    """Returns the checked recipe behind a packaged name, a YAML file, a mapping or a Recipe.

    `overrides` are 'section.key=value' strings or ('section.key', value) pairs, or a mapping;
    `network_problem`, where given, returns the line that refuses a model.name. Raises RecipeError with
    one line for every problem there is.
    """
    values, origin = _read(ref)
    problems = _override(values, overrides)
    problems += _unknown_keys(values)
    recipe: Recipe | None = None
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        problems += _explain(error) + _contradictions(values, error)
    model = values.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    refusal = network_problem(name) if network_problem and isinstance(name, str) else None
    problems += [refusal] if refusal else []
    if problems or recipe is None:
        raise RecipeError(*(f"{origin}: {problem}" for problem in problems))
    return recipe


def packaged_recipes() -> list[str]:
    """Returns the names of the recipes that come with pictorch."""
    folder = files("pictorch").joinpath("packaged_recipes")
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def recipes(name: str | None = None) -> list[dict[str, Any]]:
    """Returns the packaged recipes (name, header), or each field of one resolved recipe explained.

    A field has path, value, default, changed and description. Raises RecipeError when unknown.
    """
    if name is None:
        return [{"name": each, "header": recipe_header(each)} for each in packaged_recipes()]
    return explain_recipe(load_recipe(name))


def recipe_header(name: str) -> str:
    """Returns the comment at the head of a packaged recipe (command, score, time, machine), else ''."""
    if name not in packaged_recipes():
        return ""
    lines = _packaged_text(name).splitlines()
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line.removeprefix("#").strip())
    return "\n".join(header)


def dump_recipe(recipe: Recipe) -> str:
    """Returns the whole recipe as YAML that load_recipe reads back to an equal one."""
    return yaml.dump(recipe.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def explain_recipe(recipe: Recipe) -> list[dict[str, Any]]:
    """Returns for each field: path, value, default, whether it was changed, and its description."""
    rows = []
    for section, section_type in SECTIONS.items():
        for key, field in section_type.model_fields.items():
            value, default = getattr(getattr(recipe, section), key), default_of(section, key)
            rows.append(
                {
                    "path": f"{section}.{key}",
                    "value": value,
                    "default": default,
                    "changed": value != default,
                    "description": field.description or "",
                }
            )
    return rows


def _read(ref: RecipeRef) -> tuple[dict[str, Any], str]:
    if isinstance(ref, Recipe):
        return ref.model_dump(), ref.name
    if isinstance(ref, Mapping):
        copied = {k: dict(v) if isinstance(v, Mapping) else v for k, v in ref.items()}
        return copied, str(ref.get("name", "recipe"))
    path = Path(ref)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise RecipeError(f"recipe file {path} does not exist; `pictorch recipes` lists packaged ones")
        text, name = _read_text(path), path.stem
    else:
        text, name = _packaged_text(str(ref)), str(ref)
    try:
        values = _parse(text)
    except _NOT_YAML as error:
        raise RecipeError(f"{ref} is not readable as YAML ({_fault(error)}); mend it there") from None
    if not isinstance(values, dict):
        raise RecipeError(
            f"{ref} is no recipe: that is a mapping of sections ({', '.join(SECTIONS)}); "
            "`pictorch recipes digits` shows one"
        )
    return {"name": name, **values}, str(ref)


def _read_text(path: Path) -> str:
    size_bytes = path.stat().st_size
    if size_bytes > _LARGEST_BYTES:
        raise RecipeError(f"{path} has {size_bytes:,} bytes, a recipe {_LARGEST_BYTES:,} at most; shorten it")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise RecipeError(f"{path} is no text in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise RecipeError(f"{path} {unreadable(path, error)}") from None


def _parse(text: str) -> Any:
    """Returns the one value of a YAML text; raises one of _NOT_YAML."""
    return _Loader(text).get_single_data()


def _fault(error: Exception) -> str:
    """Returns what is wrong with a YAML text and in which line, without the parser's own narration."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())[:100]


def _packaged_text(name: str) -> str:
    if name not in packaged_recipes():
        raise RecipeError(f"{unknown('recipe', name, packaged_recipes())}; or give a .yaml file")
    return files("pictorch").joinpath("packaged_recipes", f"{name}.yaml").read_text("utf-8")


def _override(values: dict[str, Any], overrides: Overrides) -> list[str]:
    problems = []
    pairs = []
    for change in overrides.items() if isinstance(overrides, Mapping) else overrides:
        if not isinstance(change, str):
            pairs.append(change)
            continue
        path, equals, text = change.partition("=")
        if not equals:
            problems.append(f"--set {change}: write `section.key=value`, as `--set train.epochs=5`")
            continue
        try:
            pairs.append((path.strip(), _parse(text)))
        except _NOT_YAML:
            problems.append(f"--set {change}: {text!r} is not a YAML value; put it in quotes")
    for path, value in pairs:
        section, dot, key = path.partition(".")
        if not dot or not isinstance(values.setdefault(section, {}), dict):
            problems.append(f"--set {path}: write `section.key=value`, as `--set train.epochs=5`")
            continue
        values[section][key] = value
    return problems


def _unknown_keys(values: dict[str, Any]) -> list[str]:
    """Pydantic refuses unknown keys too; these lines name the nearest known one."""
    problems = []
    for section, content in values.items():
        if section == "name":
            continue
        if section not in SECTIONS:
            problems.append(
                f"{section}: unknown section{nearest(str(section), SECTIONS)}; known: {', '.join(SECTIONS)}"
            )
        elif isinstance(content, dict):
            known = SECTIONS[section].model_fields
            for key in content:
                if key not in known:
                    problems.append(
                        f"{section}.{key} = {_short(content[key])}: unknown key{nearest(str(key), known)}; "
                        f"known: {listed(known)}"
                    )
    return problems


def _explain(error: ValidationError) -> list[str]:
    """Returns a line for each field that is wrong; what its alternatives ask for is joined by 'or'."""
    problems: list[str] = []
    wrong: dict[str, tuple[Any, list[str]]] = {}
    for detail in error.errors():
        if detail["type"] in ("extra_forbidden", "invalid_key"):
            continue
        path = ".".join(str(part) for part in detail["loc"][:2])
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "string_unicode":
            message = f"should be UTF-8; {renaming()}"
        if detail["type"] == "tuple_type":
            message = f"should be a list, as [{_short(detail['input']).strip(chr(39))}]"
        if detail["type"] == "string_pattern_mismatch" and path == "loss.name":
            message = "package.module:function"
        if not path:
            problems += message.splitlines()
        elif detail["type"] == "missing" and len(detail["loc"]) <= 2:
            keys = [path] if "." in path else [f"{path}.{key}" for key in _required(path)]
            problems += [f"{key}: required, but not given; add `--set {key}=VALUE`" for key in keys]
        else:
            _, demands = wrong.setdefault(path, (detail["input"], []))
            if detail["type"].startswith("model_"):
                message = f"should hold keys, which may be {listed(SECTIONS[path].model_fields)}"
            demands.append(message.removeprefix("Input "))
    for path, (value, demands) in wrong.items():
        near = nearest(value, _choices(path)) if isinstance(value, str) else ""
        problems.append(f"{path} = {_short(value)}: {' or '.join(dict.fromkeys(demands))}{near}")
    return problems


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _required(section: str) -> list[str]:
    return [key for key, field in SECTIONS[section].model_fields.items() if field.is_required()]


def _contradictions(values: dict[str, Any], error: ValidationError) -> list[str]:
    """Returns which fields do not fit together; pydantic asks only once each is right by itself."""
    wrong = {".".join(map(str, detail["loc"][:2])) for detail in error.errors()}
    if "" in wrong:
        return []  # it did look
    given = {name: values[name] if isinstance(values.get(name), dict) else {} for name in SECTIONS}
    sections: dict[str, Any] = {
        name: section.model_construct(
            **{str(key): value for key, value in given[name].items() if f"{name}.{key}" not in wrong}
        )
        for name, section in SECTIONS.items()
    }
    lines = contradictions(Recipe.model_construct(**sections))
    return [line for line in lines if not any(path in line for path in wrong)]


def _choices(path: str) -> list[str]:
    section, _, key = path.partition(".")
    field = SECTIONS[section].model_fields.get(key) if section in SECTIONS else None
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
