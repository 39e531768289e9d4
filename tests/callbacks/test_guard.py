import pytest
import torch

from medsynth.callbacks.guard import PATIENCE, check_collapse, check_terms, check_weights
from medsynth.errors import Failure

NAME = "train/critic/gradient_penalty"


def test_finite_terms_pass():
    check_terms({NAME: 3.1}, {}, images_seen=64)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_term_is_named_with_where_when_and_what_to_try(value: float):
    message = rf"critic/gradient_penalty is {value} at image 81,920 \(last finite 3.1\); .*a lower optimizer.critic.lr"
    with pytest.raises(Failure, match=message):
        check_terms({NAME: value}, {NAME: 3.1}, images_seen=81_920)


def test_images_that_are_all_alike_stop_a_run_that_has_had_its_time():
    alike = torch.rand(1, 1, 8, 8).expand(16, -1, -1, -1) + 1e-4 * torch.randn(16, 1, 8, 8)
    with pytest.raises(Failure, match="the generator collapsed: 16 images of different latents differ by"):
        check_collapse(alike, images_seen=PATIENCE)
    check_collapse(alike, images_seen=PATIENCE - 1)


def test_images_that_differ_pass():
    check_collapse(torch.rand(16, 1, 8, 8), images_seen=10**6)


def test_weights_that_are_not_finite_are_never_saved():
    check_weights([torch.ones(2)], images_seen=1)
    with pytest.raises(Failure, match="weights are not finite at image 64"):
        check_weights([torch.ones(2), torch.tensor([1.0, float("inf")])], images_seen=64)
