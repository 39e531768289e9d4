"""All metrics in one pass over each image set, and their entries for metrics.json.

    yardstick = Yardstick(reference=half_a, held_out=half_b, config=config.metrics)   # the real side, measured once
    judgement = yardstick.judge(fake)                                                 # as often as training asks

`judge` does both at once.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.errors import UserError
from medsynth.metrics import nearest as memory
from medsynth.metrics.entries import Finding, entry, metric_key, scalars
from medsynth.metrics.features import Extractor, MissingWeights
from medsynth.metrics.frechet import frechet_distance
from medsynth.metrics.inception import Inception
from medsynth.metrics.kernel import kernel_distance, kernel_interval
from medsynth.metrics.measurement import Measurement
from medsynth.metrics.ms_ssim import betas_for
from medsynth.metrics.settings import load_extractors, settings
from medsynth.metrics.sliced_wasserstein import pyramid_distance

__all__ = ["Images", "Yardstick", "judge", "scalars"]

Images = Iterable[Float[Tensor, "_b _c _h _w"]]  # sets, and the batches of one, differ in length
PAIRS = 12  # closest pairs named in a nearest_train entry


class Yardstick:
    """The real side of a judgement, measured once: synthetic images are compared with it as often as one likes.

    Images come in random order: MS-SSIM compares neighbours, and only the first `count` of each set are used.

    Args:
        reference: real images that synthetic ones are compared with.
        held_out: as many other real images, of other patients: their distance to `reference` is what a perfect
            generator would reach. None: no real-against-real figures.
        config: the `metrics` group.
        real_split: what the real images are, for the entries.
        train: all training images, in which copies are looked for; None takes `reference`.
        unseen: images of patients never trained on, whose distance to `train` is what is normal. None takes
            `held_out` when `train` is None too, else there is no such figure.
        device: where the features of large networks are computed; None: where the images are.
    """

    def __init__(
        self,
        *,
        reference: Images,
        held_out: Images | None,
        config: Mapping[str, Any],
        real_split: str = "train",
        train: Images | None = None,
        unseen: Images | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.settings = settings(config)
        self.real_split = real_split
        self.device = device
        self.missing: dict[str, MissingWeights] = {}
        self.extractors: dict[str, Extractor] | None = None
        self.reference = self._measure("real", reference, like=None)
        if not self.reference.count:
            raise UserError("there are no real images to judge by")
        self.held_out = None if held_out is None else self._measure("held-out real", held_out, like=self.reference)
        if self.held_out is not None and not self.held_out.count:
            self.held_out = None
        self.calibration = _distances(self.reference, self.held_out) if self.held_out else {}
        self._remember(train, unseen)

    def _remember(self, train: Images | None, unseen: Images | None) -> None:
        if train is None:
            self.train = self.reference.thumbnails()
            others = self.held_out.thumbnails() if self.held_out else None
        else:
            self.train = torch.cat([memory.thumbnails(batch) for batch in train])
            parts = [memory.thumbnails(batch) for batch in unseen or ()]
            others = torch.cat(parts) if parts else None
        self.unseen = None if others is None else memory.nearest(others, self.train)

    def _measure(self, name: str, images: Images, *, like: Measurement | None) -> Measurement:
        made: Measurement | None = None
        for batch in images:
            if self.extractors is None:
                self._load(channels=batch.shape[1])
            made = made or self._empty(name, like)
            made.update(batch)
            if made.count == made.most:
                break
        return made or self._empty(name, like)

    def _empty(self, name: str, like: Measurement | None) -> Measurement:
        extractors = self.extractors or {}
        return Measurement(name, count=self.settings.count, extractors=extractors, like=like, device=self.device)

    def _load(self, *, channels: int) -> None:
        found = load_extractors(self.settings, channels=channels)
        self.extractors = {name: one for name, one in found.items() if isinstance(one, Extractor)}
        self.missing = {name: one for name, one in found.items() if isinstance(one, MissingWeights)}

    def judge(self, fake: Images) -> dict[str, Any]:
        """Compare synthetic images with the real ones: the content of metrics.json.

        Returns one entry a metric under its key (see `medsynth.metrics.entries`), and beside them `insufficient`
        (entries made from fewer than `count` images), `warnings` (lines) and `images` (counts and size).
        """
        synthetic = self._measure("synthetic", fake, like=self.reference)
        if not synthetic.count:
            raise UserError("there are no synthetic images to judge")
        findings = {**self._compare(synthetic), **self._unavailable(), "nearest_train": self._nearest(synthetic)}
        return self._assemble(findings, synthetic)

    def _compare(self, synthetic: Measurement) -> dict[str, Finding]:
        findings = _distances(self.reference, synthetic)
        for name, finding in findings.items():
            findings[name] = finding.beside(self.calibration.get(name))
        findings["ms_ssim"] = _diversity(synthetic).beside(_diversity(self.reference))
        return findings

    def _unavailable(self) -> dict[str, Finding]:
        names = [(name, distance) for name in self.missing for distance in _names_of(name)]
        return {
            distance: Finding(None, reason=self.missing[name].reason, extra={"fill": self.missing[name].fill})
            for name, distance in names
        }

    def _nearest(self, synthetic: Measurement) -> Finding:
        found = memory.nearest(synthetic.thumbnails(), self.train)
        extra: dict[str, Any] = {
            "n_train": len(self.train),
            "copies": found.copies(),
            "quantiles": {"fake": found.quantiles()},
            "pairs": [{"fake": f, "train": t, "distance": d} for f, t, d in found.closest(PAIRS)],
        }
        real = None
        if self.unseen is not None:
            real = self.unseen.distance.double().median().item()
            extra |= {
                "n_unseen": len(self.unseen.distance),
                "copies_unseen": self.unseen.copies(),
                "near": memory.near_share(found, self.unseen),
            }
            extra["quantiles"]["unseen"] = self.unseen.quantiles()
        side = min(memory.SIDE, *synthetic.shape[1:])
        return Finding(
            found.distance.double().median().item(), real, resize=f"{side}x{side} bilinear, antialiased", extra=extra
        )

    def _assemble(self, findings: Mapping[str, Finding], synthetic: Measurement) -> dict[str, Any]:
        counts = {"n_real": self.reference.count, "n_fake": synthetic.count}
        made = {
            metric_key(name, self.settings.count): entry(finding, **counts, real_split=self.real_split)
            for name, finding in findings.items()
        }
        enough = min(counts.values()) >= self.settings.count
        return {
            **(made if enough else {}),
            "insufficient": {} if enough else made,
            "warnings": self._warnings(synthetic),
            "images": {
                "count": self.settings.count,
                **counts,
                "n_held_out": self.held_out.count if self.held_out else 0,
                "channels": synthetic.shape[0],
                "height": synthetic.shape[1],
                "width": synthetic.shape[2],
                "real_split": self.real_split,
            },
        }

    def _warnings(self, synthetic: Measurement) -> list[str]:
        smaller = min(self.reference.count, synthetic.count)
        lines = []
        if smaller < self.settings.count:
            lines.append(
                f"{smaller:,} images a side are fewer than metrics.count={self.settings.count:,}: figures under "
                "'insufficient' compare only with others of the same number of images"
            )
        if self.held_out is None:
            lines.append("no second set of real images, so there are no real-against-real figures to compare with")
        elif self.held_out.count < smaller:
            lines.append(
                f"the second set of real images has {self.held_out.count:,} images instead of {smaller:,}, "
                "so real-against-real figures are too large"
            )
        for extractor in (self.extractors or {}).values():
            if smaller <= extractor.dimension:
                lines.append(
                    f"{extractor.name}: {smaller:,} images do not fill {extractor.dimension:,} features; read its "
                    "Fréchet distance only beside the real-against-real one"
                )
            if isinstance(extractor, Inception) and not extractor.is_published:
                lines.append("inception: the weights are not the published ones; FID does not compare with papers")
        return lines


def _names_of(extractor: str) -> tuple[str, str]:
    """The Fréchet and kernel distances of an extractor; the plain names belong to Inception."""
    return ("fid", "kid") if extractor == "inception" else (f"frechet_{extractor}", f"kid_{extractor}")


def _distances(first: Measurement, second: Measurement) -> dict[str, Finding]:
    """Every distance between two measured sets."""
    findings: dict[str, Finding] = {}
    for name, extractor in first.extractors.items():
        frechet, kernel = _names_of(name)
        described = {"resize": extractor.resize, "extractor": {"name": name, "sha256": extractor.sha256}}
        if min(first.count, second.count) < 2:
            reason = "a set of one image has no spread"
            findings |= {key: Finding(None, reason=reason, **described) for key in (frechet, kernel)}
            continue
        findings[frechet] = Finding(frechet_distance(first.moments[name], second.moments[name]), **described)
        found = kernel_distance(first.features(name), second.features(name))
        extra = {
            "interval": list(kernel_interval(first.features(name), second.features(name))),
            "deviation": found.deviation,
            "subset_size": found.subset_size,
        }
        findings[kernel] = Finding(found.mean, **described, extra=extra)
    levels = pyramid_distance(first.patches(), second.patches())
    findings["swd"] = Finding(
        sum(levels) / len(levels),
        levels={str(side): level for side, level in zip(first.sides(), levels, strict=True)},
    )
    return findings


def _diversity(measured: Measurement) -> Finding:
    value = measured.similarity.compute()
    if math.isnan(value):
        return Finding(None, reason="one image makes no pair")
    betas = betas_for(min(measured.shape[1:]))
    return Finding(value, extra={"betas": list(betas), "pairs": measured.similarity.pairs})


def judge(
    *,
    reference: Images,
    held_out: Images | None,
    fake: Images,
    config: Mapping[str, Any],
    real_split: str = "train",
    train: Images | None = None,
    unseen: Images | None = None,
    device: torch.device | None = None,
) -> dict[str, Any]:
    """Judge synthetic images in one pass over each set; see `Yardstick` for the sets and the result."""
    yardstick = Yardstick(
        reference=reference,
        held_out=held_out,
        config=config,
        real_split=real_split,
        train=train,
        unseen=unseen,
        device=device,
    )
    return yardstick.judge(fake)
