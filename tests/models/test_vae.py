import pytest
import torch
from torch import Tensor, nn

from medsynth.batch import Batch, Request
from medsynth.errors import UserError
from medsynth.models.vae import VAE
from medsynth.synthesis import Training


class Fixed(nn.Module):
    """Encodes every image as N(mean, exp(log variance)) in three dimensions."""

    def __init__(self, mean: float, log_variance: float) -> None:
        super().__init__()
        self.mean, self.log_variance = nn.Parameter(torch.tensor(mean)), nn.Parameter(torch.tensor(log_variance))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean.expand(len(image), 3), self.log_variance.expand(len(image), 3)


class First(nn.Module):
    """Decodes a latent as an image full of a tenth of its first number."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.1))

    def forward(self, latent: Tensor) -> Tensor:
        return (self.gain * latent[:, :1, None, None]).expand(-1, 2, 4, 4)


def begun(*, mean: float = 0.0, log_variance: float = 0.0, deviation: float = 0.1, kl_weight: float = 1.0) -> VAE:
    model = VAE(
        encoder=Fixed(mean, log_variance),
        decoder=First(),
        latent_dim=3,
        deviation=deviation,
        kl_weight=kl_weight,
        ema_half_life=0,
    )
    model.begin(Training(batch_size=8, seed=0, optimizers={"autoencoder": torch.optim.Adam}))
    return model


def batch(grey: float = 0.4) -> Batch:
    return Batch(image=torch.full((8, 2, 4, 4), grey), row=torch.arange(8))


def test_reconstruction_is_a_sum_over_pixels_and_channels_in_nats():
    terms = begun(mean=1.0, log_variance=-torch.inf).loss(batch())
    assert terms["reconstruction"].item() == pytest.approx(2 * 16 * (0.4 - 0.1) ** 2 / (2 * 0.1**2), rel=1e-5)


def test_a_posterior_like_the_prior_costs_nothing():
    assert begun().loss(batch())["divergence"].item() == 0


def test_a_shifted_posterior_costs_half_the_squared_shift_a_dimension():
    terms = begun(mean=2.0, kl_weight=0.5).loss(batch())
    assert terms["divergence"].item() == pytest.approx(0.5 * 3 * 2.0**2 / 2)


def test_the_posteriors_noise_is_the_drawn_one():
    model = begun()
    noise = model.draws.normal("posterior", torch.arange(8), 3)[:, 0]
    expected = (2 * 16 * (0.4 - 0.1 * noise).square() / (2 * 0.1**2)).mean()
    torch.testing.assert_close(model.loss(batch())["reconstruction"], expected)


def test_encoder_and_decoder_are_one_player_of_one_phase():
    model = begun()
    assert [phase.player for phase in model.phases()] == ["autoencoder"]
    assert model.players() == {"autoencoder": [model.encoder, model.decoder]}
    torch.stack(list(model.loss(batch()).values())).sum().backward()
    assert all(weight.grad is not None for weight in model.weights("autoencoder"))


def test_images_are_decoded_latents_by_the_average_that_follows_the_player():
    model = begun()
    latent = torch.tensor([[5.0, 1.0, 1.0]])
    with torch.no_grad():
        model.decoder.gain.fill_(0.2)  # type: ignore[union-attr]
    assert model.generate(Request(latent=latent)).unique().item() == pytest.approx(0.5)
    model._average()
    assert model.generate(Request(latent=latent)).unique().item() == pytest.approx(1.0)


def test_impossible_weights_are_refused():
    with pytest.raises(UserError, match=r"model.deviation=0.0 must be a number above 0"):
        begun(deviation=0.0)
    with pytest.raises(UserError, match=r"model.kl_weight=-1.0 must be a number of at least 0"):
        begun(kl_weight=-1.0)
