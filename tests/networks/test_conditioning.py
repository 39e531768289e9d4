from functools import partial

import pytest
import torch
from torch import nn

from medsynth.errors import UserError
from medsynth.networks.conditioning import (
    AttributeEmbedding,
    AuxiliaryCritic,
    ClassCritic,
    ConditionalCritic,
    ConditionalGenerator,
    ProjectionCritic,
)
from medsynth.networks.convolutional import ConvCritic, ConvGenerator
from medsynth.networks.critic import Critic
from medsynth.networks.dense import DenseCritic, DenseGenerator
from medsynth.networks.residual import ResidualCritic

CHOICES = [(2, 0), (0, 3), (2, 3)]  # classes, covariates


def unconditional(*, resolution: int = 16, channels: int = 1) -> Critic:
    return ConvCritic(resolution=resolution, channels=channels, width=2, norm="none", init="he")


def attributes(count: int, classes: int, covariates: int) -> dict[str, torch.Tensor]:
    """Label and covariates of `count` images, as far as there are any."""
    drawn = {}
    if classes:
        drawn["label"] = torch.arange(count) % classes
    if covariates:
        drawn["covariates"] = torch.rand(count, covariates) * 2 - 1
    return drawn


@pytest.mark.parametrize(("classes", "covariates"), CHOICES)
def test_needs_are_computed_from_the_arguments(classes: int, covariates: int):
    count = {"classes": classes, "covariates": covariates}
    expected = set(attributes(1, classes, covariates))
    assert ConditionalGenerator(network=partial(ConvGenerator, resolution=16, width=2), **count).needs == expected
    assert ConditionalCritic(network=partial(ConvCritic, width=2), resolution=16, **count).needs == expected
    assert ProjectionCritic(network=unconditional(), **count).needs == expected
    assert not hasattr(AuxiliaryCritic(network=unconditional(), **count), "needs")  # it tells them itself
    if classes:
        assert ClassCritic(network=unconditional(), **count).needs == expected - {"label"}


def test_without_classes_and_covariates_there_is_nothing_to_condition_on():
    with pytest.raises(UserError, match="classes=0 and covariates=0 leave nothing to be conditioned on"):
        AttributeEmbedding(classes=0, covariates=0, dim=3)
    with pytest.raises(UserError, match="classes=0: this critic is a classifier and needs labels"):
        ClassCritic(network=unconditional(), classes=0, covariates=1)


def test_an_embedding_is_the_sum_of_its_classs_vector_and_a_map_of_the_covariates():
    embedding = AttributeEmbedding(classes=3, covariates=2, dim=4)
    label, covariates = torch.tensor([2, 0]), torch.tensor([[1.0, 0.0], [0.5, -1.0]])
    expected = embedding.of_label.weight[label] + covariates @ embedding.of_covariates.weight.T
    torch.testing.assert_close(embedding(label, covariates), expected)


def test_a_label_outside_of_the_classes_is_no_embedding():
    with pytest.raises(IndexError):
        AttributeEmbedding(classes=2, covariates=0, dim=3)(torch.tensor([2]), None)


# ----------------------------------------------------------------------------------------------------------- generators


@pytest.mark.parametrize(("classes", "covariates"), CHOICES)
@pytest.mark.parametrize("dim", [None, 7])
def test_the_latent_grows_by_the_embedding(classes: int, covariates: int, dim: int | None):
    network = partial(DenseGenerator, resolution=16, widths=[8])
    generator = ConditionalGenerator(network=network, latent_dim=5, classes=classes, covariates=covariates, dim=dim)
    assert generator.network.layers[0].in_features == 5 + (dim or classes + covariates)
    image = generator(torch.randn(4, 5), **attributes(4, classes, covariates))
    assert image.shape == (4, 1, 16, 16)


def test_labels_and_covariates_change_the_image():
    network = partial(ConvGenerator, resolution=16, width=2, init="he")
    generator = ConditionalGenerator(network=network, latent_dim=5, classes=2, covariates=1).eval()
    label, covariates = torch.tensor([0, 1, 0, 0]), torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    image = generator(torch.randn(1, 5).expand(4, -1), label=label, covariates=covariates)
    torch.testing.assert_close(image[2], image[0])
    assert not torch.allclose(image[1], image[0])
    assert not torch.allclose(image[3], image[0])


# -------------------------------------------------------------------------------------------------------------- critics


@pytest.mark.parametrize(("classes", "covariates"), CHOICES)
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("resolution", [32, 256])
def test_critics_take_any_power_of_two_and_any_channels(resolution: int, channels: int, classes: int, covariates: int):
    shape, count = {"resolution": resolution, "channels": channels}, {"classes": classes, "covariates": covariates}
    image, known = torch.rand(2, channels, resolution, resolution), attributes(2, classes, covariates)
    for critic in (
        ConditionalCritic(network=partial(ConvCritic, width=2, norm="none"), **shape, **count),
        ProjectionCritic(network=unconditional(**shape), **count),
    ):
        assert critic(image, **known).shape == (2,)
        assert critic.features(image, **known).shape == (2, critic.feature_count)
        assert not torch.equal(critic(image, **known), critic(image, **{k: v.flip(0) for k, v in known.items()}))
    critic = AuxiliaryCritic(network=unconditional(**shape), **count)
    logits, *told = critic.judge(image)
    assert torch.equal(logits, critic(image))
    assert [part.shape for part in told] == [(2, classes), (2, covariates)]
    if classes:
        critic = ClassCritic(network=unconditional(**shape), classes=classes)
        assert critic(image).shape == (2, 1 + classes)
        assert critic.features(image).shape == (2, critic.feature_count)


