"""Fields of a recipe that do not fit together."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pictorch.recipe.recipe import Recipe
    from pictorch.recipe.sections import AugmentSection, DataSection, LossSection
    from pictorch.recipe.train import TrainSection


def contradictions(recipe: "Recipe") -> list[str]:
    """Returns a line for each pair of fields that do not fit together; required ones are not looked at."""
    return [
        *_contradictions_of_sources(recipe.data),
        *_contradictions_of_sizes(recipe.augment),
        *_contradictions_of_batches(recipe.train),
        *_contradictions_without_validation(recipe),
        *_contradictions_of_loss(recipe.loss),
        *_contradictions_of_graph(recipe),
        *_contradictions_of_kernels(recipe.train),
        *_contradictions_of_rates(recipe),
    ]


def graph_obstacle(recipe: "Recipe") -> str | None:
    """Returns the first field, with its value, that keeps a training step out of a CUDA graph."""
    train, optimizer = recipe.train, recipe.optimizer.name
    others_ask_the_cpu = optimizer not in ("sgd", "muon", "adam", "adamw")
    obstacles = {
        f"optimizer.name {optimizer}": others_ask_the_cpu,
        f"train.accumulate {train.accumulate}": train.accumulate > 1,
        f"train.precision {train.precision}": train.precision == "fp16",
        "train.compile true": train.compile is True,
    }
    return next((field for field, is_there in obstacles.items() if is_there), None)


def _contradictions_of_graph(recipe: "Recipe") -> list[str]:
    obstacle = graph_obstacle(recipe) if recipe.train.cuda_graph is True else None
    if obstacle is None:
        return []
    return [
        f"train.cuda_graph: a CUDA graph cannot hold a step with {obstacle}; "
        "give `--set train.cuda_graph=auto`, or change that"
    ]


def _contradictions_of_kernels(train: "TrainSection") -> list[str]:
    if train.kernels != "own" or train.precision != "float64":
        return []
    return [
        "train.kernels: own computes in float32, but train.precision is float64; give "
        "`--set train.kernels=library`, or change the precision"
    ]


def _contradictions_of_rates(recipe: "Recipe") -> list[str]:
    reference = recipe.optimizer.reference_batch_size
    if recipe.train.scale_lr == "none" or reference is None:
        return []
    return [
        f"train.scale_lr: {recipe.train.scale_lr} scales the rate for the batch size, and so does "
        f"optimizer.reference_batch_size {reference}; give `--set train.scale_lr=none`"
    ]


def _contradictions_of_sources(data: "DataSection") -> list[str]:
    if data.source is None and data.train is None:
        return ["data.source: required, but not given; add `--set data.source=VALUE`"]
    if data.source is not None and data.train is not None:
        return [
            f"data.train: {data.train} stands in place of data.source, which is {data.source}; "
            "give one of the two, as with `--set data.source=null`"
        ]
    return []


def _contradictions_of_batches(train: "TrainSection") -> list[str]:
    problems = []
    if train.batch_size % train.accumulate:
        smaller = range(1, min(train.accumulate, train.batch_size) + 1)
        divisor = max(parts for parts in smaller if train.batch_size % parts == 0)
        problems.append(
            f"train.accumulate: {train.accumulate} does not divide train.batch_size {train.batch_size}; "
            f"try `--set train.accumulate={divisor}`"
        )
    if train.keep_checkpoints and train.save_every_epochs is None:
        problems.append(
            f"train.keep_checkpoints: {train.keep_checkpoints} needs train.save_every_epochs, "
            "which is null; try `--set train.save_every_epochs=1`"
        )
    for key, epoch in (("freeze_epoch", train.freeze_epoch), ("unfreeze_epoch", train.unfreeze_epoch)):
        if epoch and not train.freeze:
            problems.append(
                f"train.{key}: {epoch} needs train.freeze, which is empty; "
                "try `--set 'train.freeze=[backbone]'`"
            )
    if train.freeze_epoch and train.unfreeze_epoch and train.freeze_epoch >= train.unfreeze_epoch:
        problems.append(
            f"train.freeze_epoch: {train.freeze_epoch} is not before train.unfreeze_epoch "
            f"{train.unfreeze_epoch}; try `--set train.unfreeze_epoch={train.freeze_epoch + 1}`"
        )
    return problems


def _contradictions_of_sizes(augment: "AugmentSection") -> list[str]:
    if sum(share for _, share in augment.sizes) < 1:
        return []
    return [
        "augment.sizes: the shares leave nothing of the training for the whole size; let them sum to less "
        "than 1, as `--set 'augment.sizes=[[20, 0.35]]'`"
    ]


def _contradictions_without_validation(recipe: "Recipe") -> list[str]:
    if recipe.data.val_fraction > 0:
        return []
    problems = []
    if recipe.train.early_stop_epochs:
        problems.append(
            f"train.early_stop_epochs: {recipe.train.early_stop_epochs} needs validation images, "
            "but data.val_fraction is 0; leave out one of the two"
        )
    if recipe.schedule.name == "plateau":
        problems.append(
            "schedule.name: plateau needs validation images, but data.val_fraction is 0; "
            "leave out one of the two"
        )
    return problems


def _contradictions_of_loss(loss: "LossSection") -> list[str]:
    if ":" not in loss.name:
        return []
    fields = {"label_smoothing": (loss.label_smoothing, 0), "class_weights": (loss.class_weights, "null")}
    return [
        f"loss.{field}: {value} needs a loss of pictorch's, but loss.name is {loss.name}; "
        f"give `--set loss.{field}={nothing}`"
        for field, (value, nothing) in fields.items()
        if value
    ]
