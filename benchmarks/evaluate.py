"""What judging costs beside its features, and torch-fidelity and prdc:   python benchmarks/evaluate.py [--quick]

Every case, or those that --cases names:

`inception`: 1,000 real and as many synthetic images of 64x64 through the Inception architecture with random weights.
Ours makes every distribution metric of metrics=full in one pass over each set; beside it stands the extraction of the
Inception features alone, and torch-fidelity's calculate_metrics with what it has of these (FID, KID, precision, recall
and inception score), from the same images and weights.
`stored`: `random` features of 10,000 images a side. Ours: Fréchet and kernel distance, precision, recall, density and
coverage; the other side: torch-fidelity's functions for the first two, the package prdc for the rest. Largest
difference: of all figures but the kernel distance, whose subsets are drawn otherwise.
`cached`: a thorough judgement when the real images' statistics are in the cache, against the first one, which puts them
there; two real sets, one synthetic one, extractors as above.
`apart`: seconds of the real-against-real values and of the intervals, which need no features to be extracted again, for
1,000 images a side; a linear map to 2,048 features stands in for Inception.
`memory`: peaks of fresh processes that judge 2,000 and 10,000 images, which are made as they are read. What is kept of
an image (`kept_kb_an_image`: features, thumbnail, spectrum) is bounded by metrics.count, features by 10,000 images too.
The C library is told to give freed blocks back (MALLOC_MMAP_THRESHOLD_): what it keeps otherwise differs by 60 MB from
run to run.

CPU seconds of this process, of all its threads; the loading workers of torch-fidelity are not counted. Inception
takes most of them: the cases `inception` and `cached` extract the features of 18,000 and 12,000 images.

Bars, as ours / other: 1.15 times the extraction and 1.0 times torch-fidelity, 0.5 stored, 0.6 cached; 60 s apart; the
growth of memory at most what is kept, and 30 MB for comparing 10,000 vectors with one another.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from libraries import BATCH, WIDE, fidelity, save_weights, theirs_of_features
from measure import alternate, compare, digits, finish, parse
from prepare import peak_mb
from torch import Tensor

SIDE = 64
BARS = {"extraction": 1.15, "torch_fidelity": 1.0, "stored": 0.5, "cached": 0.6}
APART_SECONDS = 60.0
COMPARING_MB = 30.0
DIFFERENCE = 1e-6  # relative


@dataclass(frozen=True)
class Size:
    """How much is measured: images a side of each case, and pairs of runs; `memory` counts a small and a large set."""

    inception: int = 1_000
    inception_pairs: int = 3
    stored: int = 10_000
    stored_pairs: int = 5
    cached: int = 1_000
    cached_pairs: int = 3
    apart: int = 1_000
    memory: tuple[int, int] = (2_000, 10_000)


QUICK = Size(  # the bar of `stored` means 10,000 images: for fewer, the kernel distance's fixed cost outweighs the rest
    inception=32, inception_pairs=1, stored_pairs=1, cached=24, cached_pairs=1, apart=200, memory=(500, 2_000)
)


def pictures(count: int, *, seed: int) -> Float[Tensor, "n 1 h w"]:
    """Made-up images in [-1, 1]: smooth shapes under fine noise."""
    stream = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 8, 8, generator=stream) * 1.6 - 0.8
    fine = 0.1 * torch.randn(count, 1, SIDE, SIDE, generator=stream)
    return (F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic") + fine).clamp(-1, 1)


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a piece of work in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def verdict(ours: list[float], other: list[float], *, bar: float) -> dict[str, Any]:
    """Of the seconds of both sides, pair by pair: passes when ours takes at most `bar` times the other's."""
    result = compare(ours, other)
    times = 1 / result["ratio"]
    return {"ours_over_other": digits(times), "bar": bar, **result, "pass": times <= bar}


@contextmanager
def single_threaded() -> Iterator[None]:
    """NumPy's and scikit-learn's threads as many as torch's: both sides do with the same."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(torch.get_num_threads()):
        yield


# ------------------------------------------------------------------------------------------------- inception


def metrics_config(count: int, *, weights: Path | None = None) -> dict[str, Any]:
    """The `metrics` group: `random` features, and Inception's where there are weights."""
    source = {"weights": str(weights) if weights else None, "download": False}
    return {"count": count, "extractors": ["random", "inception"] if weights else ["random"], "extractor": source}


