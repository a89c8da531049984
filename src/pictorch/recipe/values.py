"""The kinds of values that the fields of a recipe hold."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PlainSerializer

Auto = Literal["auto"]
Triple = Annotated[tuple[float, float, float], Field(strict=False)]
Positive = Annotated[float, Field(gt=0)]
Shrinking = Annotated[
    tuple[Annotated[int, Field(ge=4, le=4096)], Annotated[float, Field(gt=0, lt=1)]], Field(strict=False)
]
Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(strict=False, min_length=1)]
PositiveTriple = Annotated[tuple[Positive, Positive, Positive], Field(strict=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Alpha = Annotated[float, Field(ge=0, le=100)]
OwnFunction = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")]
Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Epochs = Annotated[  # a whole number is the same with a point and without
    float,
    Field(gt=0),
    AfterValidator(lambda epochs: int(epochs) if epochs == int(epochs) else epochs),
    PlainSerializer(lambda epochs: epochs),
]
