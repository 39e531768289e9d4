from functools import partial

import pytest
import torch
from torch import Tensor, nn

from medsynth.augment.ada import ADA
from medsynth.augment.critic_augment import CriticAugment, Fixed, NoiseAlone
from medsynth.augment.diffaugment import DiffAugment
from medsynth.augment.instance_noise import InstanceNoise
from medsynth.batch import Batch, Request
from medsynth.clock import Clock
from medsynth.latent import Draws
from medsynth.losses import NonSaturating
from medsynth.models.lapgan import LAPGAN
from medsynth.networks.convolutional import ConvCritic
from medsynth.networks.critic import Critic
from medsynth.networks.dense import DenseCritic
from medsynth.networks.laplacian import CoarseGenerator, HighPassGenerator, down, low_pass, up
from medsynth.synthesis import Training

OPTIMIZERS = {"critic": torch.optim.Adam, "generator": torch.optim.Adam}


class Constant(nn.Module):
    """A residual generator that says the same everywhere."""

    def __init__(self, *, channels: int, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, noise: Tensor, low_pass: Tensor) -> Tensor:
        return self.value.expand_as(low_pass)


class Recorder(Critic):
    """A critic that keeps what it was shown."""

    def __init__(self, *, resolution: int, channels: int) -> None:
        super().__init__()
        self.feature_count, self.head, self.shown = channels, nn.Linear(channels, 1), []

    def features(self, image: Tensor) -> Tensor:
        self.shown.append(image)
        return image.mean(dim=(2, 3))


def lapgan(*, resolution: int = 32, channels: int = 1, **parts: object) -> LAPGAN:
    networks = {
        "coarse_generator": partial(CoarseGenerator, widths=[8]),
        "coarse_critic": partial(DenseCritic, widths=[8]),
        "generator": partial(HighPassGenerator, width=4),
        "critic": partial(ConvCritic, width=4),
    }
    model = LAPGAN(resolution=resolution, channels=channels, loss=NonSaturating(), **{**networks, **parts})
    model.begin(Training(batch_size=4, seed=0, optimizers=OPTIMIZERS))
    return model


def batch(*, resolution: int = 32, channels: int = 1) -> Batch:
    return Batch(image=torch.rand(4, channels, resolution, resolution) * 2 - 1, row=torch.arange(4))


def test_every_level_is_a_pair_of_players_coarse_to_fine():
    pairs = [f"{kind}/{side}" for side in (8, 16, 32) for kind in ("critic", "generator")]
    model = lapgan()
    assert list(model.players()) == pairs
    assert [phase.player for phase in model.phases()] == pairs


def test_the_latent_is_the_coarsest_levels_and_a_noise_plane_a_finer_level():
    assert lapgan(coarse_dim=7).latent_dim == 7 + 16**2 + 32**2


def test_without_residuals_an_image_is_the_coarsest_one_enlarged():
    model = lapgan(generator=Constant).eval()
    latent = torch.randn(3, model.latent_dim)
    coarsest = model.generator_averages["8"](latent[:, : model.coarse_dim])
    assert torch.equal(model.generate(Request(latent=latent)), up(up(coarsest)))


def test_residuals_that_leave_the_range_are_clamped():
    model = lapgan(generator=partial(Constant, value=5.0)).eval()
    assert torch.equal(model.generate(Request(latent=torch.randn(2, model.latent_dim))), torch.ones(2, 1, 32, 32))


def test_each_part_of_the_latent_moves_the_image_at_its_own_scale():
    model = lapgan().eval()
    latent = torch.randn(2, model.latent_dim)
    for start, stop in (
        (0, model.coarse_dim),
        (model.coarse_dim, model.coarse_dim + 256),
        (model.latent_dim - 1024, None),
    ):
        other = latent.clone()
        other[:, start:stop] += 1
        assert not torch.equal(model.generate(Request(latent=latent)), model.generate(Request(latent=other)))


def test_a_finer_critic_sees_each_image_beside_its_low_pass():
    model, part = lapgan(critic=Recorder, generator=partial(Constant, value=0.25), channels=2), batch(channels=2)
    model.critic_loss(16, part)
    real, fake = model.critics["16"].shown
    image = down(part["image"])
    assert torch.equal(real, torch.cat([image, low_pass(image)], dim=1))
    assert torch.equal(fake, torch.cat([low_pass(image) + 0.25, low_pass(image)], dim=1))


class Marking(Fixed):
    """A critic augmentation that adds a hundred to masks."""

    def transformed(self, image: Tensor, draws: Draws, rows: Tensor, *, name: str, masks: int) -> Tensor:
        return torch.cat([image[:, : image.shape[1] - masks], image[:, image.shape[1] - masks :] + 100], dim=1)


def test_critic_augment_knows_the_masks_of_images_and_of_low_passes():
    model, part = lapgan(critic=Recorder, channels=3), batch(channels=3)
    model.begin(Training(batch_size=4, seed=0, optimizers=OPTIMIZERS, critic_augment=Marking(), mask_channels=1))
    model.critic_loss(32, part)
    real, image = model.critics["32"].shown[0], part["image"]
    low = low_pass(image)
    assert torch.equal(real[:, :4], torch.cat([image[:, :2], low[:, :2]], dim=1))
    assert torch.equal(real[:, 4:], torch.cat([image[:, 2:], low[:, 2:]], dim=1) + 100)


