"""What the models share whose critic is an autoencoder."""

from abc import abstractmethod
from collections.abc import Callable
from typing import NotRequired, Unpack

from jaxtyping import Float
from torch import Tensor

from medsynth.batch import Batch
from medsynth.errors import check_number
from medsynth.models.noise_to_image import NoiseToImage, Shared
from medsynth.networks.autoencoder import Autoencoder
from medsynth.reconstruction import pulling_away
from medsynth.synthesis import Image, Phase, Terms


class EnergyShared(Shared):
    """What every EnergyBased is built with beside its critic, and passes on."""

    pulling_away_weight: NotRequired[float]


class EnergyBased(NoiseToImage):
    """Abstract: the critic is an autoencoder, and its error an energy E, low at what it takes for real. The generator
    minimises

        E(G(z)) + pulling_away_weight PT(code of G(z))

    where PT is the mean squared cosine between codes of different images (section 2.4, Zhao et al. 2017,
    arXiv:1609.03126): it pushes a batch's images apart.

    Args:
        pulling_away_weight: 0.1 in Zhao et al.; 0: none.

    Attributes:
        error: images, and what the critic makes of them -> energies (b,).
    """

    has_boundary = False  # between energies of real and of fake images
    critic: Autoencoder
    error: Callable[[Tensor, Tensor], Tensor]

    def __init__(self, *, critic: Autoencoder, pulling_away_weight: float = 0.0, **shared: Unpack[Shared]) -> None:
        super().__init__(critic=critic, **shared)
        check_number("model.pulling_away_weight", pulling_away_weight, least=0)
        self.pulling_away_weight = pulling_away_weight

    def phases(self) -> list[Phase]:
        return [Phase("critic", self.critic_loss), Phase("generator", self.generator_loss)]

    @abstractmethod
    def critic_loss(self, batch: Batch) -> Terms:
        """Low for low energies of real images and high ones of fakes."""

    def generator_loss(self, batch: Batch) -> Terms:
        fake = self.fake(batch, "generator")
        energy, code = self._energy_and_code(fake)
        terms = {"fake": energy.mean(), **self.feature_matching(batch, fake)}
        if self.pulling_away_weight:
            terms["pulling_away"] = self.pulling_away_weight * pulling_away(code)
        return terms

    def energy(self, image: Image) -> Float[Tensor, " b"]:
        """E of each image."""
        return self._energy_and_code(image)[0]

    def _realness(self, batch: Batch, image: Image) -> Float[Tensor, " b"]:
        return -self.energy(image)

    def _energy_and_code(self, image: Image) -> tuple[Float[Tensor, " b"], Float[Tensor, "b f"]]:
        assert isinstance(image, Tensor)
        code = self.critic.features(image)
        return self.error(image, self.critic.decode(code)), code
