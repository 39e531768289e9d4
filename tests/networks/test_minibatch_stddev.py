import pytest
import torch

from medsynth.errors import UserError
from medsynth.networks.minibatch_stddev import MinibatchStddev, largest_divisor


def test_the_new_channel_is_the_mean_deviation_of_the_group():
    features = torch.randn(8, 3, 5, 5)
    result = MinibatchStddev(group=4)(features)
    assert result.shape == (8, 4, 5, 5)
    assert torch.equal(result[:, :3], features)
    for sample in range(8):
        together = features[sample % 2 :: 2]  # 8 / 4 groups: every second sample
        expected = together.std(0, correction=0).mean()
        torch.testing.assert_close(result[sample, 3], expected.expand(5, 5))


def test_equal_samples_deviate_by_nothing():
    result = MinibatchStddev()(torch.randn(1, 3, 4, 4).expand(8, -1, -1, -1))
    assert result[:, 3].abs().max() < 2e-4  # the root of the epsilon


def test_scaled_samples_deviate_by_the_scale():
    features = torch.randn(8, 3, 4, 4)
    once, twice = MinibatchStddev()(features), MinibatchStddev()(2 * features)
    torch.testing.assert_close(twice[:, 3], 2 * once[:, 3])


def test_the_channel_is_above_zero_even_for_equal_samples_with_a_finite_gradient():
    features = torch.zeros(4, 2, 4, 4, requires_grad=True)
    MinibatchStddev()(features).sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize(("batch", "size"), [(8, 4), (6, 3), (7, 1), (2, 2), (1, 1), (9, 3)])
def test_a_batch_that_the_group_does_not_divide_is_cut_by_its_largest_divisor(batch: int, size: int):
    assert largest_divisor(batch, 4) == size
    features = torch.randn(batch, 2, 4, 4)
    result = MinibatchStddev(group=4)(features)
    expected = features[:: batch // size].std(0, correction=0).mean()
    torch.testing.assert_close(result[0, 2, 0, 0], expected, atol=2e-4, rtol=0)


def test_half_precision_is_counted_in_single():
    result = MinibatchStddev()((torch.randn(4, 2, 4, 4) * 1e-3).half())
    assert result.dtype == torch.float16
    assert result[:, 2].min() > 5e-4


def test_a_group_of_none_is_refused():
    with pytest.raises(UserError, match="group=0 of a minibatch standard deviation must be a whole number of at least"):
        MinibatchStddev(group=0)
