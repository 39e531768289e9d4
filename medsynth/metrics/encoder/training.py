"""Training the encoder: VICReg on two views of each image, then a linear classifier where there are labels."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor, nn

from medsynth.errors import UserError, say
from medsynth.latent import generator
from medsynth.metrics.encoder.extractor import Encoder
from medsynth.metrics.encoder.network import DEEP, SIZE, EncoderNetwork, deep
from medsynth.metrics.features import resize
from medsynth.seeds import fold

STEPS = 400
BATCH = 128
LEAST = 16  # images; variances of fewer say nothing
MOST_IMAGES = 20_000  # kept at 64 x 64 in half precision: 164 MB a channel
EXPANDED = 256  # the expander's width
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0  # section 4.2 of the paper
LEARNING_RATE, WEIGHT_DECAY, WARM_UP = 2e-3, 1e-4, 20
SMALLEST_CROP = 0.75  # of the side
CONTRAST, BRIGHTNESS = 0.2, 0.1  # at most this factor and this much of the half range
RIDGE = 1e-2  # of 1e-4 to 1, the least cross-entropy on other patients' MRI
CHUNK = 256


def train_encoder(
    batches: Iterable[Float[Tensor, "_b _c _h _w"]],
    labels: Int[ndarray, " n"] | None = None,
    *,
    class_names: Sequence[str] = (),
    seed: int = 0,
    steps: int = STEPS,
    device: torch.device | None = None,
    progress: Callable[[str], None] = say,
) -> Encoder:
    """Train an encoder on images of training patients alone; on a CPU equal arguments give equal weights.

        1  draw 128 images, two views of each: a crop of 75 to 100 % of the side, contrast and brightness
        2  z, z' = expander(features of the last stage)
        3  step down 25 |z - z'|^2 + 25 (hinge of deviations at 1) + covariances off the diagonal   [VICReg, Eq. 6]
        4  at the end: standardise all features over the training images
        5  with labels: multinomial logistic regression on the standardised features, which it does not change

    VICReg (Bardes et al. 2022, arXiv:2105.04906) needs no negatives, which neighbouring slices of one patient would
    falsely be. Views are neither blurred nor noisy nor flipped, since a metric must see these. Features without labels
    judge images more evenly than a classifier's (Morozov et al. 2021; Kynkäänniemi et al. 2022, arXiv:2203.06026).
    Deviations: AdamW at 2e-3 with a cosine instead of LARS, and a narrow expander, for a CPU's batches.

    Args:
        batches: images in [-1, 1]; of more than 20,000 the first are taken.
        labels: the class of each image, -1 where nobody said; None for no classifier.
        class_names: of the labels 0, 1 ...; a class without images here is refused.
        steps: of the optimizer.
        device: None: the CPU.
        progress: where lines for people go.
    Raises UserError for fewer than 16 images.
    """
    images = _kept(batches)
    known = labels is not None and len(class_names) > 1
    classes = _checked(labels, len(images), class_names) if known and labels is not None else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(seed, "encoder"))
        network = EncoderNetwork(images.shape[1], classes=len(class_names) if known else 0)
        expander = _expander()
    both = nn.ModuleList([network, expander]).to(device or torch.device("cpu"))
    _learn(network, expander, images, seed=seed, steps=steps, progress=progress)
    both.cpu().eval()
    _standardise(network, images)
    if classes is not None:
        features = _features(network, images)
        weight, bias = logistic_regression(features[classes >= 0], classes[classes >= 0], classes=len(class_names))
        network.class_weight.copy_(weight)
        network.class_bias.copy_(bias)
    facts = {"images": len(images), "steps": steps, "seed": seed}
    return Encoder(network, class_names=class_names if known else (), facts=facts)


def vicreg(first: Float[Tensor, "b d"], second: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """Eq. 6 of Bardes et al. 2022 for the embeddings of two views; b >= 2.

    25 times the mean squared difference (Eq. 5; here over dimensions too, as their weights suppose), 25 times the mean
    hinge max(0, 1 - deviation) (Eq. 1, 2), and the squared covariances off the diagonal over d (Eq. 3, 4).
    """
    loss = INVARIANCE * F.mse_loss(first, second)
    for z in (first, second):
        centred = z - z.mean(dim=0)
        covariance = centred.T @ centred / (len(z) - 1)
        deviation = (covariance.diagonal() + 1e-4).sqrt()
        off = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + VARIANCE / 2 * (1 - deviation).relu().mean() + COVARIANCE * off / z.shape[1]
    return loss


def view(images: Float[Tensor, "b c h w"], stream: torch.Generator) -> Float[Tensor, "b c h w"]:
    """Each image cropped to 75 to 100 % of its side at a random place and resized back, its grey values stretched."""
    drawn = torch.rand(5, len(images), 1, 1, generator=stream).to(images.device)
    scale = SMALLEST_CROP + (1 - SMALLEST_CROP) * drawn[0]
    shift = (1 - scale) * (2 * drawn[1:3] - 1)
    zero = torch.zeros_like(scale)
    rows = [torch.cat([scale, zero, shift[0]], dim=2), torch.cat([zero, scale, shift[1]], dim=2)]
    grid = F.affine_grid(torch.cat(rows, dim=1), list(images.shape), align_corners=False)
    cropped = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    contrast, brightness = (1 + CONTRAST * (2 * drawn[3] - 1), BRIGHTNESS * (2 * drawn[4] - 1))
    return cropped * contrast[..., None] + brightness[..., None]


def logistic_regression(
    features: Float[Tensor, "n d"], labels: Int[Tensor, " n"], *, classes: int, ridge: float = RIDGE
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Weights and biases that minimise mean cross-entropy + ridge / 2 |weights|^2, in float64 by L-BFGS from zero."""
    x = features.double()
    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-10)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), labels) + ridge / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]  # a closure may return a tensor
    return weight.detach(), bias.detach()


