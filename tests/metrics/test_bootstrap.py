"""Intervals by patient: draws, their mean and spread, pairs of runs, and what one patient cannot tell."""

import pytest
import torch

from medsynth.metrics.bootstrap import chain_deviations, interval, mean_deviations, resample
from medsynth.metrics.undefined import Undefined


def numbers(count, *, seed):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_images_of_a_patient_are_drawn_together_and_as_many_patients_as_there_are():
    drawn = resample(["a", "b", "a", "c", "b", "a"], name="real", rounds=50)
    assert torch.equal(drawn.weights[:, 0], drawn.weights[:, 2])
    assert torch.equal(drawn.weights[:, 0], drawn.weights[:, 5])
    assert bool((drawn.weights[:, [0, 1, 3]].sum(dim=1) == 3).all())
    assert drawn.groups.tolist() == [0, 1, 0, 2, 1, 0]


def test_draws_of_one_name_are_equal_and_of_two_names_differ():
    one = resample(range(30), name="real", rounds=20)
    assert torch.equal(one.weights, resample(range(30), name="real", rounds=20).weights)
    assert not torch.equal(one.weights, resample(range(30), name="fake", rounds=20).weights)
    assert not torch.equal(one.weights, resample(range(30), name="real", rounds=20, seed=1).weights)


def test_spread_of_a_mean_is_its_standard_error():
    values = numbers(400, seed=0)
    found = mean_deviations(values, resample(range(400), name="real", rounds=2000))
    assert found.mean().item() == pytest.approx(0, abs=1e-12)
    assert found.std().item() == pytest.approx(values.std().item() / 20, rel=0.1)


@pytest.mark.parametrize("count", [3, 6, 60])
def test_spread_is_that_of_students_t_so_that_few_patients_have_wide_intervals(count):
    stats = pytest.importorskip("scipy.stats")
    values = numbers(count, seed=0)
    found = mean_deviations(values, resample(range(count), name="real", rounds=20_000))
    reach = stats.t.ppf(0.975, count - 1) * values.std().item() / count**0.5
    assert 1.96 * found.std().item() == pytest.approx(reach, rel=0.03)


def test_interval_of_a_chain_of_few_pairs_holds_its_mean_about_as_often_as_it_says():
    inside = 0
    for trial in range(200):
        values = numbers(59, seed=trial)
        low, high = interval(values.mean().item(), chain_deviations(values, name=f"pairs {trial}"))
        inside += low < 0 < high
    assert inside >= 180


def test_a_chain_of_one_block_of_pairs_has_no_interval():
    with pytest.raises(Undefined):
        chain_deviations(numbers(4, seed=0), name="pairs")


def test_alike_images_of_few_patients_widen_the_interval():
    patients = [k // 10 for k in range(200)]
    values = numbers(20, seed=0).repeat_interleave(10)
    by_image = mean_deviations(values, resample(range(200), name="real"))
    by_patient = mean_deviations(values, resample(patients, name="real"))
    assert by_patient.std() > 2.5 * by_image.std()  # the square root of 10 in theory


def test_interval_holds_the_mean_as_often_as_it_says():
    inside = 0
    for trial in range(100):
        values = numbers(80, seed=trial)
        found = mean_deviations(values, resample(range(80), name="real", rounds=300, seed=trial))
        low, high = interval(values.mean().item(), found)
        inside += low < 0 < high
    assert 88 <= inside <= 100


def test_interval_stays_within_the_range_of_the_figure():
    deviations = torch.linspace(-1, 1, 101, dtype=torch.float64)
    assert interval(0.9, deviations, least=0.0, most=1.0) == (0, 1)
    assert interval(0.9, deviations, share=0.5) == pytest.approx((0.4, 1.4))


def test_the_difference_of_two_runs_is_surer_than_either_run():
    real, runs = numbers(100, seed=0), [numbers(100, seed=seed) * 0.1 + seed for seed in (1, 2)]
    same = mean_deviations(real, resample(range(100), name="real"))
    drawn = [mean_deviations(run, resample(range(100), name=f"fake/{k}")) - same for k, run in enumerate(runs)]
    estimates = [run.mean().item() - real.mean().item() for run in runs]
    low, high = interval(estimates[1] - estimates[0], drawn[1] - drawn[0])
    alone = interval(estimates[0], drawn[0])
    assert low < 1 < high
    assert high - low < 0.3 * (alone[1] - alone[0])


def test_first_images_keep_their_draws():
    drawn = resample([k // 2 for k in range(10)], name="real", rounds=200)
    first = drawn.first(2)
    assert first.weights.shape == (200, 2)
    assert bool((first.weights.sum(dim=1) > 0).all())
    kept = drawn.weights[:, 0] > 0
    assert torch.equal(first.weights[kept], drawn.weights[kept][:, :2])


def test_one_patient_is_refused_in_words():
    with pytest.raises(Undefined, match="images of one patient say nothing of how figures vary between patients"):
        resample(["p"] * 9, name="real")
