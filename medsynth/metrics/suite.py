"""All metrics in one pass over each image set, and their entries for metrics.json.

    yardstick = Yardstick(reference=half_a, held_out=half_b, config=config.metrics)   # the real side, measured once
    judgement = yardstick.judge(fake)                                                 # as often as training asks

`judge` does both at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from medsynth.errors import UserError, counted
from medsynth.metrics import nearest as memory
from medsynth.metrics.bootstrap import resample
from medsynth.metrics.comparison import (
    Draws,
    against_unseen,
    class_scores,
    distances,
    diversity,
    names_of,
    score_of,
)
from medsynth.metrics.encoder.extractor import Encoder
from medsynth.metrics.entries import Finding, entry, metric_key, scalars
from medsynth.metrics.features import Extractor, MissingWeights
from medsynth.metrics.inception import Inception
from medsynth.metrics.measurement import Measurement, check
from medsynth.metrics.memorisation import Unseen, nearest_finding, private_findings
from medsynth.metrics.origin import Origin
from medsynth.metrics.real_sets import Images, Patients, RealSets
from medsynth.metrics.settings import load_extractors, settings
from medsynth.metrics.undefined import Undefined

__all__ = ["Images", "Patients", "Yardstick", "judge", "scalars"]

FEW_PATIENTS = 10  # of 3, 95 % intervals of the kernel distance held the true value 79 times of 100, of 5 92 times


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
        patients: of `reference`, `train` and `unseen`: intervals draw a patient's images together.
        device: where the features of large networks are computed; None: where the images are.
        thorough: also intervals, the distances to unseen patients, and the search for changed copies: seconds to a
            minute that training does not spend.
        origin: the pack whose sets these are, as `medsynth.metrics.real.real_sets` makes them: what was measured on
            them once is not measured again. None: nothing is kept.
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
        patients: Patients | None = None,
        device: torch.device | None = None,
        thorough: bool = False,
        origin: Origin | None = None,
    ) -> None:
        self.settings = settings(config)
        self.real_split = real_split
        self.patients = patients or Patients()
        self.device, self.thorough, self.origin = device, thorough, origin
        self.missing: dict[str, MissingWeights] = {}
        self.extractors: dict[str, Extractor] | None = None
        self.reference = self._measure("real", reference, like=None, part="reference")
        if not self.reference.count:
            raise UserError("there are no real images to judge by")
        self.held_out: Measurement | None = None
        if held_out is not None:
            made = self._measure("held-out real", held_out, like=self.reference, part="held out")
            self.held_out = made if made.count else None
        self.calibration = distances(self.reference, self.held_out) if self.held_out else {}
        self.calibration["ms_ssim"] = diversity(self.reference)
        self._remember(train, unseen)

    @classmethod
    def of(
        cls,
        sets: RealSets,
        *,
        config: Mapping[str, Any],
        device: torch.device | None = None,
        thorough: bool = False,
    ) -> "Yardstick":
        """Measured on these sets."""
        own = {field.name: getattr(sets, field.name) for field in fields(RealSets)}
        return cls(**own, config=config, device=device, thorough=thorough)

    def _remember(self, train: Images | None, unseen: Images | None) -> None:
        """Every training and unseen image as a thumbnail; of the unseen ones, the first `count` measured whole."""
        self.others = self._empty("unseen real", None, part="unseen" if self.thorough and unseen is not None else None)
        self.unseen = self._thumbnails("unseen", unseen, whole=self.others if self.thorough else None)
        if train is None:
            self.train = self.reference.thumbnails()
            self.unseen = self.held_out.thumbnails() if self.held_out else None
        elif (found := self._thumbnails("train", train)) is None:
            raise UserError("there are no training images to look for copies in")
        else:
            self.train = found
        self.unseen_nearest = None if self.unseen is None else memory.nearest(self.unseen, self.train)

    def _thumbnails(self, part: str, images: Images | None, *, whole: Measurement | None = None) -> Tensor | None:
        """All images as thumbnails, None without any; `whole` measures them by the way."""
        found = self.origin.recall_thumbnails(part) if self.origin and images is not None else None
        if images is None or (found is not None and (whole is None or whole.complete)):
            return found
        parts = []
        for batch in images:
            check(f"{part} real", batch, like=self.reference)
            parts.append(memory.thumbnails(batch))
            if whole is not None:
                whole.update(batch)
        if self.origin and parts:
            self.origin.keep_thumbnails(part, torch.cat(parts))
            if whole is not None:
                self.origin.keep(part, whole, count=self.settings.count)
        return torch.cat(parts) if parts else None

    def _measure(
        self, name: str, images: Images, *, like: Measurement | None, part: str | None = None, first: int = 0
    ) -> Measurement:
        """Measure the first `count` images; what is known of this part of the origin is not measured again."""
        batches = iter(images)
        start = next(batches, None)
        if start is None:
            return self._empty(name, like)
        if self.extractors is None:
            self._load(channels=start.shape[1])
        made = self._empty(name, like, part=part, first=first)
        if made.complete:
            return made
        for batch in chain([start], batches):
            made.update(batch)
            if made.count == made.most:
                break
        if self.origin and part:
            self.origin.keep(part, made, count=self.settings.count)
        return made

    def _empty(self, name: str, like: Measurement | None, *, part: str | None = None, first: int = 0) -> Measurement:
        """A measurement that knows of this part what the origin remembers."""
        extractors, count = self.extractors or {}, self.settings.count
        known = None
        if self.origin and part:
            known = self.origin.recall(part, count=count, extractors=extractors, device=self.device)
        return Measurement(
            name, count=count, extractors=extractors, like=like, device=self.device, known=known, first=first
        )

    def _load(self, *, channels: int) -> None:
        trained = self.origin.encoder() if self.origin else None
        found = load_extractors(self.settings, channels=channels, trained=trained)
        self.extractors = {name: one for name, one in found.items() if isinstance(one, Extractor)}
        self.missing = {name: one for name, one in found.items() if isinstance(one, MissingWeights)}

    def judge(self, fake: Images) -> dict[str, Any]:
        """Compare synthetic images with the real ones: the content of metrics.json, see `judgement`."""
        measured = self.measure(fake)
        return self.judgement(measured, self.find(measured))

    def measure(self, fake: Images, *, first: int = 0) -> Measurement:
        """Measure the first `count` synthetic images, or a rank's part of them that begins at number `first`."""
        return self._measure("synthetic", fake, like=self.reference, first=first)

    def find(self, synthetic: Measurement, *, name: str = "synthetic") -> dict[str, Finding]:
        """What every metric says of measured synthetic images. Raises UserError when there are none.

        name: of the draws of synthetic images behind the intervals: sets of two names are drawn independently.
        """
        if not synthetic.count:
            raise UserError("there are no synthetic images to judge")
        drawn = self._draws(synthetic, name) if self.thorough else None
        findings = {
            **distances(self.reference, synthetic, drawn=drawn),
            "ms_ssim": diversity(synthetic, drawn=name if self.thorough else None),
        }
        for metric, finding in findings.items():
            findings[metric] = finding.beside(self.calibration.get(metric))
        findings |= {
            **class_scores(self.reference, synthetic, drawn=drawn[1] if drawn else None),
            **self._unavailable(),
            "nearest_train": self._nearest(synthetic),
            **(self._private(synthetic) if self.thorough else {}),
        }
        if self.others.count:
            for metric, beside in against_unseen(self.reference, self.others, synthetic).items():
                findings[metric] = replace(findings[metric], extra={**findings[metric].extra, "unseen": beside})
        return findings

    def _draws(self, synthetic: Measurement, name: str = "synthetic") -> Draws:
        """Real patients and synthetic images drawn again and again; None where all real images are of one patient."""
        patients = self.patients.reference
        real = range(self.reference.count) if patients is None else patients[: self.reference.count]
        try:
            return resample(real, name="real"), resample(range(synthetic.count), name=name)
        except Undefined:
            return None

    def _unavailable(self) -> dict[str, Finding]:
        names = [(name, metric) for name in self.missing for metric in (*names_of(name).values(), *score_of(name))]
        return {
            metric: Finding(None, reason=self.missing[name].reason, extra={"fill": self.missing[name].fill})
            for name, metric in names
        }

    def _nearest(self, synthetic: Measurement) -> Finding:
        found = memory.nearest(synthetic.thumbnails(), self.train)
        finding = nearest_finding(found, self._unseen(), n_train=len(self.train), thorough=self.thorough)
        different = {"real": _different(self.reference), "fake": _different(synthetic)}
        side = min(memory.SIDE, *synthetic.shape[1:])
        described = f"{side}x{side} bilinear, antialiased"
        return replace(finding, resize=described, extra={**finding.extra, "different": different})

    def _private(self, synthetic: Measurement) -> dict[str, Finding]:
        return private_findings(
            synthetic.thumbnails(),
            self.train,
            self._unseen(),
            groups=self.patients.train,
            channels=synthetic.shape[0],
        )

    def _unseen(self) -> Unseen | None:
        if self.unseen is None or self.unseen_nearest is None:
            return None
        return Unseen(self.unseen, self.unseen_nearest, self.patients.unseen)

    def judgement(self, synthetic: Measurement, findings: Mapping[str, Finding]) -> dict[str, Any]:
        """The content of metrics.json.

        Returns one entry a metric under its key (see `medsynth.metrics.entries`), and beside them `insufficient`
        (entries made from fewer than `count` images, but for those with counts of their own), `warnings` (lines) and
        `images` (counts and size).
        """
        counts = {"n_real": self.reference.count, "n_fake": synthetic.count}
        few = min(counts.values()) < self.settings.count
        made: dict[str, Any] = {}
        wanting: dict[str, Any] = {}
        for name, finding in findings.items():
            its = wanting if few and finding.counts is None else made
            its[metric_key(name, self.settings.count)] = entry(finding, **counts, real_split=self.real_split)
        return {
            **made,
            "insufficient": wanting,
            "warnings": self._warnings(synthetic),
            "images": {
                "count": self.settings.count,
                **counts,
                "n_held_out": self.held_out.count if self.held_out else 0,
                "channels": synthetic.shape[0],
                "height": synthetic.shape[1],
                "width": synthetic.shape[2],
                "real_split": self.real_split,
                **self.patients.drawn(self.reference.count),
            },
        }

    def _warnings(self, synthetic: Measurement) -> list[str]:
        smaller = min(self.reference.count, synthetic.count)
        lines = [f"{name}: {one.reason}" for name, one in self.missing.items()]
        if smaller < self.settings.count:
            lines.append(
                f"{counted(smaller, 'image')} a side {_are(smaller)} fewer than "
                f"metrics.count={self.settings.count:,}: figures under 'insufficient' compare only with others of the "
                "same number of images"
            )
        if self.held_out is None:
            lines.append("no second set of real images, so there are no real-against-real figures to compare with")
        elif self.held_out.count < smaller:
            lines.append(
                f"the second set of real images has {counted(self.held_out.count, 'image')} instead of {smaller:,}, "
                "so real-against-real figures are too large"
            )
        lines += [*self._of_intervals(synthetic), *self._of_copies(synthetic)]
        for extractor in (self.extractors or {}).values():
            if smaller <= extractor.dimension:
                lines.append(
                    f"{extractor.name}: {counted(smaller, 'image')} {'does' if smaller == 1 else 'do'} not fill "
                    f"{extractor.dimension:,} features; read its Fréchet distance only beside the real-against-real one"
                )
            if isinstance(extractor, Inception) and not extractor.is_published:
                lines.append("inception: the weights are not the published ones; FID does not compare with papers")
            if isinstance(extractor, Encoder):
                lines += extractor.doubts(content=self.origin.content if self.origin else None)
        return lines

    def _of_intervals(self, synthetic: Measurement) -> Iterator[str]:
        drawn = self._draws(synthetic) if self.thorough else None
        if self.thorough and drawn is None:
            yield "real or synthetic images of one patient alone, so there are no intervals"
        elif drawn is not None and (patients := len(drawn[0].groups.unique())) < FEW_PATIENTS:
            who = "real images" if self.patients.reference is None else "real patients"
            yield (
                f"intervals rest on {patients} {who}, which is too few: those of kernel distances, spectra and "
                "neighbours are too narrow"
            )

    def _of_copies(self, synthetic: Measurement) -> Iterator[str]:
        for measured in (self.reference, synthetic):
            different = _different(measured)
            if different <= measured.count / 2 and measured.count > 1:
                yield (
                    f"the {measured.count:,} {measured.name} images are only {counted(different, 'different one')}: of "
                    "copies of copies, neighbours and intervals say little"
                )
        if self.unseen_nearest is not None and (copies := self.unseen_nearest.copies()):
            yield (
                f"{copies:,} of {counted(len(self.unseen_nearest.distance), 'unseen image')} {_are(copies)} among the "
                "training images too, and left out of what is normal: the sets overlap, or hold blank images"
            )


def _different(measured: Measurement) -> int:
    return len(measured.thumbnails().unique(dim=0))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def judge(
    *,
    reference: Images,
    held_out: Images | None,
    fake: Images,
    config: Mapping[str, Any],
    real_split: str = "train",
    train: Images | None = None,
    unseen: Images | None = None,
    patients: Patients | None = None,
    device: torch.device | None = None,
    origin: Origin | None = None,
) -> dict[str, Any]:
    """Judge synthetic images thoroughly; see `Yardstick` for the sets and the result."""
    yardstick = Yardstick(
        reference=reference,
        held_out=held_out,
        config=config,
        real_split=real_split,
        train=train,
        unseen=unseen,
        patients=patients,
        device=device,
        thorough=True,
        origin=origin,
    )
    return yardstick.judge(fake)
