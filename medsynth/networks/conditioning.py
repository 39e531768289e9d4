"""How networks learn what an image is to be of: labels and covariates joined to the latent, to the image, or to the
critic's features."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as normalise_spectrally

from medsynth.errors import UserError
from medsynth.networks.critic import Critic

Label = Int[Tensor, " b"] | None  # None where there are no classes
Covariates = Float[Tensor, "b k"] | None  # in [-1, 1]; None where there are none


def conditions(*, classes: int, covariates: int) -> frozenset[str]:
    """What a network so conditioned `needs` of a batch: "label", "covariates", both or nothing."""
    return frozenset(name for name, count in (("label", classes), ("covariates", covariates)) if count)


class AttributeEmbedding(nn.Module):
    """Label and covariates -> the sum of a learned vector a class and a linear map of the covariates.

    Both start from N(0, 1), like the latents that they are joined to. Without classes, a bias takes the vectors' place.

    Args:
        classes: how many; 0 without labels.
        covariates: how many; 0 without any.
        dim: length of the embedding.
    Raises UserError when there is neither.
    """

    def __init__(self, *, classes: int, covariates: int, dim: int) -> None:
        super().__init__()
        if classes < 0 or covariates < 0 or classes + covariates == 0:
            raise UserError(
                f"classes={classes} and covariates={covariates} leave nothing to be conditioned on; "
                "give labels or data.covariates, or take an unconditional model"
            )
        if dim < 1:
            raise UserError(f"dim={dim} of an embedding must be at least 1")
        self.needs = conditions(classes=classes, covariates=covariates)
        self.of_label = nn.Embedding(classes, dim) if classes else None
        self.of_covariates = nn.Linear(covariates, dim, bias=not classes) if covariates else None
        self.draw(nn.init.normal_)

    def draw(self, initialise: Callable[[Tensor], Tensor]) -> None:
        """Draw the weights anew; the bias starts at 0."""
        if self.of_label is not None:
            initialise(self.of_label.weight)
        if self.of_covariates is not None:
            initialise(self.of_covariates.weight)
            if self.of_covariates.bias is not None:
                nn.init.zeros_(self.of_covariates.bias)

    @torch.no_grad()
    def draw_level(self) -> None:
        """Let each class, and each covariate, start with one value in all places of the embedding."""
        if self.of_label is not None:
            self.of_label.weight.copy_(torch.linspace(-1, 1, self.of_label.num_embeddings)[:, None])
        if self.of_covariates is not None:
            self.of_covariates.weight.copy_(torch.randn(self.of_covariates.in_features))

    def normalise_spectrally(self) -> None:
        """Keep the largest singular value of every map at 1."""
        for layer in (self.of_label, self.of_covariates):
            if layer is not None:
                normalise_spectrally(layer)

    def forward(self, label: Label, covariates: Covariates) -> Float[Tensor, "b d"]:
        parts: list[Tensor] = []
        if self.of_label is not None:
            assert label is not None  # `needs` names it
            parts.append(self.of_label(label))
        if self.of_covariates is not None:
            assert covariates is not None
            parts.append(self.of_covariates(covariates))
        return sum(parts[1:], parts[0])


class ConditionalGenerator(nn.Module):
    """A generator that takes an embedding of label and covariates as further latents (Mirza and Osindero 2014,
    arXiv:1411.1784).

    Args:
        network: builds the generator, given `latent_dim`.
        latent_dim: length of the latent alone.
        classes, covariates: how many; 0 for none.
        dim: of the embedding; None: as many as classes and covariates, which spans what a one-hot code of them does.
    """

    def __init__(
        self,
        *,
        network: Callable[..., nn.Module],
        latent_dim: int = 100,
        classes: int = 0,
        covariates: int = 0,
        dim: int | None = None,
    ) -> None:
        super().__init__()
        dim = classes + covariates if dim is None else dim
        self.embedding = AttributeEmbedding(classes=classes, covariates=covariates, dim=dim)
        self.needs = self.embedding.needs
        self.network = network(latent_dim=latent_dim + dim)

    def forward(
        self, latent: Float[Tensor, "b d"], *, label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, "b c h w"] | tuple[Float[Tensor, "b c _ _"], ...]:
        return self.network(torch.cat([latent, self.embedding(label, covariates)], 1))


class ConditionalCritic(Critic):
    """A critic that takes an embedding of label and covariates as one more channel of the image.

    The plane starts level, at an even spacing of -1 to 1 for the classes and at N(0, 1) times each covariate: white
    noise, as embeddings elsewhere start, says little to a critic whose first layers are small convolutions.

    Args:
        network: builds the critic, given `resolution` and `channels`.
        channels: of the image alone.
        classes, covariates: how many; 0 for none.
    """

    def __init__(
        self,
        *,
        network: Callable[..., Critic],
        resolution: int,
        channels: int = 1,
        classes: int = 0,
        covariates: int = 0,
    ) -> None:
        super().__init__()
        self.embedding = AttributeEmbedding(classes=classes, covariates=covariates, dim=resolution**2)
        self.embedding.draw_level()
        self.needs = self.embedding.needs
        self.network = network(resolution=resolution, channels=channels + 1)
        self.feature_count = self.network.feature_count
        self.head = _behead(self.network)

    def features(
        self, image: Float[Tensor, "b c h w"], *, label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, "b f"]:
        plane = self.embedding(label, covariates).unflatten(1, (1, *image.shape[2:]))  # (b, h w) -> (b, 1, h, w)
        return self.network.features(torch.cat([image, plane], 1))

    def forward(
        self, image: Float[Tensor, "b c h w"], *, label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, " b"]:
        return self.head(self.features(image, label=label, covariates=covariates)).squeeze(1)


class ProjectionCritic(Critic):
    """psi(f) + <e(y), f>: the network's own head, and the inner product of its features with an embedding of label and
    covariates (Eq. 3, Miyato and Koyama 2018, arXiv:1802.05637).

    Covariates enter e(y) linearly; the paper has labels alone.

    Args:
        network: a critic, whose head becomes psi.
        classes, covariates: how many; 0 for none.
        spectral_norm: of the embedding; the paper's is normalised like every other weight of its critic.
    """

    def __init__(self, *, network: Critic, classes: int = 0, covariates: int = 0, spectral_norm: bool = False) -> None:
        super().__init__()
        self.feature_count = network.feature_count
        self.embedding = AttributeEmbedding(classes=classes, covariates=covariates, dim=network.feature_count)
        self.embedding.draw(nn.init.xavier_uniform_)
        self.needs = self.embedding.needs
        if spectral_norm:
            self.embedding.normalise_spectrally()
        self.network, self.head = network, _behead(network)

    def features(
        self, image: Float[Tensor, "b c h w"], *, label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, "b f"]:
        """Of the image alone, whatever its label."""
        return self.network.features(image)

    def forward(
        self, image: Float[Tensor, "b c h w"], *, label: Label = None, covariates: Covariates = None
    ) -> Float[Tensor, " b"]:
        features = self.features(image)
        return self.head(features).squeeze(1) + (self.embedding(label, covariates) * features).sum(dim=1)


class AuxiliaryCritic(Critic):
    """A critic that also tells label and covariates from its features (Odena et al. 2017, arXiv:1610.09585).

    Args:
        network: a critic, whose head goes on telling real from fake.
        classes, covariates: how many; 0 for none.
        spectral_norm: of the new heads.
    """

    def __init__(self, *, network: Critic, classes: int = 0, covariates: int = 0, spectral_norm: bool = False) -> None:
        super().__init__()
        self.feature_count = network.feature_count
        self.class_head = _linear(network.feature_count, classes, spectral_norm) if classes else None
        self.covariate_head = _linear(network.feature_count, covariates, spectral_norm) if covariates else None
        self.tells = conditions(classes=classes, covariates=covariates)
        self.network, self.head = network, _behead(network)

    def features(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b f"]:
        return self.network.features(image)

    def judge(
        self, image: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, "b classes"], Float[Tensor, "b covariates"]]:
        """Logits of being real, logits of the classes, and covariates; (b, 0) where there are none."""
        features = self.features(image)
        nothing = features.new_empty(len(features), 0)
        return (
            self.head(features).squeeze(1),
            nothing if self.class_head is None else self.class_head(features),
            nothing if self.covariate_head is None else self.covariate_head(features),
        )


class ClassCritic(Critic):
    """A critic that is a classifier: one logit for synthetic images, then one for each class of real ones
    (K + 1 classes: Kavalerov et al. 2019, arXiv:1912.04216v1).

    Covariates are judged as by ProjectionCritic: their map's inner product with the features adds to the logits of all
    the real classes, so that a wrong covariate makes an image look synthetic. That is ours: the paper has labels alone.

    Args:
        network: a critic, whose head is replaced.
        classes: how many, at least 1.  covariates: how many.
        spectral_norm: of the new head.
    Raises UserError without classes.
    """

    def __init__(self, *, network: Critic, classes: int = 0, covariates: int = 0, spectral_norm: bool = False) -> None:
        super().__init__()
        if classes < 1:
            raise UserError(f"classes={classes}: this critic is a classifier and needs labels; choose another model")
        self.feature_count = network.feature_count
        self.head = _linear(network.feature_count, 1 + classes, spectral_norm)
        self.needs, self.tells = conditions(classes=0, covariates=covariates), conditions(classes=classes, covariates=0)
        self.embedding = None
        if covariates:
            self.embedding = AttributeEmbedding(classes=0, covariates=covariates, dim=network.feature_count)
            self.embedding.draw(nn.init.xavier_uniform_)
            if spectral_norm:
                self.embedding.normalise_spectrally()
        self.network = network
        _behead(network)

    def features(self, image: Float[Tensor, "b c h w"], *, covariates: Covariates = None) -> Float[Tensor, "b f"]:
        """Of the image alone, whatever its covariates."""
        return self.network.features(image)

    def forward(self, image: Float[Tensor, "b c h w"], *, covariates: Covariates = None) -> Float[Tensor, "b outputs"]:
        """Logits (b, 1 + classes), that of synthetic images first."""
        features = self.features(image)
        logits = self.head(features)
        if self.embedding is None:
            return logits
        match = (self.embedding(None, covariates) * features).sum(dim=1, keepdim=True)  # (b, 1)
        return torch.cat([logits[:, :1], logits[:, 1:] + match], 1)


def _behead(network: Critic) -> nn.Module:
    """Take the head off a critic, so that whatever reads its features instead leaves no idle weights behind."""
    head, network.head = network.head, nn.Identity()
    return head


def _linear(before: int, after: int, spectral_norm: bool) -> nn.Module:
    layer = nn.Linear(before, after)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return normalise_spectrally(layer) if spectral_norm else layer
