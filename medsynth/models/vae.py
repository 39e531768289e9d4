"""The variational autoencoder: one player, no critic."""

from jaxtyping import Float
from torch import Tensor, nn

from medsynth.batch import Batch, Request
from medsynth.ema import Average
from medsynth.errors import UserError, check_number
from medsynth.reconstruction import divergence_from_prior, gaussian_error, reparametrise
from medsynth.synthesis import Phase, SynthesisModule, Terms


class VAE(SynthesisModule):
    """Algorithm 1 of Kingma & Welling 2014 (arXiv:1312.6114) with one sample an image (Eq. 10):

        for every batch x
            autoencoder:  (m, s^2) = encoder(x);  e ~ N(0, I);  z = m + s e
                          minimise  -log N(x; decoder(z), deviation^2 I) + kl_weight KL(N(m, s^2) || N(0, I))

    Both terms are nats an image: the first is a sum over pixels and channels, less its constant; with kl_weight 1 their
    sum is minus the ELBO. Images are decoder(z) with z ~ N(0, I).

    Args:
        encoder: images -> means and log variances (b, latent_dim).
        decoder: latents (b, latent_dim) -> images (b, c, h, w) in [-1, 1].
        deviation: of the pixels about the decoder's image, in units of the images' range [-1, 1]. It weighs
            reconstruction against prior: smaller gives sharper reconstructions and a code that the prior fits less. The
            more pixels, the larger it has to be.
        kl_weight: 1 is the paper's; beta of Higgins et al. 2017.
        ema_half_life: of the averaged decoder, in images.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int = 128,
        deviation: float = 0.3,
        kl_weight: float = 1.0,
        ema_half_life: int = 10_000,
    ) -> None:
        super().__init__()
        if not isinstance(deviation, int | float) or deviation <= 0:
            raise UserError(f"model.deviation={deviation} must be a number above 0")
        check_number("model.kl_weight", kl_weight, least=0)
        self.latent_dim, self.deviation, self.kl_weight = latent_dim, deviation, kl_weight
        self.encoder = encoder
        self.decoder = decoder
        self.decoder_average = Average(decoder, player="autoencoder", half_life=ema_half_life)

    def players(self) -> dict[str, list[nn.Module]]:
        return {"autoencoder": [self.encoder, self.decoder]}

    def phases(self) -> list[Phase]:
        return [Phase("autoencoder", self.loss)]

    def loss(self, batch: Batch) -> Terms:
        mean, log_variance = self.encoder(batch["image"])
        noise = self.draws.normal("posterior", batch["row"], self.latent_dim)
        image = self.decoder(reparametrise(mean, log_variance, noise))
        return {
            "reconstruction": gaussian_error(batch["image"], image, deviation=self.deviation).mean(),
            "divergence": self.kl_weight * divergence_from_prior(mean, log_variance).mean(),
        }

    def realness(self, batch: Batch, *, masks: int = 0) -> None:
        """None: there is no critic to ask."""

    def generate(self, request: Request) -> Float[Tensor, "b c h w"]:
        return self.decoder_average(request["latent"])
