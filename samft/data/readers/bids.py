"""What names and sidecar files of BIDS say: entities, structures, classes, pixel sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from samft.data.files import stem_of
from samft.data.readers.json_files import read_json_object
from samft.data.readers.pairs_csv import read_csv
from samft.errors import DatasetError

_ENTITY = re.compile(r"([A-Za-z]+)-(.+)")
_LABEL_SUFFIXES = frozenset({"dseg", "mask", "seg", "roi", "lesion", "labels", "label"})
_LABEL_TAIL = re.compile(
    r"(\w*seg|labels?|masks?|lesions?|manual|roi|tumou?r)(-.*)?", re.IGNORECASE
)
_PROBABILITIES = frozenset({"probseg", "softseg"})
_GENERIC = frozenset({
    "seg", "dseg", "softseg", "probseg", "label", "labels", "mask", "masks", "manual", "auto",
    "automatic", "final", "corrected",
})  # fmt: skip
_GENERIC_DESC = re.compile(r"(manual|auto|final|preproc|rater|expert|consensus|corrected)\w*", re.I)
_IN_TAIL = frozenset({"label", "desc", "hemi"})
_MM_PER_UNIT: Final = {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "nm": 1e-6}
_LARGEST_VALUE = 2**31 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class BidsName:
    """A file name in its parts, such as `sub-01_acq-a_T2w_seg-axon-manual`.

    Args:
        entities: `{"sub": "01", "acq": "a"}`.
        suffix: `T2w`; of official label names `dseg` or `mask`.
        tail: What follows the suffix, `("seg-axon-manual",)`: a habit of several data sets.
    """

    entities: Mapping[str, str]
    suffix: str
    tail: tuple[str, ...]

    @property
    def is_label(self) -> bool:
        """Whether it names a mask."""
        if self.tail:
            return any(_LABEL_TAIL.fullmatch(part) for part in self.tail)
        if self.suffix:
            return self.suffix in _LABEL_SUFFIXES
        return bool({"seg", "label"} & self.entities.keys())

    @property
    def is_probability(self) -> bool:
        """Whether it names the probabilities of a structure."""
        last = self.tail[-1] if self.tail else self.suffix
        return bool(_PROBABILITIES & {last.partition("-")[0], *last.split("-")})

    @property
    def structure(self) -> str | None:
        """What a mask shows, as far as its name says."""
        label = self.entities.get("label")
        name = _specific([label] if label is not None else self.tail)
        if name is None and self.suffix in ("lesion", "roi"):
            name = self.suffix
        if name is None and not self.tail and self.suffix != "dseg":
            said = self.entities.get("desc") or (None if self.suffix else self.entities.get("seg"))
            name = said if said is not None and not _GENERIC_DESC.fullmatch(said) else None
        hemisphere = self.entities.get("hemi")
        return f"{name}_{hemisphere}" if name and hemisphere else name


def parse_name(path: Path) -> BidsName:
    """Return the parts of a file's name."""
    parts = stem_of(path).removesuffix(".ome").split("_")
    entities: dict[str, str] = {}
    while parts and (match := _ENTITY.fullmatch(parts[0])):
        entities[match[1]] = match[2]
        parts.pop(0)
    suffix, *tail = parts or [""]
    kept: list[str] = []
    for part in tail:
        match = _ENTITY.fullmatch(part)
        if match is not None and match[1] in _IN_TAIL:
            entities.setdefault(match[1], match[2])
        else:
            kept.append(part)
    if tail and not kept:
        kept = ["label"] if "label" in entities else tail
    return BidsName(entities=entities, suffix=suffix, tail=tuple(kept))


def _specific(parts: Sequence[str]) -> str | None:
    """Return what is left without the words that only say that it is a mask."""
    words = [word for part in parts for word in part.split("-")]
    kept = [word for word in words if word.lower() not in _GENERIC]
    if not kept:
        return None
    last = kept[-1].lower().removesuffix("seg")
    return "-".join([*kept[:-1], kept[-1][: len(last)] or kept[-1]])