def test_instance_noise_does_not_cancel_between_an_image_and_its_low_pass():
    noise = NoiseAlone(instance_noise=InstanceNoise(std=0.5, images=100))
    model, part = lapgan(critic=Recorder), batch()
    model.begin(Training(batch_size=4, seed=0, optimizers=OPTIMIZERS, critic_augment=noise))
    model.critic_loss(32, part)
    image = part["image"]
    noise_of_residual = (model.critics["32"].shown[0] - torch.cat([image, low_pass(image)], dim=1)).diff(dim=1)
    assert noise_of_residual.std().item() == pytest.approx(0.5 * 2**0.5, rel=0.1)


def test_the_averages_follow_their_own_levels_whenever_those_moved():
    model = lapgan(n_critic=2, ema_half_life=16)
    assert [average.player for average in model.averages()] == ["generator/8", "generator/16", "generator/32"]
    model.clock = Clock(4, images_seen=4 * 998, batches_seen=998)  # beyond the ramp-up
    before = {side: network.state_dict() for side, network in model.generator_averages.items()}
    before = {side: {name: value.clone() for name, value in state.items()} for side, state in before.items()}
    with torch.no_grad():
        for side in ("8", "16", "32"):
            for weight in model.generators[side].parameters():
                weight += int(side)
    for move in (0.0, 1 - 0.5 ** (8 / 16)):  # the generators move in every second batch of 4
        model._average()
        model.clock.advance()
        for side, average in model.generator_averages.items():
            for name, weight in average.named_parameters():
                torch.testing.assert_close(weight, before[side][name] + move * int(side))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augment", [ADA(p=1.0, target=None), DiffAugment()])
def test_image_and_low_pass_are_moved_and_recoloured_alike_and_each_on_its_own(augment: CriticAugment, channels: int):
    model, part = lapgan(channels=channels), batch(channels=channels)
    model.begin(Training(batch_size=4, seed=0, optimizers=OPTIMIZERS, critic_augment=augment))
    image, low = part["image"], low_pass(part["image"])
    shown = model.shown(32, part, image, low, "real")
    alone = [augment(view, model.draws, part["row"], name="real/32", masks=0) for view in (image, low)]
    assert torch.equal(shown, torch.cat(alone, dim=1))
    assert not torch.equal(shown, torch.cat([image, low], dim=1))
    same = model.shown(32, part, image, image, "real")
    assert torch.equal(same[:, :channels], same[:, channels:])  # no residual stays none


def test_every_critic_moves_the_p_of_its_own_images():
    model, part = lapgan(critic=Recorder), batch()
    augment = ADA(p=0.5, zero="logit", every=1, adapt_images=40)
    model.begin(Training(batch_size=4, seed=0, optimizers=OPTIMIZERS, critic_augment=augment))
    for side, sign in ((16, 1.0), (32, -1.0)):  # all images are real to the one, none to the other
        torch.nn.init.constant_(model.critic(side).head.weight, 0.0)
        torch.nn.init.constant_(model.critic(side).head.bias, sign)
        model.critic_loss(side, part)
    model._adapt()
    p = {player: state["p"].item() for player, state in saved(model).items()}
    assert p == pytest.approx({"critic/8": 0.5, "critic/16": 0.6, "critic/32": 0.4})
    model.critic_augments["critic/16"].p.fill_(0.0)
    for side in (16, 32):
        model.critic_loss(side, part)
    real, low = model.level(16, part)
    assert torch.equal(model.critics["16"].shown[-2], torch.cat([real, low], dim=1))
    real, low = model.level(32, part)
    assert not torch.equal(model.critics["32"].shown[-2], torch.cat([real, low], dim=1))


def saved(model: LAPGAN) -> dict[str, dict[str, Tensor]]:
    """What a checkpoint would hold of critic_augment."""
    checkpoint: dict[str, dict[str, dict[str, Tensor]]] = {}
    model.on_save_checkpoint(checkpoint)
    return checkpoint["critic_augment"]


@pytest.mark.parametrize("side", [8, 16, 32])
def test_a_generator_that_makes_the_real_images_has_nothing_to_match(side: int):
    model, part = (
        lapgan(feature_matching_weight=2.0, coarse_critic=partial(DenseCritic, widths=[8], dropout=0.0)),
        batch(),
    )
    assert model.generator_loss(side, part)["feature_matching"] > 0
    real, _ = model.level(side, part)
    model.fake = lambda side, batch, low, draw: real
    assert model.generator_loss(side, part)["feature_matching"] == 0


def test_an_image_is_as_real_as_all_levels_say_together():
    model = lapgan(channels=2, critic=Recorder, coarse_critic=Recorder)
    whole = batch(channels=2)
    found = model.realness(whole, masks=1)
    expected = 0
    for side in (8, 16, 32):
        image, low = model.level(side, whole)
        critic = model.critic(side)
        assert isinstance(critic, Recorder)
        (shown,) = critic.shown
        pair = [image] if low is None else [image[:, :1], low[:, :1], image[:, 1:], low[:, 1:]]
        assert torch.equal(shown, torch.cat(pair, dim=1))  # masks behind all colours, as in training
        expected = expected + critic(shown)
    torch.testing.assert_close(found, expected)
