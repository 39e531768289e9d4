import io
import sys

import pytest

from medsynth.data import progress
from medsynth.data.progress import EVERY, Progress
from medsynth.errors import say


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set by a test."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_comes_every_few_seconds_and_no_sooner(clock: list[float]) -> None:
    said: list[str] = []
    with Progress(1200, "files", say=said.append) as bar:
        bar.step()
        assert said == []
        clock[0] += EVERY + 0.1
        bar.step(1000)
        bar.step()
        assert said == ["  1,001 of 1,200 files"]
        clock[0] += EVERY + 0.1
        bar.step()
    assert said[1:] == ["  1,003 of 1,200 files"]


def test_a_terminal_gets_a_bar_and_no_lines(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(8, "slices", say=say) as bar:
        clock[0] += EVERY + 0.1
        bar.step(8)
    assert "/8 [" in terminal.getvalue()
    assert "of 8 slices" not in terminal.getvalue()


def test_lines_that_go_elsewhere_are_lines_even_on_a_terminal(clock: list[float]) -> None:
    said: list[str] = []
    with Progress(2, "files", say=said.append) as bar:
        clock[0] += EVERY + 0.1
        bar.step()
    assert said == ["  1 of 2 files"]
