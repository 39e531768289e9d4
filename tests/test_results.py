"""What every evaluation does before and after: images are made once, and folders that stay empty do not stay."""

import pytest
import torch

from medsynth import results
from medsynth.errors import UserError
from medsynth.metrics.suite import Yardstick
from medsynth.results import Kept, writable


class Made:
    """Counts how often each batch is made."""

    def __init__(self, count=64):
        self.batches = 0
        self.images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def __iter__(self):
        for batch in self.images.split(16):
            self.batches += 1
            yield batch


def test_images_that_a_measurement_has_looked_at_are_not_made_again():
    made = Made()
    kept = Kept(made)
    yardstick = Yardstick(reference=[made.images], held_out=None, config={"count": 64, "extractors": []})
    assert yardstick.measure(kept).count == 64  # it takes the last batch, and does not ask for another
    for _ in range(2):
        assert torch.equal(torch.cat(list(kept)), made.images)
    assert made.batches == 4


def test_a_pass_that_was_broken_off_goes_on_where_it_ended():
    made = Made()
    kept = Kept(made)
    assert torch.equal(next(iter(kept)), made.images[:16])
    assert torch.equal(torch.cat(list(kept)), made.images)
    assert made.batches == 4


def test_images_that_are_too_many_to_keep_are_made_at_each_pass(monkeypatch):
    monkeypatch.setattr(results, "MOST_KEPT", 2 * 16 * 16 * 16 * 4)
    made = Made()
    kept = Kept(made)
    for passes in (1, 2):
        assert torch.equal(torch.cat(list(kept)), made.images)
        assert made.batches == 4 * passes


def test_a_folder_that_nothing_was_written_into_is_gone_again(tmp_path):
    (tmp_path / "mine").mkdir()
    for out in (tmp_path / "new" / "out", tmp_path / "mine"):
        with pytest.raises(UserError, match=str(out)), writable(out):
            raise UserError(str(out) if out.is_dir() else "there is no folder")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with writable(tmp_path / "new" / "out"):
        (tmp_path / "new" / "out" / "report.html").write_text("")
    assert (tmp_path / "new" / "out" / "report.html").exists()
