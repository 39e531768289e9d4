"""The detector of unusable images: spoilt ones score lower, real ones of other patients pass, and the best are kept."""

import pytest
import torch
from phantom_slices import slices

from medsynth.errors import UserError
from medsynth.latent import generator
from medsynth.metrics.auc import auc
from medsynth.metrics.quality import keep, load_detector, platt, save_detector, train_detector
from medsynth.metrics.spoil import CORRUPTED, SCRAMBLED, spoil
from medsynth.metrics.tail import low_tail


@pytest.fixture(scope="module")
def sets():
    """Real phantoms for training, for the threshold, and for the test, of different patients."""
    images, owners = slices(120)
    return [images[(low <= owners) & (owners < high)] for low, high in ((0, 70), (70, 95), (95, 120))]


@pytest.fixture(scope="module")
def detector(sets):
    return train_detector(*sets[:2], seed=0, steps=400)


def test_spoilt_images_score_lower_than_real_ones_of_other_patients(detector, sets):
    real, spoilt = detector.score(sets[2]), detector.score(spoil(sets[2], generator(7)))
    assert auc(real, spoilt) >= 0.9
    for kinds in (CORRUPTED, SCRAMBLED):
        bad = torch.cat([spoiler(sets[2], generator(8)).clamp(-1, 1) for spoiler in kinds.values()])
        assert auc(real, detector.score(bad)) >= 0.9


def test_real_images_of_other_patients_pass_at_about_95_percent(detector, sets):
    assert detector.tail.expected == pytest.approx(0.05, abs=0.011)
    assert detector.usable(detector.score(sets[2])) >= 0.85
    assert detector.usable(detector.score(spoil(sets[2], generator(7)))) < 0.5


def test_scores_are_probabilities_and_do_not_depend_on_the_batch(detector, sets):
    scores = detector.score(sets[2])
    assert scores.min() >= 0
    assert scores.max() <= 1
    torch.testing.assert_close(detector.score(sets[2][5:8]), scores[5:8])


def test_calibrated_scores_are_probabilities():
    real, spoilt = (torch.randn(20000, generator=generator(s)) for s in (0, 1))
    scale, offset = platt(3 * real + 6, 3 * spoilt)  # the likelihood ratio of unit normals a and b apart: known
    assert scale == pytest.approx(2 / 3, rel=0.05)  # (mu1 - mu0) / (3 sigma^2)
    assert offset == pytest.approx(-2, rel=0.05)
    assert platt(torch.ones(9), torch.zeros(9))[0] > 1
    assert platt(torch.zeros(9), torch.ones(9))[0] > 0


def test_the_same_images_and_seed_give_the_same_detector(sets):
    first, second, other = (train_detector(*sets[:2], seed=seed, steps=3).score(sets[2]) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_samples_of_an_early_checkpoint_are_learnt_too(sets):
    early = torch.rand(40, 1, 64, 64, generator=generator(0)) * 0.2  # a grey fog, which no spoiler makes
    made = train_detector(*sets[:2], early=early[:30], seed=0, steps=60)
    assert auc(made.score(sets[2]), made.score(early[30:])) > 0.95


def test_other_sizes_and_channels_are_trained_on_as_well():
    images = torch.rand(6, 3, 40, 32, generator=generator(0)) * 2 - 1
    made = train_detector(images, images, steps=2)
    assert made.score(images).shape == (6,)
    with pytest.raises(UserError, match="images have 1 channels; the quality detector knows 3"):
        made.score(images[:, :1])


def test_no_images_are_a_mistake_in_words():
    images = torch.zeros(4, 1, 64, 64)
    with pytest.raises(UserError, match="there are no held-out images"):
        train_detector(images, images[:0])


def test_a_saved_detector_scores_as_before(detector, sets, tmp_path):
    save_detector(detector, tmp_path / "quality.pt")
    loaded = load_detector(tmp_path / "quality.pt")
    assert torch.equal(loaded.score(sets[2]), detector.score(sets[2]))
    assert (loaded.tail, loaded.auc) == (detector.tail, detector.auc)
    assert detector.auc > 0.9
    assert [path.name for path in tmp_path.iterdir()] == ["quality.pt"]


def test_a_detector_of_other_images_is_refused_where_somebody_asks(detector, sets, tmp_path):
    save_detector(detector, tmp_path / "quality.pt", origin="a")
    loaded = load_detector(tmp_path / "quality.pt", origin="a")
    assert loaded.digest() == detector.digest()
    assert train_detector(*sets[:2], seed=0, steps=1).digest() != detector.digest()
    with pytest.raises(UserError, match=r"quality\.pt is a quality detector of other images"):
        load_detector(tmp_path / "quality.pt", origin="b")


def test_another_file_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_detector(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(UserError, match="is no quality detector"):
        load_detector(tmp_path / "text.pt")
    torch.save({"format": "something else"}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="is no quality detector of this version"):
        load_detector(tmp_path / "other.pt")


def test_the_best_are_kept_in_their_order():
    scores = torch.tensor([0.2, 0.9, 0.5, 0.9, 0.1])
    assert keep(scores, 0.4).tolist() == [1, 3]
    assert keep(scores, 0.2).tolist() == [1]  # of equal ones the first
    assert keep(scores, 0.8).tolist() == [0, 1, 2, 3]
    assert keep(scores, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert keep(scores, 0.01).tolist() == [1]
    for share in (0.0, 1.5, -1.0):
        with pytest.raises(UserError, match=f"keep={share} must be a share"):
            keep(scores, share)


def test_the_usable_ratio_counts_what_lies_above_the_threshold(detector):
    threshold = detector.tail.threshold
    assert detector.usable(torch.tensor([threshold, threshold + 1e-3, threshold / 2, 1.0])) == 0.5
    assert low_tail(torch.arange(1.0, 20.0), 0.05).threshold == 1
