"""What `evaluate` judges, and a run as such: its synthetic images against those it was trained on."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from medsynth.attributes import Attributes
from medsynth.checkpoint import TRUSTED, LoadedRun, check_targets, load_run
from medsynth.data.pack import Pack
from medsynth.data.prepare_pack import prepare_pack
from medsynth.metrics.per_class import ClassSets
from medsynth.metrics.real import real_halves, real_sets
from medsynth.metrics.real_sets import Images, RealSets
from medsynth.sampling import synthesise

SHOWN = 32  # images of each side in a report
FEW_GROUPS = 50  # patients below which two halves of a training set are visibly different people


@dataclass(frozen=True, kw_only=True)
class Subject(RealSets):
    """Image sets to judge, and how to look at single images of them.

    fake: the synthetic images. show_fake, show_train: the image of that number in `fake` and `train`.
    fake_name: how image number k of `fake` is called. warnings: what a reader must know about the sets.
    classes: the sets of each class that both real and synthetic images have, by name; none without classes.
    """

    fake: Images
    show_fake: Callable[[int], Float[Tensor, "c h w"]]
    show_train: Callable[[int], Float[Tensor, "c h w"]]
    fake_name: Callable[[int], str]
    warnings: list[str] = field(default_factory=list)
    classes: Mapping[str, ClassSets] = field(default_factory=dict)


def load(run: Path, *, checkpoint: str, root: str | None) -> tuple[LoadedRun, Pack]:
    """A run and the pack that it was trained on, prepared again if it is gone.

    Args:
        root: where the raw images lie now; None: where training found them.
    """
    loaded = load_run(run, checkpoint=checkpoint)
    data = dict(loaded.config["data"])
    check_targets(data, TRUSTED)
    if root is not None:
        data |= {"root": root, "phantom": False}
    augment = dict(loaded.config["augment"])
    if augment.get("copies"):
        check_targets(augment, TRUSTED)
    return loaded, prepare_pack(data, resolution=loaded.config["resolution"], augment=augment)


def run_subject(loaded: LoadedRun, pack: Pack, *, count: int, seed: int, batch_size: int) -> Subject:
    """The synthetic images of a run against halves of its training split; `val` and `test` are the unseen patients."""
    warnings = []
    if loaded.pack_content != pack.content:
        warnings.append("the real images at hand are not those of the training: their content differs")
    sets, train = real_sets(pack, count=count), pack.splits["train"]
    if (groups := len(set(pack.patients[train]))) < FEW_GROUPS:
        warnings.append(
            f"training knows {groups} patients or series: halves that share none differ much, so real-against-real "
            "figures are large, and a ratio below 1 does not mean better than real"
        )
    if sets.held_out is None:
        warnings.append("the training images are of one patient or series, so they have no second half to compare with")
    first, second = real_halves(pack, count=count)
    fake = Synthetic(
        loaded.model,
        n=len(first),
        seed=seed,
        batch_size=batch_size,
        channels=len(loaded.ranges),
        attributes=loaded.attributes,
    )
    return Subject(
        **vars(sets),
        fake=fake,
        show_fake=fake.image,
        show_train=lambda number: pack.tensor(train[number : number + 1])[0],
        fake_name=lambda number: f"number {number}",
        warnings=warnings,
        classes=_classes(pack, first, second, fake) if "label" in loaded.model.needs else {},
    )


def _classes(
    pack: Pack, first: Int[ndarray, " n"], second: Int[ndarray, " m"], fake: "Synthetic"
) -> dict[str, ClassSets]:
    """By class its images in both halves, and as many synthetic ones that were asked for as such."""
    made = {}
    for label, name in enumerate(pack.class_names):
        reference, held_out = (half[pack.labels[half] == label] for half in (first, second))
        if len(reference):
            made[name] = ClassSets(
                reference=pack.batches(reference),
                held_out=pack.batches(held_out) if len(held_out) else None,
                fake=replace(fake, n=len(reference), label=name),
            )
    return made


@dataclass(frozen=True)
class Synthetic:
    """The images 0 ... n - 1 of a model and seed, made anew at each iteration.

    channels: how many of an image's are judged, the first ones; a mask behind them is not.
    attributes: what images are conditioned on, as often as in training. label: that of all images; None: as trained.
    """

    model: Any
    n: int
    seed: int
    batch_size: int
    channels: int
    attributes: Attributes | None = None
    label: str | None = None

    def __iter__(self) -> Iterator[Float[Tensor, "b c h w"]]:
        for images in self._made(n=self.n, batch_size=self.batch_size):
            yield images[:, : self.channels]

    def image(self, number: int) -> Float[Tensor, "c h w"]:
        """Image number k alone."""
        return next(self._made(n=1, batch_size=1, first=number))[0, : self.channels]

    def _made(self, *, n: int, batch_size: int, first: int = 0) -> Iterator[Float[Tensor, "b d h w"]]:
        return synthesise(
            self.model,
            n=n,
            seed=self.seed,
            first=first,
            batch_size=batch_size,
            attributes=self.attributes,
            label=self.label,
        )


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
