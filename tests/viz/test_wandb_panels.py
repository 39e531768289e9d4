import pytest

from medsynth.viz.wandb_panels import workspace


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic, inside wandb_workspaces
def test_the_layout_has_samples_judgement_and_a_section_a_player_over_images_seen():
    pytest.importorskip("wandb_workspaces")
    made = workspace(entity="lab", project="ct", players=["critic", "generator"])
    assert [section.name for section in made.sections] == ["Samples", "Judgement", "Critic", "Generator", "Speed"]
    (plot,) = made.sections[2].panels
    assert plot.x == "images_seen"
    assert plot.metric_regex == "train/critic/.*"
