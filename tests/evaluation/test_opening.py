"""From words to models: what they mean, how they are built, and what is refused."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from models.tiny_sam import assert_same

from samft.errors import CheckpointError, ConfigError
from samft.evaluation.opening import TUNED, ZERO_SHOT, Subject, default_against, entrants, source_of
from samft.evaluation.sam_competitor import SamCompetitor
from samft.evaluation.unet.files import UNFINISHED
from samft.models import build_sam
from samft.module import SamModule
from samft.runs import load_run


def module(weights: str | None = "vit_nano", **settings: object) -> SamModule:
    return SamModule("vit_nano", weights=weights, **{"image_size": 64, **settings})


def save(place: Path, found: SamModule) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    extra: dict[str, object] = {}
    found.on_save_checkpoint(extra)
    state = {"state_dict": found.state_dict(), "hyper_parameters": dict(found.hparams)}
    torch.save({**state, **extra}, place)
    return place


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A run whose weights differ from those it began with."""
    found = module()
    with torch.no_grad():
        for parameter in found.sam.mask_decoder.parameters():
            parameter.add_(0.01)
    folder = tmp_path_factory.mktemp("runs") / "cells" / "3"
    save(folder / "checkpoints" / "best.ckpt", found)
    (folder / "config.fit.yaml").touch()
    return Subject(name=TUNED, module=found, source="cells/3", folder=folder)


def opened(tested: Subject, word: str) -> SamCompetitor:
    first, second = entrants(tested, [word])
    assert first.name == tested.name
    found = second.open()
    assert isinstance(found, SamCompetitor)
    assert found.name == second.name
    return found


def test_defaults(tested: Subject, tmp_path: Path) -> None:
    baselines = ["filled_box", "ellipse", "otsu"]
    assert default_against(tested) == [ZERO_SHOT, *baselines]
    assert [each.name for each in entrants(tested)] == [TUNED, ZERO_SHOT, *baselines]
    own = Subject(name=TUNED, module=tested.module, source="x", folder=tmp_path)
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "unet.ckpt").touch()
    assert default_against(own) == [ZERO_SHOT, *baselines, "unet"]
    plain = Subject(name="vit_nano", module=tested.module, source="vit_nano")
    assert default_against(plain) == baselines
    more = entrants(tested, ["otsu"], ["vit_nano", "ellipse"])
    assert [each.name for each in more] == [TUNED, "otsu", "vit_nano", "ellipse"]


def test_the_unet_of_another_run_has_a_name_of_its_own(tested: Subject, tmp_path: Path) -> None:
    path = tmp_path / "other" / "7" / "baselines" / "unet.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no U-Net")
    _, found, named = entrants(tested, [str(path), f"mine={path}"])
    assert (found.name, named.name) == ("7/unet", "mine")
    with pytest.raises(CheckpointError):  # read as a U-Net, when its turn comes
        found.open()


