"""`own`: features of a network that the user brings, as a TorchScript file or as weights of a named architecture.

resnet50 of RadImageNet:   architecture=torchvision:resnet50 file=ResNet50.pt mean=0.5 deviation=0.5
DINOv2, by TorchScript:    file=dinov2_vits14.ts
"""

import hashlib
import math
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.errors import UserError, in_short
from medsynth.metrics.features import Extractor, MissingWeights, resize
from medsynth.metrics.inception import file_sha256
from medsynth.metrics.perceptual import DEVIATION, MEAN, Maps

KEY = "metrics.extractor.own"
LIBRARIES = ("torchvision", "timm")
MOST_FEATURES = 8192  # longer vectors are maps that were flattened by mistake, and no covariance of them can be had
PREFIXES = ("module.", "model.", "backbone.", "encoder.", "state_dict.")  # that training programs put before names
Numbers = float | int | Sequence[float | int]
WHOLE = ("state_dict", "model_state_dict", "model", "teacher")  # what checkpoints call the weights among other things


@dataclass(frozen=True)
class OwnSettings:
    """How to build and feed the network: the group `metrics.extractor.own`.

    file: TorchScript, or a state_dict for `architecture`. A TorchScript file is a program: take it from nobody whom you
        would not let run one.
    architecture: `torchvision:NAME` or `timm:NAME`, whose features are what its last linear layer reads; None for
        TorchScript, whose features are what it returns.
    size: side in pixels of what it sees. channels: 3, to which grey images are repeated, or 1.
    mean, deviation: of each channel for values in [0, 1], which are brought to (value - mean) / deviation; one number
        stands for all channels. ImageNet's are the default; 0.5 and 0.5 leave [-1, 1] as it is.
    """

    file: str | None = None
    architecture: str | None = None
    size: int = 224
    channels: int = 3
    mean: Numbers = MEAN
    deviation: Numbers = DEVIATION


def own_settings(config: Mapping[str, Any]) -> OwnSettings:
    """Check the group `metrics.extractor.own`. Raises UserError for an unknown key or an impossible value."""
    known = sorted(OwnSettings.__dataclass_fields__)
    if unknown := sorted(set(config) - set(known)):
        raise UserError(f"{KEY}.{unknown[0]} is unknown; keys: {', '.join(known)}")
    chosen = OwnSettings(**config)
    library, _, name = (chosen.architecture or "torchvision:x").partition(":")
    if library not in LIBRARIES or not name:
        raise UserError(f"{KEY}.architecture={chosen.architecture} must be torchvision:NAME or timm:NAME")
    if not isinstance(chosen.size, int) or chosen.size < 16:
        raise UserError(f"{KEY}.size={chosen.size} must be a whole number of at least 16")
    if chosen.channels not in (1, 3):
        raise UserError(f"{KEY}.channels={chosen.channels} must be 1 or 3")
    if min(_by_channel(chosen, "deviation")) <= 0:
        raise UserError(f"{KEY}.deviation={chosen.deviation} must be above 0")
    _by_channel(chosen, "mean")
    return chosen


