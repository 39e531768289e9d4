"""Judgements and comparisons that nobody measured."""


def entry(value, *, real=0.1, **more):
    ratio = value / real if value is not None and real else None
    return {"value": value, "real_against_real": real, "ratio": ratio, "n_real": 100, "n_fake": 100, **more}


def judgement(**metrics):
    found = {f"{name}_100": entry(value) for name, value in metrics.items()}
    images = {"count": 100, "n_real": 100, "n_fake": 100}
    return {**found, "insufficient": {}, "warnings": [], "images": images}


def comparison(runs, *, width=0.01, metrics=("kid_random",)):
    """Runs by name with the value of each metric, and every paired difference with its interval."""
    judged = {name: judgement(**dict(zip(metrics, values, strict=True))) for name, values in runs.items()}
    names, differences = list(runs), {}
    for number, metric in enumerate(metrics):
        apart = [
            (first, second, runs[first][number] - runs[second][number])
            for place, first in enumerate(names)
            for second in names[place + 1 :]
            if None not in (runs[first][number], runs[second][number])
        ]
        differences[f"{metric}_100"] = [
            {"first": a, "second": b, "value": d, "interval": [d - width, d + width]} for a, b, d in apart
        ]
    return {"runs": judged, "differences": differences, "warnings": []}


def whole(*, frechet=1.2, swd=1.1, spectrum=1.4, ms_ssim=1.0, copies=0, near=0.01, enough=True, calibrated=True):
    """The judgement of 256 images a side, of the ratios given, with all that a verdict needs."""

    def entry(ratio, **more):
        real = 0.2 if calibrated else None
        return {
            "value": 0.2 * ratio,
            "real_against_real": real,
            "ratio": ratio if calibrated else None,
            "n_real": 256,
            "n_fake": 256,
            **more,
        }

    def level(ratio):
        return {"value": 30.0 * ratio, "real_against_real": 30.0 if calibrated else None}

    unseen = {"n_unseen": 100, "copies_unseen": 0, "near": near} if calibrated else {}
    found = {
        "frechet_random_256": entry(frechet),
        "swd_256": entry(1.0, levels={"64": level(swd), "16": level(1.0)}),
        "spectrum_256": entry(spectrum),
        "ms_ssim_256": entry(ms_ssim),
        "nearest_train_256": entry(1.0, copies=copies, n_train=500, **unseen),
    }
    images = {"count": 256, "n_real": 256, "n_fake": 256}
    return {**(found if enough else {}), "insufficient": {} if enough else found, "warnings": [], "images": images}
