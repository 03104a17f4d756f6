"""The YAML file of DICOM codes."""

from pathlib import Path

import pytest

from samft.errors import ConfigError
from samft.inference.formats.dicom_codes import GENERIC, DicomCodes

GOOD = """\
segmentation_type: labelmap
classes:
  liver:
    category: [123037004, SCT, Anatomical Structure]
    type: [10200004, SCT, Liver]
"""


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "codes.yaml"
    path.write_text(GOOD)
    codes = DicomCodes.read(path)
    assert codes.segmentation_type == "LABELMAP"
    assert codes.of("liver").type.value == "10200004"
    assert codes.of("spleen") == codes.of(None) == GENERIC


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2", "cannot be read"),
        ("just text", "holds no settings"),
        ("clases: {}", "did you mean 'classes'"),
        ("segmentation_type: fractional", "there is no such type of segmentation"),
        ("classes: [liver]", "classes is no mapping"),
        ("default: {type: [1, SCT, x]}", "the codes of a class are incomplete"),
        ("default: {type: [1, SCT], category: [1, SCT, x]}", "a code is incomplete"),
        (f"manufacturer: {'x' * 70}", "no text of 1 to 64 characters"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "codes.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        DicomCodes.read(path)
    assert "codes.yaml" in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        DicomCodes.read(tmp_path / "codes.yaml")