class OwnNetwork(Extractor):
    """The features of any network, from images at one size and normalised as it expects.

    Args:
        network: images (b, channels, size, size) -> features (b, d), or (b, d, 1, 1) and the like.
        chosen: how to feed it. sha256: of its file.
    Raises UserError for a network that returns no features, or other ones in other company.
    """

    name = "own"

    def __init__(self, network: nn.Module, *, chosen: OwnSettings, sha256: str) -> None:
        self.network = network.eval()
        self.chosen, self.sha256 = chosen, sha256
        self.mean, self.deviation = (torch.tensor(_by_channel(chosen, key)) for key in ("mean", "deviation"))
        fed = ", ".join(f"{key} {_brief(getattr(self, key))}" for key in ("mean", "deviation"))
        self.resize = f"{chosen.size}x{chosen.size} bilinear, antialiased, [0, 1] less {fed}"
        self.dimension = self._dimension()

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        found = self._run(self._fed(images))
        if found.shape[1] != self.dimension:
            raise UserError(f"{self._who()} gave {found.shape[1]} features, and {self.dimension} before")
        if not bool(found.isfinite().all()):
            raise UserError(f"{self._who()} gave features that are NaN or infinite; check {KEY}.mean and .deviation")
        return found

    @property
    def maps(self) -> Maps | None:
        """Images -> the last map of each size among the network's parts, finest first: what a perceptual distance is
        taken on. None for TorchScript, which cannot be looked into, and for networks without maps (b, c, n, n)."""
        if isinstance(self.network, torch.jit.ScriptModule):
            return None
        with torch.no_grad():
            found = self._maps(torch.zeros(1, self.chosen.channels, self.chosen.size, self.chosen.size))
        return self._maps if found else None

    def _maps(self, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
        found: dict[int, Tensor] = {}

        def keep(module: nn.Module, given: Any, output: Any) -> None:
            # Transformers of torchvision put channels last: those maps are not square in their last dimensions.
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
                found[output.shape[2]] = output

        parts = [
            part
            for child in self.network.children()
            for part in (child.children() if isinstance(child, nn.Sequential) else (child,))
        ]
        hooks = [part.register_forward_hook(keep) for part in parts]
        try:
            self._run(self._fed(images))
        finally:
            for hook in hooks:
                hook.remove()
        return [found[side] for side in sorted(found, reverse=True)]

    def _fed(self, images: Tensor) -> Tensor:
        """Images as the network expects them."""
        wanted, channels = self.chosen.channels, images.shape[1]
        if channels not in (1, wanted):
            raise UserError(f"{self._who()} takes {wanted} channels or grey images, these have {channels}")
        x = (resize(images.float(), self.chosen.size) + 1) / 2
        mean, deviation = (values.to(x)[:, None, None] for values in (self.mean, self.deviation))
        return (x.expand(-1, wanted, -1, -1) - mean) / deviation

    def _run(self, fed: Tensor) -> Tensor:
        try:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                found = self.network.to(fed.device)(fed)
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
            size = self.chosen.size
            raise UserError(
                f"{self._who()} fails on images of {self.chosen.channels}x{size}x{size}: {_last_line(error)}"
            ) from error
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != len(fed):
            what = f"a tensor {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
            raise UserError(f"{self._who()} must return features (images, d), and returns {what} for {len(fed)} images")
        return found.flatten(1).float()

    def _dimension(self) -> int:
        """How many features there are, found on two images; also whether they depend on the company of an image."""
        size, channels = self.chosen.size, self.chosen.channels
        ramp = torch.linspace(-1, 1, size).expand(1, channels, size, size)
        both = torch.cat([ramp, torch.full_like(ramp, -0.5)])
        with torch.no_grad():
            pair, alone = (self._run(self._fed(images)) for images in (both, both[:1]))
        if pair.shape[1] > MOST_FEATURES:
            raise UserError(
                f"{self._who()} returns {pair.shape[1]:,} features, more than {MOST_FEATURES:,}; average its maps"
            )
        if pair.shape[1] != alone.shape[1] or not torch.allclose(pair[:1], alone, rtol=1e-3, atol=1e-4, equal_nan=True):
            raise UserError(f"{self._who()} gives other features in other company; save it in eval mode")
        return pair.shape[1]

    def _who(self) -> str:
        return f"{KEY}.file={self.chosen.file}"


def load_own_network(chosen: OwnSettings) -> OwnNetwork:
    """Build the extractor `own`.

    Raises:
        MissingWeights: no file is named, or it does not exist.
        UserError: the file holds something else, or `architecture` cannot be had.
    """
    if chosen.file is None:
        raise MissingWeights(f"no network of your own: set {KEY}.file=FILE", fill=f"{KEY}.file")
    path = Path(chosen.file).expanduser()
    if not path.is_file():
        raise MissingWeights(f"{KEY}.file={chosen.file} does not exist", fill=str(path))
    sha256 = file_sha256(path)
    if chosen.architecture is None:
        return OwnNetwork(_torchscript(path), chosen=chosen, sha256=sha256)
    network = _without_head(_architecture(chosen.architecture), chosen.architecture)
    load_matching(network, _state(path), who=f"{KEY}.file={chosen.file}", architecture=chosen.architecture)
    # Another architecture may read the same weights: what it is belongs to the network's identity.
    sha256 = hashlib.sha256(f"{sha256} {chosen.architecture}".encode()).hexdigest()
    return OwnNetwork(network, chosen=chosen, sha256=sha256)


# ------------------------------------------------------------------------------------------------ TorchScript


def _torchscript(path: Path) -> nn.Module:
    if path.suffix == ".pt2":  # torch.export.load unpickles constants without restraint (PyTorch 2.15)
        raise UserError(
            f"{KEY}.file={path} is a torch.export archive, and reading one can run any code; give TorchScript, or "
            f"weights with {KEY}.architecture"
        )
    try:
        with warnings.catch_warnings():
            # PyTorch 2.15 deprecates torch.jit for torch.export, which has no safe file yet.
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.load.* is deprecated", category=FutureWarning)
            return torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"{KEY}.file={path} is no TorchScript file: {in_short(error)}; for weights alone set "
            f"{KEY}.architecture=torchvision:NAME"
        ) from error


# ----------------------------------------------------------------------------------------------- architectures


def _architecture(architecture: str) -> nn.Module:
    """A network without weights. Raises UserError for an unknown name and a library that is not installed."""
    library, _, name = architecture.partition(":")
    if library == "timm":
        return _timm(name)
    from torchvision.models import get_model, list_models

    if name not in list_models():
        raise UserError(f"{KEY}.architecture={architecture} is unknown to torchvision{_nearest(name, list_models())}")
    given = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}  # they warn without
    return get_model(name, weights=None, **given)


