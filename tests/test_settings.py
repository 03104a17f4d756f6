from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from samft.errors import ConfigError
from samft.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Tea(Settings):
    section: ClassVar[str] = "kitchen"

    cups: int = 2
    minutes: float = 3.0
    milk: bool = False
    leaf: Literal["green", "black"] = "black"

    def _check_ranges(self) -> None:
        self._require("cups", low=1)
        self._require("minutes", low=0, high=10)


def test_dict_round_trip():
    tea = Tea.from_dict({"cups": 5, "leaf": "green"})
    assert tea == Tea(cups=5, leaf="green")
    assert tea.to_dict() == {"cups": 5, "minutes": 3.0, "milk": False, "leaf": "green"}
    assert Tea.from_dict(tea.to_dict()) == tea


def test_an_integer_is_a_fine_float():
    assert Tea.from_dict({"minutes": 4}).minutes == 4


def test_unknown_key_names_section_and_neighbour():
    with pytest.raises(ConfigError) as caught:
        Tea.from_dict({"minute": 4})
    message = str(caught.value)
    assert "unknown setting 'minute'" in message
    assert "kitchen.minute" in message
    assert "did you mean 'minutes'? choose from cups, leaf, milk, minutes" in message


@pytest.mark.parametrize(
    ("values", "found", "expected"),
    [
        ({"cups": "2"}, "'2' (str)", "expected: int"),
        ({"cups": 2.5}, "2.5 (float)", "expected: int"),
        ({"cups": True}, "True (bool)", "expected: int"),
        ({"minutes": "1e-3"}, "'1e-3' (str)", "expected: float"),
        ({"minutes": False}, "False (bool)", "expected: float"),
        ({"minutes": None}, "None (NoneType)", "expected: float"),
        ({"milk": 1}, "1 (int)", "expected: bool"),
    ],
)
def test_wrong_type(values, found, expected):
    with pytest.raises(ConfigError) as caught:
        Tea.from_dict(values)
    message = str(caught.value)
    assert f"kitchen.{next(iter(values))}" in message
    assert found in message
    assert expected in message


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"cups": 0}, "at least 1"),
        ({"minutes": -0.5}, "0 to 10"),
        ({"minutes": 11}, "0 to 10"),
        ({"minutes": float("nan")}, "0 to 10"),
    ],
)
def test_out_of_range(values, expected):
    with pytest.raises(ConfigError) as caught:
        Tea.from_dict(values)
    (name, value), message = next(iter(values.items())), str(caught.value)
    assert f"{name} is out of range\n  where: kitchen.{name}, found: {value}" in message
    assert f"expected: {expected}" in message


def test_infinity_is_out_of_an_open_range():
    with pytest.raises(ConfigError, match="wrong type"):
        Tea.from_dict({"cups": float("inf")})


def test_choice_suggests_the_nearest():
    with pytest.raises(ConfigError) as caught:
        Tea.from_dict({"leaf": "blak"})
    message = str(caught.value)
    assert "kitchen.leaf" in message
    assert "'blak'" in message
    assert "did you mean 'black'? choose from black, green" in message


@dataclass(frozen=True, kw_only=True, slots=True)
class Bowl(Settings):
    section: ClassVar[str] = "kitchen"

    grams: dict[str, float] = field(default_factory=dict)


def test_names_with_numbers():
    bowl = Bowl.from_dict({"grams": {"flour": 250, "salt": 2.5}})
    assert bowl.to_dict() == {"grams": {"flour": 250, "salt": 2.5}}
    assert Bowl.from_dict(bowl.to_dict()) == bowl
    assert Bowl().grams == {}


@pytest.mark.parametrize(
    ("grams", "words"),
    [
        ({"salt": "some"}, ("kitchen.grams.salt", "'some' (str)", "expected: float")),
        ({"salt": True}, ("kitchen.grams.salt", "True (bool)", "expected: float")),
        ({"salt": {}}, ("kitchen.grams.salt", "{} (dict)")),
        (["salt"], ("kitchen.grams", "['salt'] (list)", "names with a number each")),
        ({1: 2.0}, ("kitchen.grams", "{1: 2.0} (dict)", "names with a number each")),
        (None, ("kitchen.grams", "None (NoneType)")),
    ],
)
def test_names_with_anything_else_are_refused(grams, words):
    with pytest.raises(ConfigError) as caught:
        Bowl.from_dict({"grams": grams})
    for word in words:
        assert word in str(caught.value)
