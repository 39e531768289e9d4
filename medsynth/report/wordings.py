"""What metrics are called in a report, what they tell, and which direction is better."""

from dataclasses import dataclass

LOWER = "lower is closer to real"
HIGHER = "higher is better, up to the real value"


@dataclass(frozen=True)
class Wording:
    """How a metric is called in a report, what it tells, and which direction is better."""

    title: str
    tells: str
    better: str = LOWER


WORDINGS = {
    "swd": Wording("Sliced Wasserstein distance ×10³", "Patches: the finest level is sharpness, the coarsest anatomy."),
    "spectrum": Wording(
        "Power spectrum distance", "Detail of every size: blur, grain and patterns of upsampling show."
    ),
    "inception_score": Wording(
        "Inception score",
        "How certain and how varied the photographed things are that a network sees; it does not know medical images.",
        "near the real value is best",
    ),
    "classifier_score_encoder": Wording(
        "Classifier score",
        "How certain and how varied the classes are that a network trained on the real images sees.",
        "near the real value is best",
    ),
    "ms_ssim": Wording("MS-SSIM between pairs", "How alike two images of one set are.", "near the real value is best"),
    "nearest_train": Wording(
        "Distance to the nearest training image", "Root mean square, as a share of the grey range.", "near 0 is a copy"
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
    ),
}

# Of the features of an extractor: title and what it tells, after the name of these features.
OF_FEATURES = {
    "frechet": Wording("Fréchet distance", "Each set of images as one Gaussian."),
    "kid": Wording("Kernel distance", "As the Fréchet distance, without its bias for few images."),
    "precision": Wording(
        "Precision", "The share of synthetic images that lie among real ones: are they lifelike?", HIGHER
    ),
    "recall": Wording(
        "Recall", "The share of real images that lie among synthetic ones: is anything left out?", HIGHER
    ),
    "density": Wording("Density", "How many real images surround a synthetic one; 1 is usual.", HIGHER),
    "coverage": Wording("Coverage", "The share of real images with a synthetic one close by.", HIGHER),
}
NAMES = {
    "random": ("random features", "Texture, brightness and layout."),
    "encoder": ("features learnt from real images", "A network trained on the real training images."),
    "inception": ("Inception features", "A network trained on photographs."),
    "own": ("features of your own network", "The network that metrics names."),
}
INCEPTION = {"fid": "Fréchet inception distance (FID)", "kid": "Kernel inception distance (KID)"}


def wording(name: str) -> Wording:
    """The words for a metric by its name without count; of unknown metrics and extractors the name itself."""
    if name in WORDINGS:
        return WORDINGS[name]
    kind, _, extractor = name.partition("_")
    kind, extractor = {"fid": "frechet"}.get(kind, kind), extractor or "inception"
    if kind not in OF_FEATURES:
        return Wording(name, "", "")
    features, tells = features_of(extractor), NAMES.get(extractor, ("", ""))[1]
    words = OF_FEATURES[kind]
    title = INCEPTION.get(name, f"{words.title}, {features}")
    return Wording(title, f"{tells} {words.tells}".strip() if kind == "frechet" else words.tells, words.better)


def features_of(extractor: str) -> str:
    """What the features of an extractor are called."""
    return NAMES.get(extractor, (f"{extractor} features".strip(), ""))[0]
