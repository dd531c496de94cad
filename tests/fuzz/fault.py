"""What is fuzzed, and what must not come of it."""

import random
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.served import Served

# One input: the messages of a call or the files of a model, by their names.
Parts = Mapping[str, bytes]


class FaultError(Exception):
    """An input did to the server what none may; `where` tells apart faults that differ."""

    def __init__(self, told: str, *, cause: BaseException | None = None) -> None:
        super().__init__(told)
        self.trace = "".join(traceback.format_exception(cause)) if cause else ""
        frames = traceback.extract_tb(cause.__traceback__) if cause else ()
        ours = [
            frame
            for frame in frames
            if "/eyespot/" in frame.filename and "-packages" not in frame.filename
        ]
        place = (
            f" at {ours[-1].filename.rpartition('/eyespot/')[2]}:{ours[-1].lineno}" if ours else ""
        )
        self.where = f"{type(cause).__name__}{place}" if cause else told


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        name: What it is called in tables and files.
        share: How many of a hundred inputs are of it.
        make: Draws an input; needs no server.
        run: Gives it to the server, and says in a word what came of it.
    """

    name: str
    share: int
    make: Callable[[random.Random], Parts]
    run: "Callable[[Served, Parts], Awaitable[str]]"
