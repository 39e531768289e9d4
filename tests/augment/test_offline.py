import torch

from medsynth.augment.affine import Affine, Views
from medsynth.augment.offline import copies

AUGMENT = Affine(rotation=15.0, zoom=0.15, shift=0.1, shear=0.15)


def samples(count: int) -> Views:
    image = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return {"image": image, "mask": (image * 4).to(torch.uint8), "condition": -image}


def made(views: Views, *, seed: int = 0, first: int = 0, count: int = 3, flips: str = "none") -> list[Views]:
    return list(copies(views, augment=AUGMENT, flips=flips, copies=count, seed=seed, first=first))


def test_each_copy_is_another_one_of_all_samples() -> None:
    views = samples(5)
    results = made(views)
    assert len(results) == 3
    assert all(result["image"].shape == (5, 1, 16, 16) for result in results)
    every = [views["image"], *(result["image"] for result in results)]
    assert not any(torch.equal(a[i], b[i]) for a in every for b in every if a is not b for i in range(5))


def test_a_copy_depends_on_seed_image_and_number_alone() -> None:
    views = samples(6)
    whole = made(views)
    for first, last in ((0, 2), (2, 6), (3, 4)):
        part = made({name: view[first:last] for name, view in views.items()}, first=first, count=2)
        for copy in range(2):
            for name in views:
                assert torch.equal(part[copy][name], whole[copy][name][first:last])
    assert not torch.equal(made(views, seed=1)[0]["image"], whole[0]["image"])


def test_two_images_are_not_moved_alike() -> None:
    same = {"image": samples(1)["image"].expand(4, 1, 16, 16)}
    result = made(same, count=1)[0]["image"]
    assert not torch.equal(result[0], result[1])


def test_views_of_a_sample_stay_together() -> None:
    for result in made(samples(6), flips="both"):
        assert torch.equal(result["condition"], -result["image"])
        assert result["mask"].dtype == torch.uint8


def test_flips_mirror_about_half_of_the_copies() -> None:
    still = Affine(rotation=0.0, zoom=0.0, shift=0.0, shear=0.0)
    views = {"image": samples(1)["image"].expand(200, 1, 16, 16)}
    (result,) = copies(views, augment=still, flips="horizontal", copies=1, seed=0, first=0)
    kept = torch.isclose(result["image"], views["image"], atol=1e-5).flatten(1).all(1).float().mean().item()
    assert 0.4 < kept < 0.6
