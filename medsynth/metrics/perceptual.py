"""How unlike two images look to a network: perceptual distances, and the diversity that they give a set."""

import hashlib
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.errors import UserError, in_short
from medsynth.metrics.bootstrap import chain_deviations, interval
from medsynth.metrics.chain import Chain
from medsynth.metrics.entries import Finding
from medsynth.metrics.features import Extractor, MissingWeights, resize
from medsynth.metrics.inception import cached_weights, file_sha256
from medsynth.metrics.random_features import SIZE, RandomConvolutions
from medsynth.metrics.undefined import Undefined

CHUNK = 64  # pairs compared at once
EPSILON = 1e-10  # of a channel vector's length: a place where all channels are silent stays silent
Maps = Callable[[Float[Tensor, "_b _c _h _w"]], Sequence[Tensor]]

# Where the published distance reads its networks: torchvision's `features`, after these layers (Zhang et al. 2018).
LPIPS_LAYERS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}
LPIPS_NETWORKS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
LPIPS_FILES = {
    "alex": "alexnet-owt-7be5be79.pth",
    "vgg": "vgg16-397923af.pth",
    "squeeze": "squeezenet1_1-b8a52dc0.pth",
}  # of torchvision, named after the beginning of their sha256
KEY = "metrics.extractor.lpips"
LPIPS_SIDE = 32  # pixels, below which nothing is left for AlexNet's deeper layers
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values in [0, 1]


def perceptual_distance(
    first: Sequence[Tensor], second: Sequence[Tensor], *, weights: Sequence[Float[Tensor, " _c"]] | None = None
) -> Float[Tensor, " b"]:
    """Distance of image pairs given their feature maps (b, c, h, w), layer by layer; 0 for equal maps, else positive.

    Eq. 1 of Zhang et al. 2018 (arXiv:1801.03924): channel vectors are brought to length 1, and their squared
    differences, weighted by channel, are averaged over places and summed over layers. Float32 resolves steps of 1e-4.

    Args:
        weights: what each channel's squared difference counts, at least 0, one vector a layer; None: 1, which makes a
            layer's part 2 - 2 cosine.
    """
    total = first[0].new_zeros(len(first[0]))
    for layer, (x, y) in enumerate(zip(first, second, strict=True)):
        difference = (_unit(x) - _unit(y)).square()
        if weights is not None:
            difference = difference * weights[layer].to(difference)[:, None, None]
        total = total + difference.sum(dim=1).mean(dim=(1, 2))
    return total


