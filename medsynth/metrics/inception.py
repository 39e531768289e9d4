"""`inception`: the InceptionV3 of published FIDs, from a file of the user's or a download that the user allowed."""

import hashlib
import io
import os
import pickle
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from medsynth.errors import UserError, in_short, say
from medsynth.metrics.features import Extractor, MissingWeights

FILE = "weights-inception-2015-12-05-6726825d.pth"  # torch-fidelity's conversion of the TensorFlow weights
PUBLISHED = "6726825d"  # how the sha256 of those weights begins
DIMENSION = 2048


class Inception(Extractor):
    """The 2048 pool features of torch-fidelity's InceptionV3, fed as for published FIDs: 8-bit RGB at 299 x 299.

    Grey images are repeated to three channels. The aliasing resize is part of the definition of FID: figures with
    another one cannot be compared (Parmar et al. 2022, arXiv:2104.11222).

    Args:
        network: torch-fidelity's FeatureExtractorInceptionV3 with "2048" as its only output.
        sha256: of the weights.
    """

    name = "inception"
    resize = "299x299 bilinear of TensorFlow 1, not antialiased"
    dimension = DIMENSION

    def __init__(self, network: torch.nn.Module, *, sha256: str) -> None:
        self.network = network
        self.sha256 = sha256

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        if images.shape[1] not in (1, 3):
            raise UserError(f"metrics.extractors=inception needs 1 or 3 channels, these images have {images.shape[1]}")
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # figures of a GPU compare with a CPU's
            return self.network.to(images.device)(to_rgb8(images))[0]

    @property
    def is_published(self) -> bool:
        """Does the weights' hash say that figures compare with published ones?"""
        return self.sha256.startswith(PUBLISHED)


def to_rgb8(images: Float[Tensor, "b c h w"]) -> UInt8[Tensor, "b 3 h w"]:
    """[-1, 1] -> 0 ... 255, rounded as a saved PNG would be; grey becomes three equal channels."""
    bytes_ = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return bytes_.expand(-1, 3, -1, -1)


def load_inception(*, weights: str | None, download: bool) -> Inception:
    """Build the extractor from `weights`, else from the cache folder, else from a download when that is allowed.

    Args:
        weights: torch-fidelity's weights file; None looks in the cache folder (`MEDSYNTH_CACHE`).
        download: may the file be fetched into the cache folder?

    Raises:
        MissingWeights: no file is there and none could be fetched.
        UserError: the file holds something else.
    """
    path = Path(weights).expanduser() if weights else cached_weights()
    if not path.is_file():
        if weights:
            raise MissingWeights(f"metrics.extractor.weights={weights} does not exist", fill=str(path))
        if not download:
            raise MissingWeights(
                f"no Inception weights: set metrics.extractor.weights=FILE (torch-fidelity's {FILE}), put it at "
                f"{path}, or set metrics.extractor.download=true",
                fill=str(path),
            )
        _download(path)
    return Inception(_network(path), sha256=file_sha256(path))


def cached_weights() -> Path:
    """Where a download goes and where weights are looked for when no file is named."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "medsynth"
    return Path(os.environ.get("MEDSYNTH_CACHE") or users).expanduser().absolute() / "weights" / FILE


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    say(f"fetching the Inception weights to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=PUBLISHED)
    except (OSError, RuntimeError) as error:
        reason = f"the Inception weights could not be fetched ({error}); put torch-fidelity's {FILE} at {path}"
        raise MissingWeights(reason, fill=str(path)) from error


def _network(path: Path) -> torch.nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # torch-fidelity unpickles the file it is given without restraint, so a stranger's file could run code. Read it as
    # tensors only, and hand torch-fidelity what was read.
    clean = io.BytesIO()
    try:
        torch.save(torch.load(path, map_location="cpu", weights_only=True), clean)
        clean.seek(0)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=clean)
    except (RuntimeError, TypeError, AttributeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = in_short(error)
        raise UserError(f"metrics.extractor.weights={path} is not torch-fidelity's {FILE}: {reason}") from error
