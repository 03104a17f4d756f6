"""Errors read alike and have at most three lines."""

from pathlib import Path

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


def test_what_a_file_holds_cannot_break_the_message() -> None:
    error = DatasetError(
        "two classes\nhave one name",
        where=Path("a\nb.json"),
        found="\x1b[2J\r\ud800 caf\u00e9 \u202e" + "x" * 100_000,
        expected=["one\u2028name"],
        fix="rename\vone",
    )
    text = str(error)
    assert len(text.splitlines()) == 3
    assert len(text) < 2000
    assert text.replace("\n", "").isprintable()
    assert "two classes\\nhave one name" in text
    assert "a\\nb.json" in text
    assert "found: \\x1b[2J\\r\\ud800 caf\u00e9 \\u202exxx" in text
    assert "x ... x" in text
    text.encode("utf-8")


def test_an_ordinary_message_is_left_alone() -> None:
    path = Path("/data/Größe 5 µm/画像.png")
    assert str(path) in str(DatasetError("unreadable", where=path))
