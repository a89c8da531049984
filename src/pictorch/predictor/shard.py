"""A share of a long list, so that several processes or machines divide it without talking to each other."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from pictorch.errors import DataError, RecipeError

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Shard:
    """Number `number` of `count`, from 1: every `count`-th entry of the whole, which need not be counted."""

    number: int = 1
    count: int = 1

    @staticmethod
    def parse(text: str | None) -> "Shard":
        """Returns the shard behind '3/16', the whole for None; raises RecipeError."""
        if text is None:
            return Shard()
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise RecipeError(f"--shard {text} is no share; give its number and how many there are, as 3/16")
        return Shard(int(found[1]), int(found[2]))

    def of(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yields the entries of this shard, in their order; raises DataError where a share has none."""
        own = islice(entries, self.number - 1, None, self.count)
        first = next(own, None)
        if first is not None:
            yield first
            yield from own
        elif self.count > 1:
            raise DataError(
                f"shard {self} of the images is empty; ask for fewer shards, or give a source that holds "
                "images"
            )

    def place(self, row: int) -> int:
        """Returns the place in the whole, from 0, of this shard's entry `row`, from 0."""
        return self.number - 1 + row * self.count

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
