"""Who may import whom: batch <- {losses, penalties, networks, data, metrics} <- synthesis <- models <- verbs."""

import ast
from pathlib import Path

import pytest

import medsynth

ROOT = Path(medsynth.__file__).parent
VERBS = {"train", "prepare", "generate", "evaluate"}
OUTER = {
    "callbacks",
    "report",
    "loggers",
    "run_directory",
    "launch",
    "export",
    "checkpoint",
    "subjects",
    "folders",
    "results",
    "compare",
    "judging",
    "usable",
    "model_metrics",
    "findings",
    "rehearsal",
    *VERBS,
}
FORBIDDEN = {
    "errors": {"*"},
    "clock": {"*"},
    "batch": {"synthesis", "models", "data", "metrics", "networks", "losses", *OUTER},
    "seeds": {"*"},
    "latent": {"synthesis", "models", "data", "metrics", "networks", "losses", *OUTER},
    "losses": {"synthesis", "models", "networks", "data", "metrics", *OUTER},
    "penalties": {"synthesis", "models", "networks", "data", "metrics", *OUTER},
    "reconstruction": {"synthesis", "models", "networks", "data", "metrics", *OUTER},
    "networks": {"synthesis", "models", "losses", "data", "metrics", *OUTER},
    "augment": {"synthesis", "models", "networks", "metrics", *OUTER},
    "data": {"synthesis", "models", "networks", "losses", "metrics", *OUTER},
    "metrics": {"synthesis", "models", "data", *OUTER},
    "viz": {"synthesis", "models", "data", "metrics", *OUTER},
    "synthesis": {"models", "networks", "losses", "data", "metrics", *OUTER},
    "models": {"data", "metrics", *OUTER},
    "checkpoint": {"models", "data", "metrics", "callbacks", *VERBS},
    "callbacks": {"models", *VERBS},
    "export": {"models", "callbacks", *VERBS},
    "report": {"models", "synthesis", "data", *VERBS},
    "ema": {"synthesis", "models", "networks", "data", "metrics", *OUTER},
    "attributes": {"synthesis", "models", "networks", "data", "metrics", *OUTER},
    "sampling": {"synthesis", "models", "networks", "data", "metrics", *OUTER},
    "loggers": {"synthesis", "models", "networks", "data", "metrics", "callbacks", *VERBS},
    "run_directory": {"synthesis", "models", "networks", "data", "metrics", "callbacks", *VERBS},
    "cli": {"synthesis", "models", "networks", "data", "metrics", "callbacks", *VERBS},
    "launch": {"synthesis", "models", "networks", "data", "metrics", "callbacks", *VERBS},
    "rehearsal": {"models", "networks", "losses", "data", "metrics", *VERBS},
    "subjects": {"models", "callbacks", "report", "folders", *VERBS},
    "folders": {"models", "callbacks", "report", *VERBS},
    "results": {"models", "callbacks", "report", "folders", *VERBS},
    "compare": {"models", "callbacks", "folders", "judging", *VERBS},
    "judging": {"models", "callbacks", "compare", *VERBS},
    "findings": {"models", "callbacks", "report", "folders", "compare", "judging", *VERBS},
    "usable": {"models", "callbacks", "report", "folders", *VERBS},
    "model_metrics": {"models", "callbacks", "report", "subjects", "folders", *VERBS},
    **{verb: {"models", *VERBS} for verb in VERBS},
}


def imports(path: Path) -> set[str]:
    """First names below medsynth that a file imports when it runs; imports for annotations alone do not count."""
    tree = ast.parse(path.read_text())
    typing_only = [n for n in ast.walk(tree) if isinstance(n, ast.If) and getattr(n.test, "id", "") == "TYPE_CHECKING"]
    skipped = {id(inner) for block in typing_only for inner in ast.walk(block)}
    names: list[str] = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("medsynth."):
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("medsynth.")]
    return {name.split(".")[1] for name in names}


FILES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_lies_below_it(path: Path):
    place = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if path.name == "__main__.py":  # python -m medsynth.metrics.encoder is a verb as any
        place = "evaluate"
    forbidden = FORBIDDEN[place]  # a new file names its place above
    found = imports(path) - {place}
    assert not (found if "*" in forbidden else found & forbidden)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_short(path: Path):
    assert len(path.read_text().splitlines()) <= 400


def test_no_file_has_a_name_that_says_nothing():
    assert not {path.stem for path in FILES} & {"utils", "helpers", "misc", "common"}