def _timm(name: str) -> nn.Module:
    try:
        import timm  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(f"{KEY}.architecture=timm:{name} needs the package timm: pip install timm") from None
    if not timm.is_model(name):
        raise UserError(f"{KEY}.architecture=timm:{name} is unknown to timm {timm.__version__}")
    return timm.create_model(name, pretrained=False, num_classes=0)


def _nearest(name: str, names: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(name, names, n=1)
    return f"; nearest: {near[0]}" if near else ""


def _without_head(network: nn.Module, architecture: str) -> nn.Module:
    """The network with its last linear layer, which gives class logits, replaced by what it reads."""
    if architecture.startswith("timm:"):
        return network  # num_classes=0 left it out
    linear = [name for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise UserError(f"{KEY}.architecture={architecture} has no linear layer at its end; give it as TorchScript")
    parent, _, last = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    return network


def load_matching(network: nn.Module, state: Mapping[str, Tensor], *, who: str, architecture: str) -> None:
    """Load weights whose names may carry a prefix, or number the network's parts; a head's are left out.

    Raises UserError unless every weight of the network is there, in its shape, and no weight of its parts is left over.
    """
    wanted = network.state_dict()
    best = max(_spellings(network, state), key=lambda names: len(names.keys() & wanted.keys()))
    missing = sorted(wanted.keys() - best.keys() - {name for name in wanted if name.endswith("num_batches_tracked")})
    if missing:
        raise UserError(
            f"{who} does not fit {KEY}.architecture={architecture}: {len(missing)} of {len(wanted)} weights are "
            f"missing, such as {missing[0]}"
        )
    bent = [name for name in wanted if name in best and best[name].shape != wanted[name].shape]
    if bent:
        shapes = f"{tuple(best[bent[0]].shape)} instead of {tuple(wanted[bent[0]].shape)}"
        raise UserError(f"{who} does not fit {KEY}.architecture={architecture}: {bent[0]} is {shapes}")
    parts = [name for name, part in network.named_children() if any(True for _ in part.parameters())]
    if left := sorted(name for name in best.keys() - wanted.keys() if _inside(name, parts, network)):
        raise UserError(f"{who} does not fit {KEY}.architecture={architecture}: it also holds {left[0]}")
    network.load_state_dict({name: best[name] for name in wanted if name in best}, strict=False)


def _inside(name: str, parts: Sequence[str], network: nn.Module) -> bool:
    """Does a weight belong to a part of the network that has others? A replaced head's does not."""
    owner, _, _ = name.rpartition(".")
    try:
        return name.split(".")[0] in parts and not isinstance(network.get_submodule(owner), nn.Identity)
    except AttributeError:
        return name.split(".")[0] in parts


def _spellings(network: nn.Module, state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights under the names that they may have in the network: as they are, without prefixes, by number."""
    plain = dict(state)
    found = [plain]
    while prefix := next((p for p in PREFIXES if any(name.startswith(p) for name in plain)), None):
        plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items() if name.startswith(prefix)}
        found.append(plain)
    children = [name for name, _ in network.named_children()]
    numbered = {}
    for name, tensor in plain.items():  # nn.Sequential(*network.children()), as RadImageNet has it
        number, _, rest = name.partition(".")
        if number.isdigit() and int(number) < len(children):
            numbered[f"{children[int(number)]}.{rest}"] = tensor
    return [*found, numbered]


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name; no code in it is run."""
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, TypeError, AttributeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise UserError(f"{KEY}.file={path} holds no weights that can be read safely: {in_short(error)}") from error
    while isinstance(found, Mapping) and (inner := next((k for k in WHOLE if isinstance(found.get(k), Mapping)), None)):
        found = found[inner]
    tensors = {str(k): v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    if not tensors:
        raise UserError(f"{KEY}.file={path} holds no weights by name")
    return tensors


# ------------------------------------------------------------------------------------------------------- words


def _by_channel(chosen: OwnSettings, key: str) -> tuple[float, ...]:
    """A mean or deviation as one number a channel; ImageNet's three become their average for one channel."""
    given = getattr(chosen, key)
    values = (given,) * chosen.channels if isinstance(given, int | float) else tuple(given)
    if chosen.channels == 1 and values in (MEAN, DEVIATION):
        values = (sum(values) / len(values),)
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    if len(values) != chosen.channels or not numbers:
        raise UserError(f"{KEY}.{key}={given} must be one number, or one for each of {chosen.channels} channels")
    return tuple(float(value) for value in values)


def _brief(values: Tensor) -> str:
    return "/".join(f"{value:.4g}" for value in dict.fromkeys(values.tolist()))


def _last_line(error: BaseException) -> str:
    """TorchScript puts the reason behind a trace of the program."""
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