def test_the_condition_is_a_plane_beside_the_image():
    critic = ConditionalCritic(
        network=partial(DenseCritic, widths=[8], dropout=0.4), resolution=16, channels=2, classes=3
    ).eval()
    image, label = torch.rand(2, 2, 16, 16), torch.tensor([2, 0])
    plane = critic.embedding.of_label.weight[label].reshape(2, 1, 16, 16)
    expected = critic.network.features(torch.cat([image, plane], 1))
    torch.testing.assert_close(critic.features(image, label=label), expected)


def test_the_plane_starts_level_and_apart_for_each_class_and_covariate():
    critic = ConditionalCritic(
        network=partial(ConvCritic, width=2, norm="none"), resolution=16, classes=3, covariates=2
    )
    plane = critic.embedding(torch.tensor([0, 1, 2]), torch.zeros(3, 2))
    torch.testing.assert_close(plane, torch.tensor([-1.0, 0.0, 1.0])[:, None].expand(-1, 256))
    weights = critic.embedding.of_covariates.weight
    torch.testing.assert_close(weights, weights[:1].expand(256, -1))
    assert weights[0, 0] != weights[0, 1]


@pytest.mark.parametrize("network", [unconditional, partial(ResidualCritic, resolution=16, width=2)])
def test_a_projection_on_nothing_is_the_unconditional_critic(network: partial):
    alone, image = network().eval(), torch.rand(4, 1, 16, 16)
    expected = alone(image)
    critic = ProjectionCritic(network=alone, classes=2, covariates=1).eval()
    critic.embedding.draw(nn.init.zeros_)
    torch.testing.assert_close(critic(image, **attributes(4, 2, 1)), expected)


def test_a_projection_adds_the_inner_product_of_embedding_and_features():
    critic, image = ProjectionCritic(network=unconditional(), classes=2), torch.rand(4, 1, 16, 16)
    features, vectors = critic.features(image), critic.embedding.of_label.weight
    zero, one = (critic(image, label=torch.full((4,), label)) for label in (0, 1))
    torch.testing.assert_close(one - zero, features @ (vectors[1] - vectors[0]))


def test_every_weight_of_a_spectrally_normalised_projection_critic_has_norm_one():
    torch.manual_seed(0)
    network = ResidualCritic(resolution=16, width=4)
    critic = ProjectionCritic(network=network, classes=3, covariates=2, spectral_norm=True)
    for _ in range(50):
        critic(torch.randn(4, 1, 16, 16), **attributes(4, 3, 2))
    layers = [layer for layer in critic.modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding)]
    assert {type(layer).__mro__[1] for layer in layers} == {nn.Conv2d, nn.Linear, nn.Embedding}
    for layer in layers:
        assert torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item() == pytest.approx(1, abs=0.03)


def test_an_auxiliary_critic_keeps_the_networks_logit():
    alone, image = unconditional(), torch.rand(4, 1, 16, 16)
    expected = alone(image)
    torch.testing.assert_close(AuxiliaryCritic(network=alone, classes=2)(image), expected)


def test_covariates_move_all_logits_of_a_classifier_but_that_of_synthetic_images():
    critic, image = ClassCritic(network=unconditional(), classes=3, covariates=1), torch.rand(2, 1, 16, 16)
    apart = critic(image, covariates=torch.ones(2, 1)) - critic(image, covariates=-torch.ones(2, 1))
    assert not apart[:, 0].any()
    assert apart[:, 1].all()
    torch.testing.assert_close(apart[:, 1:], apart[:, 1:2].expand(-1, 3))


@pytest.mark.parametrize("head", [ConditionalCritic, ProjectionCritic, AuxiliaryCritic, ClassCritic])
def test_every_weight_of_a_conditional_critic_is_in_use_and_stored_once(head: type[Critic]):
    count = {"classes": 2, "covariates": 1}
    if head is ConditionalCritic:
        critic = ConditionalCritic(network=partial(ConvCritic, width=2, norm="none"), resolution=16, **count)
    else:
        critic = head(network=unconditional(), **count)
    known = {name: value for name, value in attributes(4, 2, 1).items() if name in getattr(critic, "needs", ())}
    image = torch.rand(4, 1, 16, 16)
    outputs = critic.judge(image) if isinstance(critic, AuxiliaryCritic) else [critic(image, **known)]
    sum(output.square().sum() for output in outputs).backward()
    assert all(weight.grad is not None for weight in critic.parameters())
    assert len(critic.state_dict()) == len(list(critic.parameters()))
