"""The recipe: everything that decides what a training gives, as one typed, frozen, closed record."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Auto = Literal["auto"]
Triple = Annotated[tuple[float, float, float], Field(strict=False)]
Positive = Annotated[float, Field(gt=0)]
PositiveTriple = Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Alpha = Annotated[float, Field(ge=0, le=100)]
OwnFunction = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]


class Section(BaseModel):
    """A part of the recipe: unknown keys are refused, values are not converted or changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSection(Section):
    """Where the images come from and how they are divided."""

    source: str = Field(
        min_length=1,
        description="a name (digits, cifar10) or a path: a folder of classes, a folder with "
        "train/val/test, a zip of either, or CIFAR-10's python archive or its batches",
    )
    image_size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="side in pixels of the square images that the network sees; larger ones are "
        "shrunk to fit and centre-cropped, smaller ones enlarged inside the network's graph; "
        "null: the size that all images of the source have",
    )
    val_fraction: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of the training images, equal in each class, that validates; a part "
        "named val in the source is used in its place; 0: train on everything, choose nothing",
    )
    test_fraction: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="share of the images kept for the test, where the source has no test part",
    )
    split_seed: int = Field(
        0, ge=0, lt=2**63, description="seed of both divisions; train.seed leaves them alone"
    )


class AugmentSection(Section):
    """Changes to the training images, drawn for each image and epoch."""

    flip: Literal["none", "random", "alternating"] = Field(
        "none",
        description="left-right mirror: random draws it for each image and epoch, alternating "
        "draws it once for each image and then changes it every epoch",
    )
    crop_padding: int = Field(
        0, ge=0, le=256, description="pixels added on each side before a random crop of the old size"
    )
    crop_fill: Literal["reflect", "zero"] = Field(
        "reflect", description="what the added pixels hold: mirrored image, or black"
    )
    cutout: int = Field(
        0, ge=0, le=1024, description="side in pixels of a square set to the mean colour; 0: none"
    )
    resized_crop: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="smallest share of the image's area in a crop, of sides 3:4 to 4:3, that is resized "
        "to the old size; null: none",
    )
    rotation: float = Field(0.0, ge=0, le=180, description="largest rotation either way, in degrees")
    brightness: float = Field(0.0, ge=0, le=1, description="largest relative change of the brightness")
    contrast: float = Field(0.0, ge=0, le=1, description="largest relative change of the contrast")
    saturation: float = Field(0.0, ge=0, le=1, description="largest relative change of the saturation")
    hue: float = Field(0.0, ge=0, le=0.5, description="largest turn of the hue, as a share of the circle")
    policy: Literal["none", "trivial_augment", "rand_augment"] = Field(
        "none",
        description="operations drawn from a list: one of any strength (trivial_augment), or "
        "policy_operations of strength policy_magnitude (rand_augment)",
    )
    policy_operations: int = Field(2, ge=1, le=14, description="operations on an image (rand_augment)")
    policy_magnitude: int = Field(9, ge=0, le=30, description="their strength, of 30 (rand_augment)")
    erasing: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="probability that a rectangle of the image is set to the mean colour"
    )
    mixup: Alpha = Field(
        0.0,
        description="alpha of the beta distribution that the share of a second image is drawn from, "
        "labels are mixed alike; 0: none",
    )
    cutmix: Alpha = Field(
        0.0,
        description="the same for the area of a rectangle that a second image fills; with mixup each "
        "step draws one of the two",
    )


class ModelSection(Section):
    """The network."""

    name: str = Field(
        description="a network that `pictorch models` lists, torchvision:NAME, timm:NAME with the timm "
        "extra, or a function of yours, package.module:function"
    )
    weights: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="where the first weights come from: imagenet (torchvision's, downloaded), a run, a "
        "bundle, or a .pth or .safetensors file; null: drawn",
    )
    stem_weights: Literal["adapt", "new"] = Field(
        "adapt",
        description="whether the first convolution takes those of model.weights, resampled where its "
        "kernel has another size, or stays drawn",
    )
    head_weights: Literal["adapt", "new"] = Field(
        "adapt",
        description="whether the last layer takes those of model.weights, by class name where both are "
        "known, or stays drawn",
    )
    stem: Literal["auto", "small", "standard"] = Field(
        "auto",
        description="first layers of a torchvision network that `pictorch models` lists: small keeps the "
        "resolution of small images, standard is torchvision's; auto: small below 64 pixels",
    )
    activation: Literal["relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid"] | None = Field(
        None, description="activation between the layers; null: the network's own"
    )
    init: Literal["default", "kaiming", "xavier", "dirac"] = Field(
        "default",
        description="first weights of convolutions and linear layers: kaiming normal, xavier uniform, "
        "or dirac, where the first filters of a convolution pass their channels on; default: the "
        "network's own",
    )
    dropout: Fraction | None = Field(None, description="dropout share; null: the network's own")
    mean: Auto | Triple = Field(
        "auto",
        description="subtracted from each channel (0 to 1); auto: that of model.weights where they know "
        "it, else the mean of the training images",
    )
    std: Auto | PositiveTriple = Field(
        "auto",
        description="each channel is divided by it; auto: that of model.weights where they know it, else "
        "the deviation of the training images",
    )


