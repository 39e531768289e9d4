"""The panels of a W&B project, made from code: samples, judgement, a section a player, speed; all over images_seen.

python -m medsynth.viz.wandb_panels ENTITY PROJECT         once a project, logged in, with medsynth-gan[wandb]
"""

import sys
from collections.abc import Iterable
from typing import Any

X_AXIS = "images_seen"


def workspace(*, entity: str, project: str, players: Iterable[str]) -> Any:
    """A `wandb_workspaces.workspaces.Workspace`, not saved yet. Needs the package wandb-workspaces."""
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    def curves(title: str, pattern: str) -> Any:
        return wr.LinePlot(title=title, x=X_AXIS, metric_regex=pattern)

    sections = [
        ws.Section(name="Samples", panels=[wr.MediaBrowser(media_keys=["samples"])], is_open=True),
        ws.Section(name="Judgement", panels=[curves("against real images", "val/.*")], is_open=True),
        *(
            ws.Section(name=player.capitalize(), panels=[curves("loss terms", f"train/{player}/.*")], is_open=True)
            for player in players
        ),
        ws.Section(name="Speed", panels=[curves("images a second", "images_per_second")]),
    ]
    return ws.Workspace(entity=entity, project=project, name="medsynth", sections=sections)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m medsynth.viz.wandb_panels ENTITY PROJECT")
    print(workspace(entity=sys.argv[1], project=sys.argv[2], players=["critic", "generator"]).save().url)
