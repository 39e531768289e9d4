"""How far a long pass has come: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any

from medsynth.errors import say as say_to_people

Say = Callable[[str], None]
EVERY = 5.0  # seconds between two lines


class Progress:
    """A context manager that counts steps up to `total`.

    what: the name of what is counted ("files").  say: where lines go; a bar is drawn when that is standard error and
    standard error is a terminal.
    """

    def __init__(self, total: int, what: str, *, say: Say = say_to_people) -> None:
        self.total, self.what, self.say, self.done = total, what, say, 0
        self._told = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        if self.say is say_to_people and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, unit=f" {self.what}", file=sys.stderr, leave=False, dynamic_ncols=True)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def step(self, count: int = 1) -> None:
        """`count` more are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            self.say(f"  {self.done:,} of {self.total:,} {self.what}")