def inception(size: Size) -> dict[str, Any]:
    """One pass with all metrics against the extraction alone, and against torch-fidelity."""
    from medsynth.metrics.entries import find
    from medsynth.metrics.inception import load_inception
    from medsynth.metrics.suite import Yardstick

    real, fake = (pictures(size.inception, seed=seed) for seed in (0, 1))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        save_weights(weights)
        config = metrics_config(size.inception, weights=weights)
        extract = load_inception(weights=str(weights), download=False)
        figures: dict[str, Any] = {}

        def ours() -> None:
            yardstick = Yardstick(reference=real.split(BATCH), held_out=None, config=config)
            figures["ours"] = find(yardstick.judge(fake.split(BATCH)), "fid")

        def extraction() -> None:
            for batch in (*real.split(BATCH), *fake.split(BATCH)):
                extract(batch)

        def theirs() -> None:
            figures["other"] = fidelity(fake, real, weights=weights)

        with single_threaded():
            extract(real[:BATCH])  # warms what all sides share
            sides = [partial(seconds, work) for work in (ours, extraction, theirs)]
            mine, alone, library = alternate(*sides, pairs=size.inception_pairs, warmup=0)
    cases = {
        "extraction": verdict(mine, alone, bar=BARS["extraction"]),
        "torch_fidelity": verdict(mine, library, bar=BARS["torch_fidelity"]),
    }
    fids = figures["ours"]["value"], figures["other"]["frechet_inception_distance"]
    return {name: {**case, "images": size.inception, "fid": list(map(digits, fids))} for name, case in cases.items()}


# ---------------------------------------------------------------------------------------------------- stored


def ours_of_features(real: Tensor, fake: Tensor) -> dict[str, float]:
    """Our figures from stored features."""
    from medsynth.metrics.frechet import frechet_distance, moments
    from medsynth.metrics.kernel import kernel_distance
    from medsynth.metrics.prdc import NAMES, neighbours

    found = neighbours(real, fake)
    frechet, kernel = frechet_distance(moments(real), moments(fake)), kernel_distance(real, fake).mean
    return {"frechet": frechet, "kernel": kernel, **{name: getattr(found, name) for name in NAMES}}


def stored(size: Size) -> dict[str, Any]:
    """All figures from features that are there already."""
    from medsynth.metrics.random_features import RandomConvolutions

    extract = RandomConvolutions(1)
    real, fake = (
        torch.cat([extract(batch) for batch in pictures(size.stored, seed=seed).split(BATCH)]) for seed in (0, 1)
    )
    with single_threaded():
        a, b = ours_of_features(real, fake), theirs_of_features(real, fake)
        off = max(abs(a[name] - b[name]) / max(1e-12, abs(b[name])) for name in a if name != "kernel")
        sides = [partial(seconds, partial(work, real, fake)) for work in (ours_of_features, theirs_of_features)]
        result = verdict(*alternate(*sides, pairs=size.stored_pairs, warmup=0), bar=BARS["stored"])
    result |= {"images": size.stored, "features": extract.dimension, "largest_difference": digits(off)}
    return {**result, "pass": result["pass"] and off <= DIFFERENCE}


# ---------------------------------------------------------------------------------------------------- cached


def cached(size: Size) -> dict[str, Any]:
    """A judgement whose real side is remembered, against the first one."""
    from medsynth.metrics.origin import Origin
    from medsynth.metrics.statistics_cache import StatisticsCache
    from medsynth.metrics.suite import judge

    sets = {name: pictures(size.cached, seed=seed) for seed, name in enumerate(("reference", "held_out", "fake"))}
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.pth"
        save_weights(weights)
        config = metrics_config(size.cached, weights=weights)

        caches: list[Path] = []
        found: list[dict[str, Any]] = []

        def judged() -> None:
            origin = Origin("made up", content="0", cache=StatisticsCache(caches[-1]))
            batches: Any = {name: images.split(BATCH) for name, images in sets.items()}
            found.append(judge(**batches, config=config, origin=origin))

        def first() -> float:
            caches.append(Path(folder) / str(len(caches)))
            return seconds(judged)

        few: Any = {name: [images[:BATCH]] for name, images in sets.items()}
        judge(**few, config=config)  # warms
        before, again = alternate(first, lambda: seconds(judged), pairs=size.cached_pairs, warmup=0)
    result, same = verdict(again, before, bar=BARS["cached"]), all(one == found[0] for one in found)
    return {**result, "images": size.cached, "same": same, "pass": result["pass"] and same}


# ----------------------------------------------------------------------------------------------------- apart


