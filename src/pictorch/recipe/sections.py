"""The sections of a recipe, each typed, frozen and closed."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pictorch.recipe.values import (
    Alpha,
    Auto,
    Fraction,
    OwnFunction,
    Positive,
    PositiveTriple,
    Shrinking,
    Text,
    Triple,
    Widths,
)


class Section(BaseModel):
    """A part of the recipe: unknown keys are refused, values are not converted or changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSection(Section):
    """Where the images come from and how they are divided."""

    source: Text | None = Field(
        None,
        description="where all images come from: a name that docs/data.md lists, or a path: a folder of "
        "classes, a folder with train/val/test, a zip of either, a text list, a CSV file, an .npz, or a "
        "dataset's own files; null: train and test say it",
    )
    train: Text | None = Field(
        None,
        description="where the training images come from, in place of source; its parts train and val "
        "are used",
    )
    test: Text | None = Field(
        None,
        description="where the test images come from: its part test, or all images where it has one part; "
        "classes are matched by name; null: source or train",
    )
    root: Text | None = Field(
        None, description="folder that the relative paths in a list start from; null: that of the list"
    )
    on_bad: Literal["stop", "skip"] = Field(
        "stop",
        description="what an image or a line of a list that cannot be used does: stop, or be skipped and "
        "listed in the run folder",
    )
    image_size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="side in pixels of the square images that the network sees; larger ones are "
        "shrunk as fit says, smaller ones enlarged inside the network's graph; "
        "null: the size that all images of the source have",
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop",
        description="how an image that is not square becomes so: crop cuts out the largest square in the "
        "middle, pad adds mean grey beside the shorter side, stretch changes the sides' ratio",
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
    order: Literal["auto", "random", "blocks"] = Field(
        "auto",
        description="how an epoch is shuffled: random draws from all orders, blocks shuffles blocks of "
        "neighbours and then images within windows of blocks, which a disk reads faster; a resumed run keeps "
        "its own; auto: blocks for a memory map of more than half of the memory that is allowed, else random",
    )

    @property
    def training_source(self) -> str:
        """Where the training images come from: source, or train in its place."""
        return self.source or self.train or ""


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
    sizes: Annotated[tuple[Shrinking, ...], Field(strict=False)] = Field(
        (),
        description="sides in pixels that batches are shrunk to at first, each with its share of the "
        "training, as [[20, 0.35]]; after them they keep the size that the network sees",
    )


class ModelSection(Section):
    """The network."""

    name: str = Field(
        description="a network that `pictorch models` lists, torchvision:NAME, timm:NAME with the timm "
        "extra, or a function of yours, package.module:function"
    )
    weights: Text | None = Field(
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
    widths: Widths | None = Field(
        None, description="channels of each group of convolutions (speednet); null: 64, 256, 256"
    )
    depth: Literal[2, 3] | None = Field(
        None, description="convolutions in a group, with 3 a shortcut around the last two (speednet); null: 2"
    )
    whitening: bool | None = Field(
        None,
        description="begin with a fixed layer that makes the values of 2x2 patches of the training images "
        "independent and of variance 1; null: the network's own",
    )
    norm_scale: Literal["learned", "fixed"] | None = Field(
        None, description="whether the scales of batch norms learn or stay 1; null: the network's own"
    )
    norm_momentum: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="share of the newest batch in the running statistics of batch norms; null: the "
        "network's own",
    )
    logit_scale: Positive | None = Field(
        None, description="what the output of the network is multiplied by; null: the network's own"
    )
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
    muon_momentum: Fraction | None = Field(
        None, description="momentum of the filters (muon); null: that of the rest"
    )
    muon_iterations: int = Field(
        5, ge=1, le=10, description="Newton-Schulz iterations that make a step orthogonal (muon)"
    )
    muon_fixed_norm: bool = Field(
        False,
        description="whether each filter bank is brought to the norm sqrt(filters) before every step (muon)",
    )
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
    norm_bias_lr_factor: float = Field(
        1.0,
        gt=0,
        description="what the rate of the biases of batch norms and of model.whitening is multiplied by; "
        "their weight decay a step stays what it was",
    )
    reference_batch_size: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="batch size that the section's numbers are for: with another one rates, decay and "
        "momentum are scaled so that an image counts as much; null: they are for train.batch_size",
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
