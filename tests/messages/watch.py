"""Notes which sites an error comes from: every user error and finding remembers where it was made."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from messages.sites import Site, site_at
from pictorch import download
from pictorch.datasets.findings import Finding
from pictorch.errors import UserError
from pictorch.images import _UnusableError

_WATCHED = (UserError, Finding, download._MirrorError, _UnusableError)


class Watch:
    """What was made while it lasted: the site and the text of each error."""

    def __init__(self) -> None:
        self.made: list[tuple[Site, Any]] = []

    def behind(self, message: str, error: BaseException | None = None) -> set[Site]:
        """Returns the sites whose text the message holds, and those in the traceback of the error."""
        told = {site for site, made in self.made if all(line in message for line in str(made).splitlines())}
        return told | set(_raised(error))


@contextmanager
def watching() -> Iterator[Watch]:
    """Yields what notes every error that is made inside, in any thread."""
    watch = Watch()
    before = {kind: kind.__init__ for kind in _WATCHED}

    def noting(kind: type) -> Any:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            before[kind](self, *args, **kwargs)
            frame: FrameType | None = sys._getframe(1)
            while frame is not None:
                site = site_at(frame.f_code.co_filename, frame.f_lineno)
                if site is not None:
                    watch.made.append((site, self))
                    return
                frame = frame.f_back

        return init

    for kind in _WATCHED:
        kind.__init__ = noting(kind)  # type: ignore[misc]
    try:
        yield watch
    finally:
        for kind, init in before.items():
            kind.__init__ = init  # type: ignore[misc]


def _raised(error: BaseException | None) -> Iterator[Site]:
    """Yields the sites in the traceback of an error and of those that it was raised over."""
    while error is not None:
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            site = site_at(trace.tb_frame.f_code.co_filename, trace.tb_lineno)
            if site is not None:
                yield site
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