class LossSection(Section):
    """What training makes small."""

    name: Literal["cross_entropy", "bce", "mse", "smooth_l1"] | OwnFunction = Field(
        "cross_entropy",
        description="cross-entropy over the softmax, or of each class's score against a one-hot target: "
        "binary cross-entropy, squared error, smooth absolute error; or a function of yours, "
        "package.module:function",
    )
    label_smoothing: Fraction = Field(0.0, description="share of the label spread over all classes")
    class_weights: Literal["balanced"] | dict[str, Positive] | None = Field(
        None,
        description="what an image's loss is multiplied by: balanced (the mean number of images in a "
        "class by that of its own), or a number for each class named, 1 for the others; null: 1",
    )
    l1: float = Field(
        0.0,
        ge=0,
        description="factor of the sum of the absolute values in all weights of two or more dimensions, "
        "as filters and matrices, which is added to the loss",
    )


class OptimizerSection(Section):
    """How the weights move."""

    name: Literal["sgd", "adam", "adamw", "adagrad", "rmsprop", "muon"] = Field(
        "sgd",
        description="sgd with momentum, one that scales each weight's step, or muon, which moves the "
        "filters of convolutions by orthogonal matrices and the rest as sgd",
    )
    lr: float = Field(gt=0, description="peak learning rate; the schedule multiplies it")
    muon_lr: float = Field(0.02, gt=0, description="peak learning rate of the filters (muon)")
    muon_weight_decay: float = Field(0.05, ge=0, description="decoupled decay of the filters (muon)")
    momentum: Fraction = Field(0.9, description="momentum (sgd, muon)")
    nesterov: bool = Field(True, description="Nesterov's form of momentum (sgd, muon)")
    betas: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = Field(
        (0.9, 0.999), description="decay of the running first and second moments (adam, adamw)"
    )
    square_decay: Fraction = Field(0.99, description="decay of the running second moment (rmsprop)")
    weight_decay: float = Field(0.0, ge=0, description="L2 factor, or decoupled decay (adamw)")
    decay_norm_and_bias: bool = Field(
        True, description="whether weight decay also acts on biases and normalisation scales"
    )
    backbone_lr_factor: float = Field(
        1.0, gt=0, description="what the rate is multiplied by in all layers but the last"
    )


class ScheduleSection(Section):
    """The learning rate as a function of the step."""

    name: Literal[
        "constant", "step", "multi_step", "exponential", "cosine", "linear", "one_cycle", "plateau"
    ] = Field(
        "cosine",
        description="shape of the rate after the warm-up; one_cycle rises in a cosine for the share "
        "warmup_fraction (0: 0.3) from 1/25 of the peak, and falls in another; plateau falls where the "
        "validation loss no longer does",
    )
    warmup_fraction: Fraction = Field(
        0.0, description="share of the training in which the rate rises to its peak in a line"
    )
    warmup_start: float = Field(0.01, gt=0, le=1, description="share of the peak at the first step")
    final_factor: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the peak that the rate has at the end (cosine, linear, one_cycle)",
    )
    step_epochs: int = Field(30, ge=1, description="epochs between two falls (step)")
    milestones: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = Field(
        (), description="epochs after which the rate falls (multi_step)"
    )
    step_factor: float = Field(
        0.1,
        gt=0,
        le=1,
        description="factor of each fall (step, multi_step, plateau) or epoch (exponential)",
    )
    plateau_epochs: int = Field(
        10, ge=1, description="epochs without a smaller validation loss before the rate falls (plateau)"
    )


