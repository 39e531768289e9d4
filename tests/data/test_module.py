from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from medsynth.augment.affine import Affine
from medsynth.batch import Batch
from medsynth.data.module import ImageDataModule
from medsynth.data.pack import Pack
from medsynth.data.prepare_pack import prepare_pack
from medsynth.errors import UserError

AUGMENT = Affine(rotation=15.0, zoom=0.15, shift=0.1, shear=0.15)


@pytest.fixture
def pack(tmp_path: Path, config: Callable[..., dict[str, Any]]) -> Pack:
    """75 different labelled images, of which some 60 train."""
    rng = np.random.default_rng(0)
    for k in range(75):
        folder = tmp_path / "x" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(folder / f"{k:02}.png")
    return prepare_pack(config("image_folder", tmp_path / "x"), resolution=16, progress=lambda text: None)


def batches(pack: Pack, *, rank: int = 0, world: int = 1, seen: int = 0, **changes: Any) -> list[Batch]:
    """What one rank sees; `images_seen` is where it begins."""
    settings: dict[str, Any] = {"batch_size": 16, "seed": 3, "images": 160, "augment": AUGMENT, "flips": "horizontal"}
    module = ImageDataModule(pack, **(settings | changes))
    module.images_seen = seen
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    module.trainer = SimpleNamespace(global_rank=rank, world_size=world, strategy=strategy)  # type: ignore[assignment]
    return [module.on_after_batch_transfer(batch, 0) for batch in module.train_dataloader()]


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)  # type: ignore[literal-required]


def test_a_batch_is_what_the_losses_expect(pack: Pack) -> None:
    for batch in batches(pack, augment=None, flips="none"):
        assert batch.keys() == {"image", "label", "row"}
        assert batch["image"].shape == (16, 1, 16, 16)
        assert batch["image"].dtype == torch.float32
        assert batch["image"].abs().max() <= 1
        assert batch.get("label", torch.empty(0)).dtype == torch.int64
        assert batch["row"].tolist() == list(range(16))


def test_no_image_comes_again_before_all_others_came(pack: Pack) -> None:
    count = len(pack.splits["train"])
    seen = torch.cat([batch["image"] for batch in batches(pack, augment=None, flips="none", images=4 * count)])
    for epoch in seen[: count * (len(seen) // count)].split(count):
        assert Counter(image.numpy().tobytes() for image in epoch).most_common(1)[0][1] == 1


def test_the_batches_hold_the_training_split_with_its_labels(pack: Pack) -> None:
    known = {pack.tensor([int(i)]).numpy().tobytes(): int(pack.labels[i]) for i in pack.splits["train"]}
    for batch in batches(pack, augment=None, flips="none"):
        for image, label in zip(batch["image"], batch["label"], strict=True):  # type: ignore[typeddict-item]
            assert known[image[None].numpy().tobytes()] == label


@pytest.mark.parametrize("world", [2, 4, 16])
def test_ranks_together_see_what_one_sees_bit_for_bit(world: int, pack: Pack) -> None:
    ranks = [batches(pack, rank=rank, world=world) for rank in range(world)]
    together = [
        Batch(**{key: torch.cat([share[key] for share in shares]) for key in shares[0]})  # type: ignore[literal-required]
        for shares in zip(*ranks, strict=True)
    ]
    assert_equal(together, batches(pack))


def test_beginning_at_images_seen_goes_on_as_if_never_stopped(pack: Pack) -> None:
    assert_equal(batches(pack, seen=96), batches(pack)[6:])


def test_a_larger_budget_begins_with_the_same_batches(pack: Pack) -> None:
    assert_equal(batches(pack, images=320)[:10], batches(pack))


def test_workers_change_nothing(pack: Pack) -> None:
    assert_equal(batches(pack, workers=2), batches(pack))


def test_another_seed_gives_another_order(pack: Pack) -> None:
    one, two = (batches(pack, seed=seed, augment=None, flips="none")[0]["image"] for seed in (0, 1))
    assert not torch.equal(one, two)


def test_the_budget_is_rounded_up_to_whole_batches(pack: Pack) -> None:
    assert [len(batches(pack, images=images)) for images in (1, 16, 17, 32)] == [1, 1, 2, 2]
    assert batches(pack, images=32, seen=32) == []


def test_a_batch_beyond_the_data_is_refused(pack: Pack) -> None:
    with pytest.raises(UserError, match=r"batch_size=1000 is larger than the \d+ images of split 'train'"):
        batches(pack, batch_size=1000)


def test_ranks_that_do_not_divide_the_batch_are_refused(pack: Pack) -> None:
    with pytest.raises(UserError, match=r"batch_size=16 .* multiple of the 3 ranks; nearest: 15"):
        batches(pack, world=3)


@pytest.mark.parametrize(("change", "message"), [({"flips": "left"}, "flips=left"), ({"batch_size": 0}, "at least 1")])
def test_wrong_settings_are_named(change: dict[str, Any], message: str, pack: Pack) -> None:
    with pytest.raises(UserError, match=message):
        batches(pack, **change)
