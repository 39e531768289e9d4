"""`encoder` as an extractor, and the file that holds one."""

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from medsynth.errors import UserError
from medsynth.metrics.encoder.network import DIMENSION, SIZE, EncoderNetwork
from medsynth.metrics.features import Extractor, MissingWeights, resize
from medsynth.metrics.inception import cached_weights

FORMAT = 1
KNOWS = 0.2  # of the way from chance to certainty: below it the classes of held-out patients are near to guessed


class Encoder(Extractor):
    """Features of a network trained on the real training images, and class probabilities where they have classes.

    Args:
        network: trained; it is put into eval mode.
        class_names: of the classifier, in its order; empty without one.
        facts: what it was trained on and how well it knows held-out patients, for people; JSON-able.
    """

    name = "encoder"
    dimension = DIMENSION
    resize = f"{SIZE}x{SIZE} bilinear, antialiased"

    def __init__(
        self, network: EncoderNetwork, *, class_names: Sequence[str] = (), facts: Mapping[str, Any] | None = None
    ) -> None:
        assert len(class_names) == len(network.class_bias)
        self.network = network.eval().requires_grad_(False)
        self.class_names = tuple(class_names)
        self.facts = dict(facts or {})
        self.sha256 = weights_sha256(network.state_dict())

    @property
    def channels(self) -> int:
        """Of the images that it sees."""
        stem: Any = self.network.stem[0]
        return stem.in_channels

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        return _exact(self._at(images), self._ready(images))

    def maps(self, images: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _o _p _q"]]:
        """The network's four feature maps, finest first: what a perceptual distance is taken on."""
        return _exact(self._at(images).maps, self._ready(images))

    @torch.no_grad()
    def probabilities(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """The probability of each class given features of `__call__`, float64. Raises UserError without classes."""
        if not self.class_names:
            raise UserError("metrics.extractors=encoder was trained without labels, so it knows no classes")
        return self.network.logits(features.to(self.network.mean.device)).double().softmax(dim=1)

    def doubts(self, *, content: str | None) -> list[str]:
        """What a reader of its figures must know, as lines.

        Args:
            content: of the pack of the real images at hand; None where nobody knows.
        """
        lines = []
        if content is not None and self.facts.get("content") != content:
            lines.append(
                f"encoder: it was trained on other images ({self.facts.get('data', 'unknown')}) than the real ones here"
            )
        if not self.class_names:
            return lines
        if (held_out := self.facts.get("held_out")) is None:
            return [*lines, "encoder: nobody knows how well it tells classes apart; do not read its classifier score"]
        chance = 1 / len(self.class_names)
        if held_out["balanced"] < chance + KNOWS * (1 - chance):
            lines.append(
                f"encoder: of unseen patients' images it gives {held_out['balanced']:.0%} their class, chance "
                f"{chance:.0%}; do not read its classifier score"
            )
        return lines

    def save(self, path: Path) -> None:
        """Write the file that `load_encoder` reads, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        state = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        content = {
            "medsynth_encoder": FORMAT,
            "channels": self.channels,
            "class_names": list(self.class_names),
            "facts": self.facts,
            "sha256": self.sha256,
            "state_dict": state,
        }
        try:
            torch.save(content, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _at(self, images: Tensor) -> EncoderNetwork:
        return self.network.to(images.device)

    def _ready(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.channels:
            raise UserError(
                f"metrics.extractors=encoder was trained on {self.channels} channels, these images have "
                f"{images.shape[1]}; train another: python -m medsynth.metrics.encoder"
            )
        return resize(images.float(), SIZE)


def _exact(function: Any, images: Tensor) -> Any:
    """Call a network without TF32, so that a GPU's figures compare with a CPU's."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return function(images)


def load_encoder(path: Path) -> Encoder:
    """Read an encoder; no code in the file is run.

    Raises:
        MissingWeights: there is no such file.
        UserError: it holds something else, or was damaged.
    """
    if not path.is_file():
        reason = f"no encoder at {path}: train one with python -m medsynth.metrics.encoder data=D out={path}"
        raise MissingWeights(reason, fill=str(path))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["medsynth_encoder"] != FORMAT:
            raise UserError(f"{path} is an encoder of another version of medsynth; train it again")
        names = [str(name) for name in content["class_names"]]
        network = EncoderNetwork(content["channels"], classes=len(names))
        network.load_state_dict(content["state_dict"])
        encoder = Encoder(network, class_names=names, facts=content["facts"])
        if encoder.sha256 != content["sha256"]:
            raise UserError(f"{path} is damaged: its weights are not those that were saved; train it again")
    except (RuntimeError, TypeError, AttributeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is no encoder of medsynth: {first}") from error
    return encoder


def cached_encoder(name: str, *, content: str, seed: int = 0) -> Path:
    """Where the encoder of a pack lies when no file is named: in the cache folder, by the pack's name and content."""
    return cached_weights().parent / f"encoder-{name}-{content[:12]}-s{seed}.pt"


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """The sha256 of tensors and their names: equal for equal weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