def _unit(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    return maps / (maps.square().sum(dim=1, keepdim=True).sqrt() + EPSILON)


@dataclass(frozen=True)
class Perceptual:
    """A perceptual distance of image pairs in [-1, 1].

    name: `lpips_alex` with the published weights, else `perceptual_<extractor>`, which says that nobody fitted it to
        what people see. resize: how images reach the network; None: as they are.
    maps: images -> feature maps. weights: by layer and channel; None: all 1. sha256: of the network, and the weights.
    """

    name: str
    maps: Maps
    sha256: str
    weights: Sequence[Tensor] | None = None
    resize: str | None = None

    @torch.no_grad()
    def __call__(self, first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # TF32 would drown steps of 1e-4
            both = self.maps(torch.cat([first, second]))
        halves = [found.chunk(2) for found in both]
        return perceptual_distance([x for x, _ in halves], [y for _, y in halves], weights=self.weights)


@dataclass(frozen=True)
class FeatureDistance:
    """The squared Euclidean distance of an extractor's features, for extractors that show no maps."""

    extractor: Extractor

    @property
    def name(self) -> str:
        return f"features_{self.extractor.name}"

    @property
    def sha256(self) -> str:
        return self.extractor.sha256

    @property
    def resize(self) -> str:
        return self.extractor.resize

    @torch.no_grad()
    def __call__(self, first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"]) -> Float[Tensor, " b"]:
        x, y = self.extractor(torch.cat([first, second])).chunk(2)
        return (x - y).square().sum(dim=1)


def distance_of(extractor: Extractor) -> Perceptual | FeatureDistance:
    """The distance that an extractor gives: on its feature maps where it shows them, else on its features."""
    if isinstance(extractor, RandomConvolutions):
        return Perceptual(
            f"perceptual_{extractor.name}", _RandomMaps(extractor), extractor.sha256, resize=extractor.resize
        )
    maps: Any = getattr(extractor, "maps", None)
    if maps is not None:
        return Perceptual(f"perceptual_{extractor.name}", maps, extractor.sha256, resize=extractor.resize)
    return FeatureDistance(extractor)


def short_name(distance: Perceptual | FeatureDistance) -> str:
    """What a metric by this distance is named after: `random`, `encoder`, `lpips_alex`."""
    return distance.name.removeprefix("perceptual_").removeprefix("features_")


def distances_at_hand(
    extractors: Sequence[Extractor], *, channels: int, side: int, lpips: str | None = None
) -> dict[str, Perceptual | FeatureDistance | Finding]:
    """By short name: the distance of the first extractor, if there is one, and the published LPIPS on AlexNet.

    Args:
        channels, side: of the images.
        lpips: torchvision's weights of AlexNet; None looks for `alexnet-owt-7be5be79.pth` beside those of Inception in
            the cache folder.

    Returns a finding without a value, for a reason, in the place of LPIPS where that cannot be had. Raises UserError
    for a file of something else.
    """
    found: dict[str, Perceptual | FeatureDistance | Finding] = {}
    if extractors:
        first = distance_of(extractors[0])
        found[short_name(first)] = first
    if channels not in (1, 3) or side < LPIPS_SIDE:
        reason = f"LPIPS needs 1 or 3 channels of {LPIPS_SIDE} pixels a side; these images have {channels} of {side}"
        return found | {"lpips_alex": Finding(None, reason=reason)}
    weights = Path(lpips).expanduser() if lpips else cached_weights().with_name(LPIPS_FILES["alex"])
    try:
        published = load_lpips(network="alex", weights=weights)
    except MissingWeights as missing:
        return found | {"lpips_alex": Finding(None, reason=missing.reason, extra={"fill": missing.fill})}
    return found | {short_name(published): published}


@dataclass(frozen=True)
class _RandomMaps:
    """The four convolutions of `random`, each map before it is halved."""

    extractor: RandomConvolutions

    def __call__(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        x = resize(images.cpu().float(), SIZE)
        found = []
        for weight, bias in self.extractor.layers:
            x = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), 0.2)
            found.append(x)
            x = F.avg_pool2d(x, 2)
        return found


# ------------------------------------------------------------------------------------------------------ LPIPS


class LpipsMaps(nn.Module):
    """The layers of a torchvision network that LPIPS compares; grey images are repeated to three channels.

    Args:
        features: the `features` of the network. layers: the places in it after which maps are taken.
    """

    def __init__(self, features: nn.Sequential, *, layers: Sequence[int]) -> None:
        super().__init__()
        self.features = features[: max(layers) + 1].eval().requires_grad_(False)
        self.layers = frozenset(layers)

    def forward(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        if images.shape[1] not in (1, 3):
            raise UserError(f"LPIPS needs 1 or 3 channels, these images have {images.shape[1]}")
        self.features.to(images.device)
        mean, deviation = (images.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        x = ((images.expand(-1, 3, -1, -1) + 1) / 2 - mean) / deviation
        found = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.layers:
                found.append(x)  # no layer behind one of these works in place
        return found


def load_lpips(*, network: str, weights: Path, linear: Path | None = None) -> Perceptual:
    """The published distance, LPIPS 0.1, on the network's own weights.

    Images keep their size, as published; those below 64 pixels a side leave little to the deeper layers.

    Args:
        network: "alex", "vgg" or "squeeze".
        weights: torchvision's file of that network, such as alexnet-owt-7be5be79.pth.
        linear: the channel weights; None takes those that torchmetrics brings.
    Returns a distance named `lpips_<network>` for torchvision's published file, else `perceptual_<network>`.

    Raises:
        MissingWeights: `weights` does not exist.
        UserError: a file of something else.
    """
    if network not in LPIPS_LAYERS:
        raise ValueError(f"LPIPS knows no network {network}; choices: {', '.join(LPIPS_LAYERS)}")
    file = LPIPS_FILES[network]
    if not weights.is_file():
        reason = f"no LPIPS weights at {weights}: put torchvision's {file} there, or set {KEY}=FILE"
        raise MissingWeights(reason, fill=str(weights))
    features = _features(network, weights)
    sha256 = file_sha256(weights)
    lins = _channel_weights(linear or _shipped(network), layers=len(LPIPS_LAYERS[network]))
    published = file.rpartition("-")[2].removesuffix(".pth")
    return Perceptual(
        name=f"lpips_{network}" if sha256.startswith(published) else f"perceptual_{network}",
        maps=LpipsMaps(features, layers=LPIPS_LAYERS[network]),
        sha256=hashlib.sha256(f"{sha256} {[lin.tolist() for lin in lins]}".encode()).hexdigest(),
        weights=lins,
    )


def _features(network: str, path: Path) -> nn.Sequential:
    from torchvision.models import get_model

    state = _tensors(path)
    with torch.device("meta"):  # no time for 60 million random numbers that are replaced at once
        features: Any = get_model(LPIPS_NETWORKS[network], weights=None).features
    own = {name.removeprefix("features."): tensor for name, tensor in state.items() if name.startswith("features.")}
    try:
        features.load_state_dict(own, assign=True)
    except RuntimeError as error:
        raise UserError(f"{KEY}={path} is not torchvision's {LPIPS_FILES[network]}: {in_short(error)}") from error
    return features


def _channel_weights(path: Path, *, layers: int) -> list[Float[Tensor, " _c"]]:
    state = _tensors(path)
    try:
        return [state[f"lin{layer}.model.1.weight"].flatten() for layer in range(layers)]
    except KeyError as error:
        raise UserError(f"{path} holds no channel weights of LPIPS: {error.args[0]} is missing") from error


def _shipped(network: str) -> Path:
    import torchmetrics.functional.image as place

    return Path(place.__file__).parent / "lpips_models" / f"{network}.pth"


def _tensors(path: Path) -> Mapping[str, Tensor]:
    """A state_dict; no code in the file is run."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise TypeError("it holds no mapping of names to tensors")
    except (RuntimeError, TypeError, EOFError, KeyError, ValueError, OSError, pickle.UnpicklingError) as error:
        raise UserError(f"{KEY}={path} holds no weights: {in_short(error)}") from error
    return state


# -------------------------------------------------------------------------------------------------- diversity


def diversity_finding(
    real: Iterable[Float[Tensor, "_b _c _h _w"]],
    fake: Iterable[Float[Tensor, "_b _c _h _w"]],
    *,
    distance: Perceptual | FeatureDistance,
    drawn: str = "synthetic",
) -> Finding:
    """The diversity of synthetic images beside that of real ones at the same count, for the key
    `diversity_<short name of the distance>`: below the real figure they resemble each other too much.

    Args:
        real, fake: batches of images in random order, read once and not kept.
        drawn: of what the draws behind the interval are named.
    """
    values = Chain.of(distance, fake).values()
    beside = Chain.of(distance, real).values()[: len(values)]
    described = {"distance": distance.name, "sha256": distance.sha256}
    if not len(values):
        return Finding(None, reason="one image makes no pair", resize=distance.resize, extra=described)
    value = values.mean().item()
    deviations = around = None
    try:
        deviations = chain_deviations(values, name=f"{drawn} pairs")
        around = interval(value, deviations, least=0.0)
    except Undefined:  # too few pairs for two blocks
        pass
    return Finding(
        value,
        beside.mean().item() if len(beside) else None,
        interval=around,
        deviations=deviations,
        resize=distance.resize,
        extra={"pairs": len(values), "pairs_real": len(beside), **described},
    )