def measured(images: Tensor) -> Any:
    """A Measurement with `random` features and 2,048 linear ones in the place of Inception's."""
    from medsynth.metrics.features import Extractor, resize
    from medsynth.metrics.measurement import Measurement
    from medsynth.metrics.random_features import RandomConvolutions

    class Linear(Extractor):
        name, dimension, resize, sha256 = "linear", WIDE, "48x48 bilinear, antialiased", ""

        def __init__(self) -> None:
            stream = torch.Generator().manual_seed(0)
            self.weight = torch.randn(48 * 48, WIDE, generator=stream) / 48

        def __call__(self, images: Tensor) -> Tensor:
            return resize(images, 48).flatten(1) @ self.weight

    made = Measurement("made-up", count=len(images), extractors={"random": RandomConvolutions(1), "linear": Linear()})
    for batch in images.split(BATCH):
        made.update(batch)
    return made


def apart(size: Size) -> dict[str, Any]:
    """Seconds of the real-against-real values, and of all intervals of the synthetic ones."""
    from medsynth.metrics.bootstrap import resample
    from medsynth.metrics.comparison import distances

    real, held_out, fake = (measured(pictures(size.apart, seed=seed)) for seed in range(3))
    drawn = resample(range(size.apart), name="real"), resample(range(size.apart), name="synthetic")
    marks = [time.process_time()]
    for other, draws in ((held_out, None), (fake, None), (fake, drawn)):
        distances(real, other, drawn=draws)
        marks.append(time.process_time())
    beside, values, both = (after - before for before, after in pairwise(marks))
    total = beside + both - values
    return {
        "images": size.apart,
        "real_against_real_seconds": digits(beside),
        "interval_seconds": digits(both - values),
        "seconds": digits(total),
        "bar": APART_SECONDS,
        "pass": total <= APART_SECONDS,
    }


# ---------------------------------------------------------------------------------------------------- memory


def stream(count: int, *, seed: int) -> Iterator[Tensor]:
    """Images that are made when they are asked for."""
    for number in range(0, count, BATCH):
        yield pictures(min(BATCH, count - number), seed=1_000_000 * seed + number)


def judge_alone(count: int) -> None:
    """Judge `count` images in this process and print its peak, MB, and what is kept of an image, kB: what `memory`
    starts a fresh process for."""
    from medsynth.metrics.suite import Yardstick

    torch.set_num_threads(1)
    yardstick = Yardstick(reference=stream(count, seed=1), held_out=None, config=metrics_config(count))
    yardstick.judge(stream(count, seed=2))
    kept = yardstick.reference.features("random"), yardstick.reference.thumbnails(), yardstick.reference.profiles()
    print(json.dumps([peak_mb(), sum(part.nbytes / len(part) for part in kept) / 1000]))


def memory(size: Size) -> dict[str, Any]:
    """The growth of the peak from few images to many, against what is kept of the two sets."""
    peaks, kept = [], 0.0
    for count in size.memory:
        code = f"import evaluate; evaluate.judge_alone({count})"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**17)},
            capture_output=True,
            text=True,
            check=True,
        )
        peak, kept = json.loads(done.stdout)
        peaks.append(peak)
    few, many = size.memory
    allowed = 2 * (many - few) * kept / 1000 + COMPARING_MB
    return {
        "images": list(size.memory),
        "peak_mb": list(map(digits, peaks)),
        "kept_kb_an_image": digits(kept),
        "growth_mb": digits(peaks[1] - peaks[0]),
        "bar": digits(allowed),
        "pass": peaks[1] - peaks[0] <= allowed,
    }


def main() -> None:
    """Measure all cases."""
    every = {"inception": inception, "stored": stored, "cached": cached, "apart": apart, "memory": memory}
    arguments = parse(__doc__, cases=",".join(every))
    names = arguments.cases.split(",") if arguments.cases else list(every)
    if unknown := [name for name in names if name not in every]:
        sys.exit(f"--cases knows no {unknown[0]}; choices: {', '.join(every)}")
    cases: dict[str, Any] = {}
    for name in names:
        print(f"{name} ...", file=sys.stderr)
        found = every[name](QUICK if arguments.quick else Size())
        cases |= found if name == "inception" else {name: found}
    finish(
        {
            "benchmark": "evaluate",
            "ours": "medsynth.metrics",
            "other": "torch-fidelity, prdc",
            "ratio": min(
                (one["bar"] / one["ours_over_other"] for name, one in cases.items() if name in BARS), default=None
            ),
            "bar": "ratio is the least of all cases' bars over ours / other: >= 1; seconds and memory within theirs",
            "cases": cases,
            "pass": all(case["pass"] for case in cases.values()),
        }
    )


if __name__ == "__main__":
    main()
