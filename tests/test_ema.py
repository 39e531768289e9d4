import pytest
import torch
from torch import nn

from medsynth.ema import Average


def test_an_old_weight_has_half_its_share_after_one_half_life():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = Average(network, half_life=1000)
    nn.init.ones_(network.weight)
    for step in range(10):
        average.update(images=100, images_seen=10**9 + step)
    assert average.network.weight.item() == pytest.approx(0.5, abs=1e-6)


def test_early_in_training_the_half_life_is_a_twentieth_of_the_images_seen():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = Average(network, half_life=10_000)
    nn.init.ones_(network.weight)
    average.update(images=50, images_seen=1000)  # half-life 50: one half
    assert average.network.weight.item() == pytest.approx(0.5)


def test_half_life_zero_copies():
    network = nn.Linear(3, 3)
    average = Average(network, half_life=0)
    nn.init.normal_(network.weight)
    average.update(images=1, images_seen=100)
    assert torch.equal(average.network.weight, network.weight)


def test_running_statistics_are_averaged_and_counters_copied():
    network = nn.BatchNorm1d(2)
    average = Average(network, half_life=100)
    network(torch.randn(8, 2) + 5)
    average.update(images=100, images_seen=10**9)
    assert torch.allclose(average.network.running_mean, network.running_mean / 2)
    assert average.network.num_batches_tracked == 1


def test_the_average_is_frozen_in_eval_mode_and_keeps_its_source_out_of_its_state():
    average = Average(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    average.train()
    assert not average.network.training
    assert not any(weight.requires_grad for weight in average.parameters())
    assert all(key.startswith("network.") for key in average.state_dict())
