"""What may be asked of an evaluation."""

import pytest

from samft.errors import ConfigError
from samft.evaluation.settings import EvaluationSettings


def test_defaults_and_everything_set() -> None:
    assert EvaluationSettings.resolve(None) == EvaluationSettings()
    given = EvaluationSettings(against=["zero-shot"], prompts=("box",), out="x", gallery=0)
    assert EvaluationSettings.from_dict(given.to_dict()) == given
    assert EvaluationSettings.from_dict({"prompts": ["point", "box"]}).prompts == ["point", "box"]


@pytest.mark.parametrize(
    ("values", "where", "says"),
    [
        ({"prompts": ["scribble"]}, "evaluation.prompts", "no prompt is called 'scribble'"),
        ({"prompts": "box"}, "evaluation.prompts", "of the wrong type"),
        ({"prompts": []}, "evaluation.prompts", "at least one"),
        ({"prompts": ["box", "box"]}, "evaluation.prompts", "named once each"),
        ({"against": "otsu"}, "evaluation.against", "of the wrong type"),
        ({"against": [3]}, "evaluation.against", "of the wrong type"),
        ({"out": 3}, "evaluation.out", "of the wrong type"),
        ({"clicks": 0}, "evaluation.clicks", "out of range"),
        ({"clicks": 2.5}, "evaluation.clicks", "of the wrong type"),
        ({"tolerance_mm": -1}, "evaluation.tolerance_mm", "out of range"),
        ({"level": 95}, "evaluation.level", "out of range"),
        ({"click": 3}, "evaluation.click", "unknown setting"),
    ],
)
def test_what_is_refused(values: dict[str, object], where: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        EvaluationSettings.from_dict(values)
    assert caught.value.where == where
