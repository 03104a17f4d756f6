"""The parser's messages become one to three lines that say what was probably meant."""

import pytest

from samft.cli.messages import explain

KNOWN = {"arch", "optimizer", "lr", "schedule", "max_epochs", "root", "batch_size"}

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
        'Parser key "trainer.max_epochs":\n  Does not validate against any of the Union subtypes\n'
        "  Subtypes: [<class 'int'>, <class 'NoneType'>]\n  Errors:\n    - Expected a <class 'int'>\n"
        "    - Expected a <class 'NoneType'>\n  Given value type: <class 'str'>\n  Given value: two",
        "wrong kind of value",
        "found: two, expected: int or nothing",
    ),
    (
        "Parser key \"freeze\":\n  Errors:\n    - Expected a typing.Literal['a', 'b']. Got value: c",
        "not one of the possible values",
        "found: c, expected: 'a', 'b'",
    ),
    (
        "Parser key \"model\":\n  Errors:\n    - Problem with given class_path 't.Q':\n"
        "        module 't' has no attribute 'Q'\n    - Expected a <class 'NoneType'>",
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
