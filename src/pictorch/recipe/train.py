"""The section of a recipe on the training itself."""

from typing import Annotated, Literal

from pydantic import Field

from pictorch.recipe.sections import Section
from pictorch.recipe.values import Auto, Epochs, Texts


class TrainSection(Section):
    """The loop, the machine and what is kept."""

    epochs: Epochs = Field(
        description="passes over the training images; with a fraction, as 7.6, the last one ends early"
    )
    batch_size: int = Field(
        128,
        ge=1,
        description="images a step; what does not fill a last batch is left out of that epoch",
    )
    accumulate: int = Field(
        1, ge=1, description="parts that a batch is computed in, to save memory; divides batch_size"
    )
    scale_lr: Literal["none", "linear"] = Field(
        "none",
        description="none: optimizer.lr is for this batch_size; linear: it is for 256 images a step and is "
        "multiplied by batch_size / 256",
    )
    batch_norm: Literal["per_process", "synchronized"] = Field(
        "per_process",
        description="what several processes take mean and variance over: each its own images, or all images",
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
        "auto",
        description="torch.compile; auto: on CUDA where the training is long enough to earn the minutes back",
    )
    cuda_graph: Auto | bool = Field(
        "auto",
        description="replay the training step as one CUDA graph; auto: on CUDA for many short steps that "
        "a graph can hold",
    )
    kernels: Literal["auto", "library", "own"] = Field(
        "auto",
        description="who computes 3x3 convolutions on a CPU, torch's library or pictorch's own kernels; "
        "auto: own for each layer where they are faster here, if the training is long enough to earn back "
        "what is still to be built and measured",
    )
    threads: Auto | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto",
        description="CPU threads of a process; auto: one for each physical core that is allowed, divided "
        "among the processes of the host",
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
    freeze_epoch: Annotated[int, Field(ge=1)] | None = Field(
        None, description="epochs that what train.freeze names learns before it stops; null: 0"
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