def find_class_names(label: Path, top: Path) -> dict[int, str] | None:
    """Return what the values of a `dseg` mask mean, from the `dseg.tsv` that holds for it.

    Args:
        label: The mask.
        top: The folder of the pipeline, or of the data set; nothing above it is read.

    Raises:
        DatasetError: if there is such a table and it makes no sense.
    """
    table = next(_sidecars(label, top, ".tsv"), None)
    return None if table is None else read_class_names(table)


def read_class_names(table: Path) -> dict[int, str]:
    """Read a `dseg.tsv`: the columns `index` and `name`.

    Raises:
        DatasetError: if it has not these columns, or an index is no whole number.
    """
    header, rows = read_csv(table)
    words = [word.lower() for word in header]
    if not {"index", "name"} <= set(words):
        raise DatasetError(
            "the table of labels has not the columns of BIDS",
            where=table,
            found=", ".join(header)[:200] or "an empty file",
            expected="index and name",
        )
    found: dict[int, str] = {}
    for line, row in rows:
        cells = dict(zip(words, row, strict=False))
        value, name = cells.get("index", "").strip(), cells.get("name", "").strip()
        if not any(row):
            continue
        if not value.isdecimal() or int(value[:12]) > _LARGEST_VALUE or not name:
            raise DatasetError(
                "a row of the table of labels makes no sense",
                where=f"{table}: line {line}",
                found=f"index {value!r}, name {name!r}",
                expected="a whole number and a name",
            )
        found[int(value)] = name
    return found


def find_pixel_size_mm(image: Path, top: Path) -> tuple[float, float] | None:
    """Return the pixel size (y, x) in millimetres that a microscope image's sidecar states.

    Args:
        image: The image.
        top: The folder of the data set; nothing above it is read.

    Raises:
        DatasetError: if a sidecar is no JSON, or the size makes no sense.
    """
    for sidecar in _sidecars(image, top, ".json"):
        content = read_json_object(sidecar, "the sidecar file of an image")
        if "PixelSize" not in content:
            continue
        sizes, unit = content["PixelSize"], content.get("PixelSizeUnits", "um")
        factor = _MM_PER_UNIT.get(unit) if isinstance(unit, str) else None
        if factor is None or not isinstance(sizes, list) or not 2 <= len(sizes) <= 3:
            raise _no_size(sidecar, sizes, unit)
        if not all(isinstance(s, (int, float)) and 0 < s < 1e9 for s in sizes):
            raise _no_size(sidecar, sizes, unit)
        return float(sizes[1]) * factor, float(sizes[0]) * factor
    return None


def find_sources(label: Path, top: Path) -> tuple[str, ...]:
    """Return the names of the files that a mask was made from, where its sidecar says so."""
    names: list[str] = []
    for sidecar in _sidecars(label, top, ".json"):
        content = read_json_object(sidecar, "the sidecar file of a mask")
        for key in ("Sources", "RawSources"):
            values = content.get(key)
            values = values if isinstance(values, list) else [values]
            names += [v.replace(":", "/").rpartition("/")[2] for v in values if isinstance(v, str)]
    return tuple(names)


def _sidecars(path: Path, top: Path, ending: str) -> Iterator[Path]:
    """Yield the sidecars that hold for a file, the nearest first (BIDS' inheritance principle)."""
    own = parse_name(path)
    folder = path.parent
    while folder.is_relative_to(top):
        fitting = []
        for candidate in folder.glob(f"*{ending}"):
            name = parse_name(candidate.with_suffix(""))
            same = (name.suffix, name.tail) == (own.suffix, own.tail)
            if same and name.entities.items() <= own.entities.items() and candidate.is_file():
                fitting.append((-len(name.entities), candidate))
        yield from (candidate for _, candidate in sorted(fitting))
        folder = folder.parent


def _no_size(sidecar: Path, sizes: object, unit: object) -> DatasetError:
    return DatasetError(
        "the pixel size makes no sense",
        where=sidecar,
        found=f"PixelSize {str(sizes)[:60]}, PixelSizeUnits {str(unit)[:20]}",
        expected="[x, y] in mm, um or nm",
    )
