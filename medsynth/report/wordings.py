"""What metrics are called in a report, what they tell, and which direction is better."""

from dataclasses import dataclass, replace
from typing import Literal

Toward = Literal["low", "high", "real"]  # high: up to the real value
LOWER = "lower is closer to real"
HIGHER = "higher is better, up to the real value"


@dataclass(frozen=True)
class Wording:
    """How a metric is called in a report, what it tells, and which direction is better.

    toward: by what sets are ranked; None: by this they are not.
    """

    title: str
    tells: str
    better: str = LOWER
    toward: Toward | None = "low"


WORDINGS = {
    "swd": Wording("Sliced Wasserstein distance ×10³", "Patches: the finest level is sharpness, the coarsest anatomy."),
    "spectrum": Wording(
        "Power spectrum distance", "Detail of every size: blur, grain and patterns of upsampling show."
    ),
    "inception_score": Wording(
        "Inception score",
        "How certain and how varied the photographed things are that a network sees; it does not know medical images.",
        "near the real value is best",
        "real",
    ),
    "classifier_score_encoder": Wording(
        "Classifier score",
        "How certain and how varied the classes are that a network trained on the real images sees.",
        "near the real value is best",
        "real",
    ),
    "ms_ssim": Wording(
        "MS-SSIM between pairs", "How alike two images of one set are.", "near the real value is best", "real"
    ),
    "nearest_train": Wording(
        "Distance to the nearest training image",
        "Root mean square, as a share of the grey range.",
        "near 0 is a copy",
        None,
    ),
    "duplicates": Wording(
        "Share of likely duplicates",
        "Synthetic images as close to a training image, even mirrored, moved or recoloured, as 99% of unseen patients' "
        "are not.",
        "more than the real value was remembered",
    ),
    "authenticity": Wording(
        "Authenticity",
        "The share of images that are no noisy version of a training image.",
        "less than the real value was remembered",
        "high",
    ),
    "membership": Wording(
        "Membership by the critic's scores",
        "How often the critic finds a training image more real than one of a patient it never saw (AUC).",
        "0.5 says that nothing leaks, 1 that every training image is known",
    ),
    "usable": Wording(
        "Share of usable images",
        "Images that a detector of spoilt ones (early, damaged, scrambled) takes for usable.",
        "higher is better, up to the share of new real images",
        "high",
    ),
}
PAIRED = {
    "mae": Wording("Mean absolute error", "How far pixels lie from those of the paired real image."),
    "psnr": Wording("PSNR", "The squared error against the range of values, in dB.", "higher is closer", "high"),
    "ssim": Wording("SSIM", "How alike the structures of the two images are; 1 is equal.", "higher is closer", "high"),
    "ms_ssim": Wording("MS-SSIM", "SSIM at several scales.", "higher is closer", "high"),
}

# Of the features of an extractor: title and what it tells, after the name of these features.
OF_FEATURES = {
    "frechet": Wording("Fréchet distance", "Each set of images as one Gaussian."),
    "kid": Wording("Kernel distance", "As the Fréchet distance, without its bias for few images."),
    "precision": Wording(
        "Precision", "The share of synthetic images that lie among real ones: are they lifelike?", HIGHER, "high"
    ),
    "recall": Wording(
        "Recall", "The share of real images that lie among synthetic ones: is anything left out?", HIGHER, "high"
    ),
    "density": Wording("Density", "How many real images surround a synthetic one; 1 is usual.", HIGHER, "high"),
    "coverage": Wording("Coverage", "The share of real images with a synthetic one close by.", HIGHER, "high"),
}
NAMES = {
    "random": ("random features", "Texture, brightness and layout."),
    "encoder": ("features learnt from real images", "A network trained on the real training images."),
    "inception": ("Inception features", "A network trained on photographs."),
    "own": ("features of your own network", "The network that metrics names."),
}
DISTANCES = {"lpips_alex": "LPIPS (AlexNet)", "lpips_vgg": "LPIPS (VGG)", "lpips_squeeze": "LPIPS (SqueezeNet)"}
INCEPTION = {"fid": "Fréchet inception distance (FID)", "kid": "Kernel inception distance (KID)"}


def wording(name: str) -> Wording:
    """The words for a metric by its name without count; of unknown metrics and extractors the name itself."""
    kind, _, rest = name.partition("_")
    if name in WORDINGS:
        return WORDINGS[name]
    if kind == "pair":
        return _paired(name, rest)
    if kind in ("ppl", "diversity") and rest:
        return _perceptual(kind, rest)
    kind, extractor = {"fid": "frechet"}.get(kind, kind), rest or "inception"
    if kind not in OF_FEATURES:
        return Wording(name, "", "", None)
    features, tells = features_of(extractor), NAMES.get(extractor, ("", ""))[1]
    words = OF_FEATURES[kind]
    title = INCEPTION.get(name, f"{words.title}, {features}")
    return replace(words, title=title, tells=f"{tells} {words.tells}".strip() if kind == "frechet" else words.tells)


def _paired(name: str, score: str) -> Wording:
    if score.startswith("dice_"):
        tells = "Twice the overlap of both masks over the sum of their areas; 1 is equal."
        return Wording(f"Dice of label {score.removeprefix('dice_')}, pairs", tells, "higher is closer", "high")
    words = PAIRED.get(score)
    return Wording(name, "", "", None) if words is None else replace(words, title=f"{words.title}, pairs")


def _perceptual(kind: str, distance: str) -> Wording:
    name = DISTANCES.get(distance) or features_of(distance.removeprefix("perceptual_").removeprefix("features_"))
    if kind == "ppl":
        tells = "How much a small step between two latents changes the image; sudden changes make it large."
        return Wording(f"Perceptual path length, {name}", tells, "lower is smoother")
    tells = "How unlike two images of one set look to a network."
    return Wording(
        f"Distance between pairs, {name}", tells, "higher is more varied; near the real value is best", "real"
    )


def features_of(extractor: str) -> str:
    """What the features of an extractor are called."""
    return NAMES.get(extractor, (f"{extractor} features".strip(), ""))[0]