@dataclass(frozen=True)
class Accuracy:
    """How often the likeliest class is right: over images, and as the mean over classes that occur."""

    share: float
    balanced: float
    images: int


def accuracy(
    encoder: Encoder, batches: Iterable[Float[Tensor, "_b _c _h _w"]], labels: Int[ndarray, " n"]
) -> Accuracy | None:
    """Measure an encoder's classifier on images with labels >= 0; None when there are none."""
    guessed = [encoder.probabilities(encoder(batch)).argmax(dim=1).cpu() for batch in batches]
    truth = torch.from_numpy(labels).long()
    known = truth >= 0
    if not guessed or not known.any():
        return None
    right = (torch.cat(guessed) == truth)[known].double()
    truth = truth[known]
    each = [right[truth == label].mean().item() for label in truth.unique().tolist()]
    return Accuracy(right.mean().item(), sum(each) / len(each), len(right))


def _kept(batches: Iterable[Tensor]) -> Tensor:
    """The first images at the network's size, in half precision."""
    kept: list[Tensor] = []
    count = 0
    for batch in batches:
        kept.append(resize(batch[: MOST_IMAGES - count].detach().cpu().float(), SIZE).half())
        count += len(kept[-1])
        if count == MOST_IMAGES:
            break
    if count < LEAST:
        raise UserError(f"{count} training images are too few for an encoder; it needs at least {LEAST}")
    images = torch.cat(kept)
    if not bool(images.isfinite().all()):
        raise UserError("training images hold NaN or infinite values, so no encoder can be trained on them")
    return images


def _checked(labels: ndarray, count: int, class_names: Sequence[str]) -> Tensor:
    classes = torch.from_numpy(labels).long()[:count]
    absent = [name for k, name in enumerate(class_names) if not bool((classes == k).any())]
    if absent:
        raise UserError(f"class '{absent[0]}' has no training image, so no classifier can be trained")
    return classes


def _expander() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in (DEEP, EXPANDED):
        layers += [nn.Linear(inputs, EXPANDED, bias=False), nn.BatchNorm1d(EXPANDED), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(EXPANDED, EXPANDED))


def _learn(
    network: EncoderNetwork,
    expander: nn.Module,
    images: Tensor,
    *,
    seed: int,
    steps: int,
    progress: Callable[[str], None],
) -> None:
    device = network.mean.device
    parameters = [*network.parameters(), *expander.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    stream = generator(seed, "encoder", "batches")
    for step in range(steps):
        rate = min(1.0, (step + 1) / WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
        drawn = images[torch.randperm(len(images), generator=stream)[:BATCH]].float().to(device)
        views = torch.cat([view(drawn, stream), view(drawn, stream)])
        # One pass for both views: they share the batch's statistics.
        first, second = expander(deep(network.maps(views))).chunk(2)
        loss = vicreg(first, second)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % max(1, steps // 5) == 0:
            progress(f"encoder: step {step + 1:,} of {steps:,}, loss {loss.item():.3f}")


@torch.no_grad()
def _features(network: EncoderNetwork, images: Tensor) -> Tensor:
    return torch.cat([network(chunk.float()) for chunk in images.split(CHUNK)])


def _standardise(network: EncoderNetwork, images: Tensor) -> None:
    """Give each feature mean 0 and deviation 1 over the training images; a constant one is only centred."""
    found = _features(network, images).double()
    deviation = found.std(dim=0)
    network.mean.copy_(found.mean(dim=0))
    network.deviation.copy_(torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)))
