"""The whole recipe, and what its fields are."""

from typing import Any

from pydantic import Field, model_validator

from pictorch.recipe.contradictions import contradictions
from pictorch.recipe.sections import (
    AugmentSection,
    DataSection,
    LossSection,
    ModelSection,
    OptimizerSection,
    ScheduleSection,
    Section,
)
from pictorch.recipe.train import TrainSection


class Recipe(Section):
    """A whole recipe; `name` is the file's name without its ending."""

    name: str = Field("recipe", max_length=100, pattern=r"^[^\s./\\-][^/\\\x00-\x1f]*$")
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    model: ModelSection
    loss: LossSection = LossSection()
    optimizer: OptimizerSection
    schedule: ScheduleSection = ScheduleSection()
    train: TrainSection

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        problems = contradictions(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def default_of(section: str, key: str) -> Any:
    """Returns the default of a field, or the string 'required'."""
    field = SECTIONS[section].model_fields[key]
    return "required" if field.is_required() else field.default