def test_a_unet_that_was_never_finished_does_not_take_part_unasked(
    tested: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = replace(tested, folder=tmp_path)
    part = tmp_path / "baselines" / UNFINISHED
    part.parent.mkdir()
    part.touch()
    assert "unet" not in default_against(run)
    assert f"unet={part}" in caplog.text


def test_a_run_from_random_weights_has_no_zero_shot(caplog: pytest.LogCaptureFixture) -> None:
    fresh = Subject(name=TUNED, module=module(weights=None), source="x")
    with caplog.at_level(logging.INFO, logger="samft"):
        assert ZERO_SHOT not in default_against(fresh)
    assert "trained from random weights" in caplog.text
    with pytest.raises(ConfigError, match="no base weights") as caught:
        entrants(fresh, [ZERO_SHOT])
    assert caught.value.where == "evaluation.against"
    assert "NAME=PATH" in caught.value.fix


def test_zero_shot_is_built_as_the_run_and_has_the_base_weights() -> None:
    run = module(
        image_size=96, trim_padding=True, adapt="lora", channels={"count": 5, "mode": "fixed"}
    )
    with torch.no_grad():
        for parameter in run.sam.parameters():
            parameter.add_(0.01)
    found = opened(Subject(name=TUNED, module=run, source="x"), ZERO_SHOT)
    assert (found.image_size, found.trim_to) == (96, run.sam.config.patch_size)
    assert found.sam.channels == run.sam.channels
    assert not found.sam.training
    own = {
        name: tensor
        for name, tensor in found.sam.state_dict().items()
        if not name.startswith("channel_adapter")
    }
    assert_same(own, build_sam("vit_nano", "vit_nano", image_size=96).state_dict())
    assert found.describe()["file_sha256"] == run.base_weights["sha256"]


def test_zero_shot_is_another_model_than_the_tuned_one(tested: Subject) -> None:
    found = opened(tested, ZERO_SHOT)
    assert found.describe()["weights_sha256"] != tested.competitor().describe()["weights_sha256"]
    assert found.sam is not tested.module.sam


def test_base_weights_that_were_moved_changed_or_lost(tmp_path: Path) -> None:
    file, moved = tmp_path / "base.pth", tmp_path / "elsewhere.pth"
    torch.save(build_sam("vit_nano", "vit_nano").state_dict(), file)
    run = Subject(name=TUNED, module=module(str(file)), source="x")
    file.rename(moved)
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        opened(run, ZERO_SHOT)
    assert caught.value.where == str(file)
    assert "zero-shot=PATH" in caught.value.fix
    assert len(str(caught.value).splitlines()) <= 3
    assert opened(run, f"{ZERO_SHOT}={moved}").name == ZERO_SHOT
    torch.save(build_sam("vit_nano").state_dict(), file)
    with pytest.raises(ConfigError, match="not the weights that this run began with") as caught:
        opened(run, ZERO_SHOT)
    assert caught.value.expected.startswith(run.module.base_weights["sha256"][:12])
    assert "zero-shot=PATH" in caught.value.fix


def test_other_runs_checkpoints_and_weights(tested: Subject, tmp_path: Path) -> None:
    assert tested.folder is not None
    checkpoint = tested.folder / "checkpoints" / "best.ckpt"
    lonely = tmp_path / "lonely.ckpt"
    shutil.copy(checkpoint, lonely)
    weights = tmp_path / "mine.pth"
    torch.save(tested.module.sam.state_dict(), weights)
    words = {
        str(tested.folder): "cells/3",
        f"{tested.folder}/checkpoints": "cells/3",
        str(checkpoint): "cells/3/best",
        str(lonely): "lonely",
        str(weights): "mine",
        f"again={weights}": "again",
    }
    for word, name in words.items():
        found = opened(tested, word)
        assert found.name == name
        assert_same(found.sam.state_dict(), tested.module.sam.state_dict())
        assert not Path(found.source).is_absolute()
    assert source_of(load_run(tested.folder)) == "cells/3/checkpoints/best.ckpt"
    assert source_of(load_run(lonely)) == "lonely.ckpt"
    assert opened(tested, "vit_nano").image_size == 64


@pytest.mark.parametrize(
    ("word", "says", "fix"),
    [
        ("zeroshot", "nothing called 'zeroshot'", "did you mean 'zero-shot'?"),
        ("runs/cells/9", "nothing called 'runs/cells/9'", "choose from"),
        ("=x.pth", "no name or no path", None),
        ("mine=", "no name or no path", None),
        ("unet", "there is no U-Net", "samft baseline RUN"),
        ("unet=nowhere.ckpt", "there is no U-Net", "unet=PATH"),
    ],
)
def test_what_is_refused(tested: Subject, word: str, says: str, fix: str | None) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        entrants(tested, [word])
    assert caught.value.where == "evaluation.against"
    assert fix is None or fix in caught.value.fix


def test_missing_checkpoints_are_refused_before_anything_is_loaded(tested: Subject) -> None:
    with pytest.raises(CheckpointError, match="no such run folder or checkpoint"):
        entrants(tested, ["nowhere/best.ckpt"])


def test_names_are_unique(tested: Subject, tmp_path: Path) -> None:
    for words in (["otsu", "otsu"], [f"{TUNED}=vit_nano"]):
        with pytest.raises(ConfigError, match="two models have the same name") as caught:
            entrants(tested, words)
        assert caught.value.fix == "name one of them yourself: NAME=PATH"
