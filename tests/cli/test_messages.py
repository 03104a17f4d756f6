"""The parser's messages become one to three lines that say what was probably meant."""

import pytest

from samft.cli.messages import explain

KNOWN = {"arch", "optimizer", "lr", "schedule", "max_epochs", "root", "batch_size"}

UNION = """Parser key "trainer.max_epochs":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'int'>, <class 'NoneType'>]
  Errors:
    - Expected a <class 'int'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: two"""
IMPORT = """Parser key "model":
  Errors:
    - Problem with given class_path 't.Q':
        module 't' has no attribute 'Q'
    - Expected a <class 'NoneType'>"""

CASES = [
    ("Option 'arhc' is not accepted", "unknown setting 'arhc'", "did you mean 'arch'?"),
    (
        "Subcommand 'fit' does not accept option 'modle.lr'",
        "unknown setting 'modle.lr'",
        "did you mean 'lr'?",
    ),
    (
        "unrecognized arguments: --trainer.max_epoch 2",
        "unknown setting 'trainer.max_epoch'",
        "did you mean 'max_epochs'?",
    ),
    (
        "unrecognized arguments: --optimiser.lr=3",
        "unknown setting 'optimiser.lr'",
        "did you mean 'lr'?",
    ),
    (
        "the following arguments are required: fit.data, fit.model",
        "required but not given: data, model",
        "--config",
    ),
    (
        "Parser key \"batch_size\":\n  Expected a <class 'int'>. Got value: 2.5",
        "wrong kind of value",
        "where: batch_size, found: 2.5, expected: int",
    ),
    (
        UNION,
        "wrong kind of value",
        "found: two, expected: int or nothing",
    ),
    (
        "Parser key \"freeze\":\n  - Expected a typing.Literal['a', 'b']. Got value: c",
        "not one of the possible values",
        "found: c, expected: 'a', 'b'",
    ),
    (
        IMPORT,
        "cannot import class 't.Q'",
        "module 't' has no attribute 'Q'",
    ),
    ("something quite new", "something quite new", "samft COMMAND --help"),
]


@pytest.mark.parametrize(("message", "what", "detail"), CASES)
def test_message(message: str, what: str, detail: str) -> None:
    shown = str(explain(message, KNOWN))
    assert shown.startswith(what)
    assert detail in shown
    assert len(shown.splitlines()) <= 3