class TrainSection(Section):
    """The loop, the machine and what is kept."""

    epochs: int = Field(ge=1, description="passes over the training images")
    batch_size: int = Field(
        128,
        ge=1,
        description="images a step; what does not fill a last batch is left out of that epoch",
    )
    accumulate: int = Field(
        1, ge=1, description="parts that a batch is computed in, to save memory; divides batch_size"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="decides weights, order, augmentation, dropout")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="auto: CUDA, then MPS, then CPU, the first that there is"
    )
    precision: Literal["auto", "float32", "float64", "bf16", "fp16"] = Field(
        "auto",
        description="arithmetic of training, evaluation is float32 (float64 with float64); auto: "
        "bf16 where the device multiplies it natively (CUDA capability 8, CPUs with avx512_bf16 "
        "or amx_bf16), else fp16 with scaling on CUDA, else float32",
    )
    channels_last: Auto | bool = Field(
        "auto", description="memory order N,H,W,C inside the network; auto: yes on CPU and CUDA"
    )
    cudnn_benchmark: Auto | bool = Field(
        "auto", description="let cuDNN time its kernels first; auto: yes on CUDA"
    )
    compile: Auto | bool = Field(
        "auto", description="torch.compile; auto: no (one run seldom earns its minutes back)"
    )
    threads: Auto | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="CPU threads; auto: one for each physical core that is allowed"
    )
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="decay a step of the averaged weights that are judged and kept; null: none"
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="largest norm of the whole gradient; null: no limit"
    )
    freeze: Texts = Field(
        (),
        description="patterns of parameter names that do not learn, as features.*; backbone: all but the "
        "last layer; their batch norms keep their statistics",
    )
    unfreeze_epoch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="epochs after which everything learns; null: what is frozen stays so"
    )
    early_stop_epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="stop after so many epochs without a better validation; null: never"
    )
    eval_batch_size: int = Field(200, ge=1, description="images a step in validation and evaluation")
    save_every_epochs: Annotated[int, Field(ge=1)] | None = Field(
        None, description="keep a checkpoint for good every so many epochs; null: best and last only"
    )
    keep_checkpoints: Annotated[int, Field(ge=1)] | None = Field(
        None, description="how many of the checkpoints of save_every_epochs stay, the newest; null: all"
    )
    save_every_minutes: Annotated[float, Field(gt=0)] | None = Field(
        10.0, description="also save `last` inside an epoch every so many minutes; null: at its end"
    )
    max_minutes: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="stop in good order, to be resumed, so many minutes after each start; null: never",
    )
    log_every_steps: int = Field(
        50, ge=1, description="steps between two recorded training losses; the last of an epoch is one too"
    )


class Recipe(Section):
    """A whole recipe; `name` is the file's name without its ending."""

    name: str = Field("recipe", max_length=100, pattern=r"^[^\s./\\-][^/\\\x00-\x1f]*$")
    data: DataSection
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


def contradictions(recipe: Recipe) -> list[str]:
    """Returns a line for each pair of fields that do not fit together; required ones are not looked at."""
    return [
        *_contradictions_of_batches(recipe.train),
        *_contradictions_without_validation(recipe),
        *_contradictions_of_loss(recipe.loss),
    ]


def _contradictions_of_batches(train: TrainSection) -> list[str]:
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
    if train.unfreeze_epoch and not train.freeze:
        problems.append(
            f"train.unfreeze_epoch: {train.unfreeze_epoch} needs train.freeze, which is empty; "
            "try `--set 'train.freeze=[backbone]'`"
        )
    return problems


def _contradictions_without_validation(recipe: Recipe) -> list[str]:
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


def _contradictions_of_loss(loss: LossSection) -> list[str]:
    if ":" not in loss.name:
        return []
    fields = {"label_smoothing": (loss.label_smoothing, 0), "class_weights": (loss.class_weights, "null")}
    return [
        f"loss.{field}: {value} needs a loss of pictorch's, but loss.name is {loss.name}; "
        f"give `--set loss.{field}={nothing}`"
        for field, (value, nothing) in fields.items()
        if value
    ]


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Recipe.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


def default_of(section: str, key: str) -> Any:
    """Returns the default of a field, or the string 'required'."""
    field = SECTIONS[section].model_fields[key]
    return "required" if field.is_required() else field.default
