"""What acts on the critic's images, in real runs of the smallest size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from medsynth.errors import UserError

Run = Callable[..., dict[str, Any]]
MOVING = ["critic_augment=ada", "critic_augment.p=0.5", "critic_augment.adapt_images=640"]  # a step is 32 / 640
ONE, SEVERAL = ("wgan_gp", "r3gan", "msg_gan", "acgan", "multi_hinge", "vaegan"), "lapgan"


def state(result: dict[str, Any]) -> dict[str, Any]:
    return torch.load(result["checkpoint"], weights_only=True)


@pytest.mark.parametrize(
    ("name", "augment"),
    [*((name, "ada") for name in (*ONE, SEVERAL)), *((name, "diffaugment") for name in ("msg_gan", SEVERAL))],
)
def test_a_run_trains_and_every_critic_has_a_state(name: str, augment: str, run: Run):
    options = MOVING if augment == "ada" else [f"critic_augment={augment}"]
    saved = state(run("run", *options, "images=40", "model.feature_matching_weight=1.0", model=name))
    assert all(value.isfinite().all() for value in saved["state_dict"].values())
    critics = {"critic/8", "critic/16"} if name == SEVERAL else {"critic"}
    assert saved["critic_augment"].keys() == critics
    for own in saved["critic_augment"].values():
        if augment == "ada":
            assert abs(own["p"].item() - 0.5) == pytest.approx(32 / 640)
            assert own["batches"] == 1
        else:
            assert own == {}


@pytest.mark.parametrize("options", [["ada", "critic_augment.p=1.0"], ["diffaugment"]], ids=["ada", "diffaugment"])
def test_a_critic_learns_from_what_it_is_shown(options: list[str], run: Run):
    chosen, *rest = options
    plain = state(run("plain", "images=8"))["state_dict"]
    other = state(run("other", "images=8", f"critic_augment={chosen}", *rest))["state_dict"]
    assert not all(torch.equal(value, plain[name]) for name, value in other.items() if name.startswith("critic"))


@pytest.mark.parametrize("name", ["wgan_gp", SEVERAL])
def test_a_resumed_run_goes_on_at_the_same_p_and_learning_rate(name: str, run: Run):
    options = [*MOVING, "lr_half_life=64"]
    whole = state(run("whole", *options, "images=96", model=name))
    stopped = state(run("stopped", *options, "images=24", model=name))  # between two steps of p
    resumed = state(run("stopped", *options, "images=96", model=name))
    for key in ("state_dict", "optimizer_states", "clock", "critic_augment"):
        torch.testing.assert_close(resumed[key], whole[key], rtol=0, atol=0)
    assert all(own["p"] != 0.5 for own in whole["critic_augment"].values())
    assert all(own["batches"] == 3 for own in stopped["critic_augment"].values())
    assert any(own["overfitting"] != 0 for own in stopped["critic_augment"].values())
    groups = [group for optimizer in resumed["optimizer_states"] for group in optimizer["param_groups"]]
    assert groups
    for group in groups:
        assert group["lr"] == pytest.approx(group["initial_lr"] * 0.5 ** ((96 - 8) / 64))


@pytest.mark.parametrize("name", ["ebgan", "began"])
def test_a_run_whose_critic_has_no_boundary_is_refused_before_it_begins(name: str, run: Run, tmp_path: Any):
    with pytest.raises(UserError, match=r"this model's energies have none: critic_augment=diffaugment"):
        run("run", "critic_augment=ada", model=name)
    assert not (tmp_path / "run").exists()
    run("run", "critic_augment=diffaugment", "images=8", model=name)
