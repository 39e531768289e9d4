"""Pack and ImageDataModule against torchvision's ImageFolder and PIL:   python benchmarks/feed.py [--quick]

Both read the same images, JPEG phantoms of kidney CT with 256x256 pixels, and end in shuffled float32 batches of 64
in [-1, 1] at 64x64, each with the number of workers that suits it best, page cache warm. What is compared is
training's steady state: ImageFolder decodes in every epoch, the Pack was decoded once (its time is reported).

Bar: 100 times ImageFolder's images/s.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measure import PHANTOMS, alternate, compare, configuration, digits, finish, is_quick
from torch import Tensor
from torch.utils.data import DataLoader, Subset

RATIO = 100
RESOLUTION, BATCH = 64, 64
PHANTOM = (*PHANTOMS, "data.phantom_size=256", "data.phantom_patients=6")


class OursFeed:
    """The training batches of a pack, as the Trainer gets them.

    Args:
        batches: of one pass, counted after the first, which starts the workers.
    """

    def __init__(self, pack: Any, *, workers: int, batches: int, device: torch.device) -> None:
        self.pack, self.workers, self.batches, self.device = pack, workers, batches, device

    def stream(self) -> Iterator[Tensor]:
        """One batch more than a pass."""
        from medsynth.data.module import ImageDataModule

        images = (self.batches + 1) * BATCH
        data = ImageDataModule(self.pack, batch_size=BATCH, seed=0, images=images, workers=self.workers)
        for batch in data.train_dataloader():
            moved = {k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in batch.items()}
            yield data.on_after_batch_transfer(moved, 0)["image"]

    def seconds(self) -> float:
        """A pass's seconds an image."""
        stream = self.stream()
        next(stream)
        return timed(stream, self.device) / (self.batches * BATCH)


class FolderFeed:
    """torchvision's ImageFolder on the pack's own training files, with a DataLoader that keeps its workers."""

    def __init__(self, pack: Any, root: Path, *, workers: int, device: torch.device) -> None:
        from torchvision import datasets, transforms

        steps = [
            transforms.Grayscale(),
            transforms.Resize((RESOLUTION, RESOLUTION), antialias=True),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
        files = [root / name for name in pack.files]
        folder = datasets.ImageFolder(str(files[0].parents[1]), transforms.Compose(steps))
        places = {path: place for place, (path, _) in enumerate(folder.samples)}
        self.files = [files[k] for k in pack.splits["train"]]
        self.dataset = Subset(folder, [places[str(path)] for path in self.files])
        self.device = device
        self.loader = DataLoader(
            self.dataset,
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )

    def stream(self) -> Iterator[Tensor]:
        """One epoch."""
        for image, _ in self.loader:
            yield image.to(self.device, non_blocking=True)

    def seconds(self) -> float:
        """An epoch's seconds an image; its workers run already, but for the first one."""
        return timed(self.stream(), self.device) / (len(self.loader) * BATCH)


def timed(stream: Iterator[Tensor], device: torch.device) -> float:
    """Seconds to draw all batches."""
    start = time.perf_counter()
    for image in stream:
        assert image.dtype == torch.float32
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def best(build: Callable[[int], Any], counts: list[int], *, passes: int) -> tuple[int, dict[str, float]]:
    """The number of workers with most images/s, and the images/s of all numbers tried."""
    rates = {}
    for workers in counts:
        feed = build(workers)
        feed.seconds()  # starts the workers and warms the page cache
        rates[workers] = digits(1 / median(feed.seconds() for _ in range(passes)))
    return max(rates, key=rates.__getitem__), {str(workers): rate for workers, rate in rates.items()}


def files_of(data: dict[str, Any]) -> Path:
    """The folder below which the files of a data config lie."""
    from medsynth.data.prepare_pack import phantom_root
    from medsynth.errors import say

    return phantom_root(data, progress=say) if data["phantom"] else Path(data["root"])


def race(config: dict[str, Any], *, device: torch.device, pairs: int, batches: int, passes: int = 2) -> dict[str, Any]:
    """Feed `device` from both sides in turn; returns images/s as a ratio.

    Args:
        config: of medsynth.train; its data are class folders of images.
        batches: of one of our passes; the other side's pass is an epoch.
        passes: for each number of workers tried.
    """
    from medsynth.data.prepare_pack import prepare_pack

    start = time.perf_counter()
    pack = prepare_pack(config["data"], resolution=RESOLUTION)
    prepared = time.perf_counter() - start
    root = files_of(config["data"])
    cores = os.cpu_count() or 1
    counts = sorted({0, 1, 2, cores // 2, cores})

    def ours(workers: int) -> OursFeed:
        return OursFeed(pack, workers=workers, batches=batches, device=device)

    def folder(workers: int) -> FolderFeed:
        return FolderFeed(pack, root, workers=workers, device=device)

    ours_workers, ours_rates = best(ours, counts, passes=passes)
    folder_workers, folder_rates = best(folder, counts, passes=passes)
    a, b = alternate(ours(ours_workers).seconds, folder(folder_workers).seconds, pairs=pairs)
    return {
        **compare(a, b),
        "ours_images_per_second": digits(1 / median(a)),
        "other_images_per_second": digits(1 / median(b)),
        "ours_ms_a_batch": digits(1000 * BATCH * median(a)),
        "ours_workers": ours_workers,
        "other_workers": folder_workers,
        "ours_images_per_second_by_workers": ours_rates,
        "other_images_per_second_by_workers": folder_rates,
        "images": len(pack.splits["train"]),
        "seconds_to_open_or_make_the_pack": digits(prepared),
    }


def main() -> None:
    """Race on the CPU."""
    quick = is_quick(__doc__)
    config = configuration(*PHANTOM, f"resolution={RESOLUTION}")
    sizes = {"pairs": 5, "passes": 1} if quick else {"pairs": 15, "passes": 3}
    result = race(config, device=torch.device("cpu"), batches=400, **sizes)
    finish(
        {
            "benchmark": "feed",
            "ours": "Pack, ImageDataModule and its DataLoader",
            "other": "torchvision ImageFolder, PIL: Grayscale, Resize 64 antialias, ToTensor, Normalize; DataLoader",
            "bar": f"ratio >= {RATIO}",
            **result,
            "pass": result["ratio"] >= RATIO,
        }
    )


if __name__ == "__main__":
    main()
