"""Which images are usable: a detector of spoilt images scores each sample, and the best ones can be kept.

detector = train_detector(real, held_out, seed=0)          # once a data set, within a minute
scores = detector.score(samples)
ratio, best = detector.usable(scores), keep(scores, 0.8)
"""

import hashlib
import pickle
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from medsynth.augment.affine import AffineParameters, affine
from medsynth.errors import UserError
from medsynth.latent import generator
from medsynth.metrics.auc import auc
from medsynth.metrics.features import resize
from medsynth.metrics.spoil import spoil
from medsynth.metrics.tail import Tail, low_tail

SIZE = 64
WIDTHS = (16, 32, 48, 64)
FINE = 4.0  # what is finer than 3 x 3 pixels is about four times weaker than the image
PLACES = 8  # maps of which each place counts
UNUSABLE = 0.05  # of new real images that are refused, so that few bad samples pass
STEPS = 500
BATCH = 32  # real images a step, and as many others
LEARNING_RATE = 3e-3
TURN, STRETCH, SHIFT, CONTRAST = 8.0, 0.1, 0.04, 0.05  # degrees, and shares; how training images are varied
CHUNK = 256  # images scored at once
FORMAT = "medsynth quality detector 1"


class Network(nn.Module):
    """Four halving convolutions, judged by the mean of every map, which tells texture, and by what lies where.

    It sees an image; what is finer in it than 3 x 3 pixels, without which stripes and noise are learnt late; and how
    far it is from its mirror image, because that two halves are too alike shows in no neighbourhood of one alone.

    channels: of the images. Maps (b, channels, 64, 64) to logits (b,), above 0 for real.
    """

    def __init__(self, channels: int, *, random: Generator) -> None:
        super().__init__()
        pairs = zip((3 * channels, *WIDTHS), WIDTHS, strict=False)
        self.layers = nn.ModuleList(nn.Conv2d(i, o, 4, stride=2, padding=1) for i, o in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(4, width) for width in WIDTHS)
        self.places = nn.Conv2d(WIDTHS[-1], PLACES, 1)
        self.last = nn.Linear(sum(WIDTHS) + PLACES * (SIZE // 16) ** 2, 1)
        for name, values in self.named_parameters():
            if values.ndim > 1:
                nn.init.kaiming_normal_(values, a=0.2, generator=random)
            elif "norms" not in name:
                nn.init.zeros_(values)

    def forward(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        fine = images - F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        x = torch.cat([images, FINE * fine, (images - images.flip(-1)).abs()], dim=1)
        seen = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = layer(x)
            # The mean before the norm of the first layer, which is where the grey scale still shows.
            seen.append(F.leaky_relu(x if not seen else norm(x), 0.2).mean(dim=(2, 3)))
            x = F.leaky_relu(norm(x), 0.2)
        return self.last(torch.cat([*seen, self.places(x).flatten(1)], dim=1))[:, 0]


@dataclass(frozen=True)
class Detector:
    """A trained network and what it says of real images of other patients.

    network: logits of images at 64 x 64.  channels: of the images.
    scale, offset: of logits, so that scores are probabilities for patients it was not trained on.
    tail: the low 5 % of held-out real images' scores; what scores there is unusable.
    auc: how often a held-out real image outscores a spoilt one of the same patients; near 0.5 the detector is blind.
    early: whether it has seen samples of an early checkpoint as well.
    """

    network: Network
    channels: int
    scale: float
    offset: float
    tail: Tail
    auc: float
    early: bool = False

    @torch.no_grad()
    def score(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        """The probability, 0 to 1, that an image is real, were half of all images real and half spoilt.

        Images are seen at 64 x 64, so noise and blur finer than that do not count. An image with a value that is not
        finite scores 0. Raises UserError for other channels than it was trained on.
        """
        if images.shape[1] != self.channels:
            raise UserError(f"images have {images.shape[1]} channels; the quality detector knows {self.channels}")
        return (self.scale * _logits(self.network, images) + self.offset).sigmoid().nan_to_num(nan=0.0)

    def digest(self) -> str:
        """SHA-256 of all that decides a score and what is usable, in hex."""
        numbers = (self.scale, self.offset, self.tail.threshold)
        held = b"".join(values.numpy().tobytes() for values in self.network.state_dict().values())
        return hashlib.sha256(held + repr(numbers).encode()).hexdigest()

    def usable(self, scores: Float[Tensor, " n"]) -> float:
        """The usable-image ratio: the share of scores above the threshold. About 0.95 for new real images; n >= 1."""
        return (~self.tail.holds(scores)).double().mean().item()


def train_detector(
    real: Float[Tensor, "n c h w"],
    held_out: Float[Tensor, "m c h w"],
    *,
    early: Float[Tensor, "e c h w"] | None = None,
    seed: int = 0,
    steps: int = STEPS,
) -> Detector:
    """Teach a small network real images from spoilt ones, and find what real images of other patients score.

    Spoilt ones are new at every step: real images blurred, noisy, ghosted, striped, of a wrong grey scale, or with
    anatomy scrambled (`medsynth.metrics.spoil`); with `early`, every third is one of those instead. The threshold
    leaves about 5 % of held-out real images below it. Same images and seed, same detector, on one machine.

    Args:
        real: training images, in [-1, 1].
        held_out: real images of other patients, for the threshold alone: 100 or more, of many patients.
        early: samples of an early checkpoint, which nobody would use; None: none.
        steps: of 32 real and 32 spoilt images; 500 take under a minute on one core.

    Raises:
        UserError: a set is empty.
    """
    for name, images in (("real", real), ("held-out", held_out), ("early", early)):
        if images is not None and not len(images):
            raise UserError(f"there are no {name} images to train the quality detector on")
    random = generator(seed, "quality detector")
    real, early = _small(real), None if early is None else _small(early)
    network = Network(real.shape[1], random=random)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(steps):
        good, bad = _varied(_drawn(real, 2 * BATCH, random), random).chunk(2)
        bad = spoil(bad, random)
        if early is not None:
            bad[::3] = _drawn(early, len(bad[::3]), random)
        logits = network(torch.cat([good, bad]))
        truth = torch.cat([torch.ones(BATCH), torch.zeros(BATCH)])
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, truth).backward()
        optimizer.step()
        schedule.step()
    network.eval().requires_grad_(False)
    return replace(_calibrated(network, _small(held_out), random), early=early is not None)


def _calibrated(network: Network, held_out: Float[Tensor, "m c 64 64"], random: Generator) -> Detector:
    real, spoilt = _logits(network, held_out), _logits(network, spoil(held_out, random))
    scale, offset = platt(real, spoilt)
    tail = low_tail((scale * real + offset).sigmoid(), UNUSABLE)
    return Detector(network, held_out.shape[1], scale, offset, tail, auc(real, spoilt))


def platt(higher: Float[Tensor, " n"], lower: Float[Tensor, " m"]) -> tuple[float, float]:
    """Scale and offset by which the sigmoid of a score is the probability that it is one of `higher`, at even odds.

    Platt 1999, with the targets (n + 1) / (n + 2) and 1 / (m + 2) that keep separable scores finite. The scale is
    positive: order is left alone.
    """
    x = torch.cat([higher, lower]).double()
    n, m = len(higher), len(lower)
    truth = torch.cat([torch.full((n,), (n + 1) / (n + 2)), torch.full((m,), 1 / (m + 2))]).double()
    weight = torch.cat([torch.full((n,), 0.5 / n), torch.full((m,), 0.5 / m)]).double()
    found = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # the logarithm of the scale, and the offset
    search = torch.optim.LBFGS([found], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = F.binary_cross_entropy_with_logits(found[0].exp() * x + found[1], truth, weight=weight, reduction="sum")
        value.backward()
        return value

    search.step(loss)
    return found[0].exp().item(), found[1].item()


def keep(scores: Float[Tensor, " n"], share: float) -> Int[Tensor, " k"]:
    """The positions, ascending, of the best `share` of all scores: k = ceil(share n), earlier ones before equal later.

    Raises UserError unless 0 < share <= 1.
    """
    if not 0 < share <= 1:
        raise UserError(f"keep={share} must be a share above 0 and at most 1")
    count = ceil(round(share * len(scores), 6))  # 0.8 * 5 is 4, whatever its last bit says
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def save_detector(detector: Detector, path: Path, *, origin: str = "") -> None:
    """Write a detector to a file of tensors and plain numbers, whole or not at all.

    origin: a digest of what it was trained on.
    """
    partial = path.with_name(path.name + ".partial")
    torch.save(
        {
            "format": FORMAT,
            "origin": origin,
            "channels": detector.channels,
            "scale": detector.scale,
            "offset": detector.offset,
            "auc": detector.auc,
            "early": detector.early,
            "threshold": detector.tail.threshold,
            "expected": detector.tail.expected,
            "network": detector.network.state_dict(),
        },
        partial,
    )
    partial.replace(path)


def load_detector(path: Path, *, origin: str | None = None) -> Detector:
    """Read what `save_detector` wrote; no code in the file is run.

    origin: what it must have been trained on; None: anything. Raises UserError for anything else.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(held, dict) or held.get("format") != FORMAT:
            raise UserError(f"{path} is no quality detector of this version of medsynth; train it anew")
        if origin not in (None, held["origin"]):
            raise UserError(f"{path} is a quality detector of other images; train it anew")
        network = Network(held["channels"], random=generator(0))
        network.load_state_dict(held["network"])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; it should be a quality detector") from None
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is no quality detector: it cannot be read as one; train it anew") from error
    network.eval().requires_grad_(False)
    tail = Tail(held["threshold"], held["expected"])
    return Detector(network, held["channels"], held["scale"], held["offset"], tail, held["auc"], held["early"])


@torch.no_grad()
def _logits(network: Network, images: Tensor) -> Float[Tensor, " b"]:
    return torch.cat([network(_small(chunk)) for chunk in images.split(CHUNK)])


def _small(images: Tensor) -> Float[Tensor, "b c 64 64"]:
    return resize(images.detach().cpu().float(), SIZE)


def _drawn(images: Tensor, count: int, random: Generator) -> Tensor:
    return images[torch.randint(len(images), (count,), generator=random)]


def _varied(images: Float[Tensor, "b c h w"], random: Generator) -> Float[Tensor, "b c h w"]:
    """Every other image as another patient might look: turned a little, enlarged, moved, of other contrast.

    Without it a few dozen patients are learnt by heart. Interpolation blurs a little, hence the images left alone.
    """
    count, (height, width) = len(images), images.shape[-2:]
    unit = 2 * torch.rand(8, count, generator=random) - 1
    matrix = AffineParameters(
        rotation=TURN * unit[0],
        zoom_x=1 + STRETCH * unit[1],
        zoom_y=1 + STRETCH * unit[2],
        shift_x=SHIFT * unit[3],
        shift_y=SHIFT * unit[4],
        shear=TURN * unit[5],
    ).matrix(width=width, height=height)
    gain, offset = 1 + CONTRAST * unit[6], CONTRAST * unit[7]
    varied = affine(images, matrix) * gain[:, None, None, None] + offset[:, None, None, None]
    varied[::2] = images[::2]
    return varied.clamp(-1, 1)
