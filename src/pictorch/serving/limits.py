"""What the server accepts, and the errors that tell a client what it may send instead."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from pictorch.errors import DataError, RecipeError

_RETRY_SECONDS = cycle((1, 2, 3, 4))  # so that those who are sent away together do not return together


@dataclass(frozen=True)
class Limits:
    """Sizes of one request, and how many are answered at a time.

    `max_pixels` counts an image as it is sent, `max_resized_pixels` all images of a request as the model
    sees them. `receive_seconds` is the time that a request may take to arrive.
    """

    max_body_bytes: int = 16_000_000
    max_pixels: int = 25_000_000
    max_resized_pixels: int = 4_000_000
    max_aspect_ratio: int = 100
    max_images: int = 64
    max_in_flight: int = 64
    receive_seconds: float = 10.0

    @property
    def max_received_bytes(self) -> int:
        """The bytes of all bodies that may lie in memory at a time."""
        return 8 * self.max_body_bytes

    def images_of(self, stored_size: int) -> int:
        """Returns how many images one request may hold, at least 1."""
        return max(1, min(self.max_images, self.max_resized_pixels // stored_size**2))

    def check_body(self, body_bytes: int) -> None:
        """Raises RequestError for a body that is too large."""
        if body_bytes > self.max_body_bytes:
            raise RequestError(
                413,
                "body_too_large",
                f"the body has more than {self.max_body_bytes:,} bytes; send a smaller image",
                {"Connection": "close"},
            )

    def check_size(self, width: int, height: int) -> None:
        """Raises RequestError for an image of too many pixels or with too long a side."""
        if width * height > self.max_pixels:
            raise RequestError(
                413, "too_many_pixels",
                f"the image has {width:,} x {height:,} pixels; make it smaller, to {self.max_pixels:,}",
            )  # fmt: skip
        if max(width, height) > self.max_aspect_ratio * min(width, height):
            raise RequestError(
                422, "too_elongated",
                f"the image has {width:,} x {height:,} pixels; cut out the part that matters, its sides may "
                f"differ by a factor of {self.max_aspect_ratio} at most",
            )  # fmt: skip

    def check_number(self, images: int, stored_size: int) -> None:
        """Raises RequestError where a request holds too many images."""
        most = self.images_of(stored_size)
        if images > most:
            raise RequestError(
                413,
                "too_many_images",
                f"the request holds {images:,} images; send at most {most:,} at a time",
            )


def limits_of(max_body_mb: float, max_images: int, max_in_flight: int, receive_seconds: float) -> Limits:
    """Returns the limits that a person may set, the others as they are; raises RecipeError."""
    for name, value in locals().items():
        if not 0 < value < math.inf:
            raise RecipeError(f"--{name.replace('_', '-')} {value:g} lets nothing in; give a number above 0")
    return Limits(
        max_body_bytes=round(max_body_mb * 1e6),
        max_images=max_images,
        max_in_flight=max_in_flight,
        receive_seconds=receive_seconds,
    )


class RequestError(DataError):
    """A request that is refused: status, a code for programs, a message for people."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def to_json(self, request_id: str) -> dict[str, Any]:
        """Returns what the body of the answer holds."""
        return {"error": {"code": self.code, "message": str(self), "request_id": request_id}}


@dataclass
class Traffic:
    """What is going on: requests being answered, bytes of bodies in memory, and whether it is ending."""

    limits: Limits
    in_flight: int = field(default=0, init=False)
    held_bytes: int = field(default=0, init=False)
    draining: bool = field(default=False, init=False)

    def check_room(self) -> None:
        """Raises RequestError where one more request, or more of its body, finds no room."""
        limits = self.limits
        if self.in_flight >= limits.max_in_flight or self.held_bytes > limits.max_received_bytes:
            seconds = str(next(_RETRY_SECONDS))
            raise RequestError(
                503, "full", f"the server is full; come again in {seconds} s", {"Retry-After": seconds}
            )
