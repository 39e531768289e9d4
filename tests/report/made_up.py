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
