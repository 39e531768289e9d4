"""One adversarial game a level of a Laplacian pyramid."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from medsynth.batch import Batch, Request
from medsynth.ema import Average
from medsynth.losses import AdversarialLoss
from medsynth.models.at_rest import at_rest
from medsynth.models.noise_to_image import given
from medsynth.networks import check_resolution
from medsynth.networks.conditioning import ConditionalCritic, ConditionalGenerator, conditions
from medsynth.networks.critic import Critic
from medsynth.networks.laplacian import ConditionalHighPass, check_start, down, low_pass, up
from medsynth.synthesis import Phase, SynthesisModule, Terms

Image = Float[Tensor, "b c h w"]


class LAPGAN(SynthesisModule):
    """Algorithm 1 of Denton et al. 2015 (arXiv:1506.05751):

        for every batch, at every level k of its images' pyramid
            I = the image at the level's side;  l = up(down(I)), nothing at the coarsest
            critic:     z ~ N(0, I);  h = G_k(z, l);  minimise loss.critic(D_k(I, l), D_k(l + h, l))
            generator:  z ~ N(0, I);  h = G_k(z, l);  minimise loss.generator(D_k(l + h, l))
        to generate, coarse to fine:  I_K = G_K(z_K);  I_k = up(I_{k+1}) + G_k(z_k, up(I_{k+1}))

    The levels learn independently, each from real low-pass images, and every one is a pair of players,
    "critic/16" and "generator/16". Deviations: critics see real and fake in one step instead of one of them at random,
    and an image beside its low-pass, where the authors' code shows the image alone, as low-pass plus residual;
    noise is normal instead of uniform, as all latents here; while generating, each level's image is clamped to
    [-1, 1], where the low-pass images of training lie.

    With classes (the paper's CC-LAPGAN) or covariates every network gets an embedding of them: one more plane of an
    image, further latents of the coarsest generator.

    Args:
        coarse_generator: makes the network of latent (b, coarse_dim) -> images of side `start`, given side,
            channels and latent_dim.
        coarse_critic: makes its critic, given resolution (`start`) and channels.
        generator: makes a finer level's network of (noise plane, low-pass) -> residual, given channels.
        critic: makes its critic of image and low-pass, concatenated: given resolution and 2 x channels.
        loss: both sides' losses on logits.
        start: side of the coarsest level.
        coarse_dim: length of its latent.  The latent of a whole image is that and a noise plane a finer level.
        classes, covariates: how many; 0 for none.
        n_critic: critic steps a generator step.
        feature_matching_weight: of |E f(real) - E f(fake)|^2 for each critic's features f in its generator's loss.
    """

    def __init__(
        self,
        *,
        resolution: int,
        channels: int,
        coarse_generator: Callable[..., nn.Module],
        coarse_critic: Callable[..., Critic],
        generator: Callable[..., nn.Module],
        critic: Callable[..., Critic],
        loss: AdversarialLoss,
        start: int = 8,
        coarse_dim: int = 100,
        classes: int = 0,
        covariates: int = 0,
        n_critic: int = 1,
        ema_half_life: int = 10_000,
        feature_matching_weight: float = 0.0,
    ) -> None:
        super().__init__()
        check_resolution(resolution)
        self.start, self.coarse_dim = check_start(start, resolution), coarse_dim
        self.loss, self.n_critic, self.feature_matching_weight = loss, n_critic, feature_matching_weight
        self.finer = [side for side in (2**power for power in range(11)) if start < side <= resolution]
        self.latent_dim = coarse_dim + sum(side**2 for side in self.finer)
        self.generators, self.critics = nn.ModuleDict(), nn.ModuleDict()
        coarse_generator = partial(coarse_generator, side=start, channels=channels)
        finer = dict.fromkeys(self.finer, generator)
        if classes or covariates:
            asked: Any = {"classes": classes, "covariates": covariates}
            self.needs = self.needs | conditions(**asked)
            coarse_generator = partial(ConditionalGenerator, network=coarse_generator, **asked)
            coarse_critic, critic = (
                partial(ConditionalCritic, network=one, **asked) for one in (coarse_critic, critic)
            )
            finer = {side: partial(ConditionalHighPass, network=generator, side=side, **asked) for side in self.finer}
        self.generators[str(start)] = coarse_generator(latent_dim=coarse_dim)
        self.critics[str(start)] = coarse_critic(resolution=start, channels=channels)
        for side in self.finer:
            self.generators[str(side)] = finer[side](channels=channels)
            self.critics[str(side)] = critic(resolution=side, channels=2 * channels)
        self.generator_averages = nn.ModuleDict(
            {
                side: Average(network, player=f"generator/{side}", half_life=ema_half_life)
                for side, network in self.generators.items()
            }
        )

    def players(self) -> dict[str, list[nn.Module]]:
        pairs = ((side, self.critics[side], self.generators[side]) for side in self.generators)
        return {
            name: [network]
            for side, critic, generator in pairs
            for name, network in ((f"critic/{side}", critic), (f"generator/{side}", generator))
        }

    def averages(self) -> list[Average]:
        return [average for average in self.generator_averages.values() if isinstance(average, Average)]

    def phases(self) -> list[Phase]:
        return [
            phase
            for side in (self.start, *self.finer)
            for phase in (
                Phase(f"critic/{side}", partial(self.critic_loss, side)),
                Phase(f"generator/{side}", partial(self.generator_loss, side), every=self.n_critic),
            )
        ]

    def critic_loss(self, side: int, batch: Batch) -> Terms:
        real, low = self.level(side, batch)
        with torch.no_grad():
            fake = self.fake(side, batch, low, f"critic/{side}")
        critic = self.critic(side)
        shown = self.shown(side, batch, real, low, "real"), self.shown(side, batch, fake, low, "critic")
        asked = given(critic, batch)
        logits = critic(shown[0], **asked), critic(shown[1], **asked)
        self.heard(*logits, player=f"critic/{side}")
        return {"adversarial": self.loss.critic(*logits)}

    def generator_loss(self, side: int, batch: Batch) -> Terms:
        real, low = self.level(side, batch)
        critic = self.critic(side)
        asked = given(critic, batch)
        shown = self.shown(side, batch, self.fake(side, batch, low, f"generator/{side}"), low, "generator")
        terms = {"adversarial": self.loss.generator(critic(shown, **asked))}
        if self.feature_matching_weight:
            with torch.no_grad():
                wanted = critic.features(self.shown(side, batch, real, low, "real"), **asked).mean(dim=0)
            apart = critic.features(shown, **asked).mean(dim=0) - wanted
            terms["feature_matching"] = self.feature_matching_weight * apart.square().sum()
        return terms

    def critic(self, side: int) -> Critic:
        """A level's critic."""
        network = self.critics[str(side)]
        assert isinstance(network, Critic)
        return network

    def level(self, side: int, batch: Batch) -> tuple[Image, Image | None]:
        """The batch's images at a level's side, and their low-pass; None at the coarsest level."""
        image = batch["image"]
        while image.shape[-1] > side:
            image = down(image)
        return image, None if side == self.start else low_pass(image)

    def fake(self, side: int, batch: Batch, low: Image | None, draw: str) -> Image:
        """A level's images from real low-pass images and fresh noise; `draw` names the noise."""
        generator = self.generators[str(side)]
        asked = given(generator, batch)
        if low is None:
            return generator(self.draws.normal(draw, batch["row"], self.coarse_dim), **asked)
        return low + generator(self.draws.normal(draw, batch["row"], 1, side, side), low, **asked)

    def shown(self, side: int, batch: Batch, image: Image, low: Image | None, kind: str) -> Float[Tensor, "b d h w"]:
        """What a level's critic gets: images beside their low-pass, channels that are masks last of all.

        Under critic_augment both are moved and recoloured by the same draws, each as an image of its own: colours that
        mixed their channels would scale the residual, which is their difference. Instance noise is drawn for each
        channel of both, for equal noise on both would leave the residual without any.
        """
        masks, augment, name = self.training_config.mask_channels, None, f"{kind}/{side}"
        parts = [image] if low is None else [image, low]
        if self.critic_augments:
            augment = self.critic_augments[f"critic/{side}"]
            rows = batch["row"]
            parts = [augment.transformed(part.float(), self.draws, rows, name=name, masks=masks) for part in parts]
        pair = joined(parts, masks=masks)
        return pair if augment is None else augment.noisy(pair, self.draws, batch["row"], name=name)

    def realness(self, batch: Batch, *, masks: int = 0) -> Float[Tensor, " b"]:
        """How real the critics of all levels find the images of a batch: the sum of their logits, more being more real.

        An image's probability is that of its coarsest level times those of all finer levels given their low-pass
        (section 2.2 of the paper), and a critic's best logit is the logarithm of real over fake, so the logits add up.
        Of each image alone, unaugmented, see `at_rest`.

        Args:
            masks: how many last channels are masks.
        """
        found = []
        with at_rest(self.critics):
            for side in (self.start, *self.finer):
                image, low = self.level(side, batch)
                shown = joined([image] if low is None else [image, low], masks=masks)
                found.append(self.critic(side)(shown, **given(self.critic(side), batch)))
            return torch.stack(found).sum(dim=0)

    def generate(self, request: Request) -> Float[Tensor, "b c h w"]:
        coarse, *planes = request["latent"].split([self.coarse_dim, *(side**2 for side in self.finer)], dim=1)
        asked = given(self.generators[str(self.start)], request)
        image = self.generator_averages[str(self.start)](coarse, **asked)
        for side, plane in zip(self.finer, planes, strict=True):
            low = up(image)
            residual = self.generator_averages[str(side)](plane.unflatten(1, (1, side, side)), low, **asked)
            image = (low + residual).clamp(-1, 1)
        return image


def joined(parts: list[Image], *, masks: int) -> Float[Tensor, "b d h w"]:
    """Images of one size, channel behind channel; the last `masks` of each come after all colours."""
    colours = parts[0].shape[1] - masks
    return torch.cat([part[:, :colours] for part in parts] + [part[:, colours:] for part in parts], dim=1)
