"""Errors read alike and have at most three lines."""

from samft.errors import DatasetError, DependencyError, MachineError, SamftError, did_you_mean


def test_all_parts() -> None:
    error = DatasetError(
        "sizes differ", where="a.png", found=(1, 2), expected=(3, 4), fix="resize one"
    )
    assert str(error).splitlines() == [
        "sizes differ",
        "  where: a.png, found: (1, 2), expected: (3, 4)",
        "  fix: resize one",
    ]


def test_only_what_happened() -> None:
    assert str(SamftError("it broke")) == "it broke"


def test_exit_codes_and_builtin_bases() -> None:
    assert DatasetError("x").exit_code == 2
    assert MachineError("x").exit_code == 3
    assert isinstance(DependencyError("x"), ImportError)


def test_did_you_mean() -> None:
    assert did_you_mean("vit_bb", ["vit_b", "vit_l"]).startswith("did you mean 'vit_b'")
    assert did_you_mean("zzz", ["b", "a"]) == "choose from a, b"
