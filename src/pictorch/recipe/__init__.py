"""The recipe: everything that decides what a training gives, as one typed, frozen, closed record."""

from pictorch.recipe.contradictions import contradictions, graph_obstacle
from pictorch.recipe.recipe import SECTIONS, Recipe, default_of
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

__all__ = [
    "SECTIONS",
    "AugmentSection",
    "DataSection",
    "LossSection",
    "ModelSection",
    "OptimizerSection",
    "Recipe",
    "ScheduleSection",
    "Section",
    "TrainSection",
    "contradictions",
    "default_of",
    "graph_obstacle",
]
