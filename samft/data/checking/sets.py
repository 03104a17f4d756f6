"""What all images together tell, collected one by one in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from samft.data.checking.advice import ADVICE
from samft.data.checking.between import Between
from samft.data.checking.facts import Facts, MaskFacts
from samft.data.checking.findings import MAX_PER_CODE, Finding
from samft.data.checking.fitting import FitTally
from samft.data.checking.settings import CheckSettings
from samft.data.checking.summary import Summary
from samft.data.checking.values import ValueTally, check_values
from samft.data.layouts.base import LayoutSettings
from samft.data.records import Split

_TINY_SHARE = 0.1
_EMPTY_SHARE = 0.2  # more empty masks than this are on purpose
_INVERTED_SHARE = 0.8
_MOSTLY = 0.9  # of the images must be readable, to say that there are no objects
_RARE_FROM = 20  # images
_ALIKE_FROM = 5  # masks
_ALIKE_BITS = 6  # of 64
_TORN_SHARE = 0.3  # of the objects of a mask; where more lie in pieces, values are no objects
_MOST_SHAPES = 1000
_SHARED: Final = frozenset({"mask-jpeg", "spacing-unknown"})
"""What the first file says for all."""
_NO_VALUES: Final = frozenset({"mask-blurred", "mask-jpeg", "mask-stray-values", "mask-colours"})


@dataclass(slots=True)
class Repeated:
    """A kind of oddity that many images may share: one finding for all.

    Attributes:
        files: How many have it.
        first: The first of them.
    """

    files: int = 0
    first: str = ""

    def add(self, name: str) -> None:
        """Count one."""
        self.files += 1
        self.first = self.first or name


class SetCheck:
    """Takes the facts of one record after another, and says in the end what is wrong.

    Args:
        class_names: The classes by index.
        settings: What is to be found.
        layout: What is said about the data, as its layout takes it.
    """

    def __init__(
        self, class_names: Sequence[str], settings: CheckSettings, layout: LayoutSettings
    ) -> None:
        self.class_names = tuple(class_names)
        self.settings = settings
        self.layout = layout
        self.summary = Summary(classes=dict.fromkeys(class_names, (0, 0)))
        self.between = Between()
        self.values = ValueTally()
        self.fits = FitTally()
        self._odd: dict[str, Repeated] = {}
        self._shared: dict[str, tuple[Finding, int]] = {}
        self._empty_masks: list[Finding] = []
        self._smallest_tiny: tuple[int, float] = (0, 1.0)
        self._trained: Counter[str] = Counter()
        self._binary = self._masks = 0
        self._outline = 0  # of the first mask

    def add(self, facts: Facts, name: str, split: Split | None, *, label: str) -> Iterator[Finding]:
        """Take one record over.

        Args:
            facts: What was found in it.
            name: Its image file below the data root.
            split: Its split.
            label: Its mask file.

        Yields:
            What is wrong with it alone, but for what the whole set will tell.
        """
        codes = {finding.code for finding in facts.findings}
        lonely = "image-constant" in codes or not facts.size
        self.between.add(0 if lonely else facts.digest, facts.likeness)
        self._count(facts, name, split, label)
        if facts.mask is not None and not codes & _NO_VALUES:
            self.values.add(facts.mask, label, self.layout)
        for finding in facts.findings:
            if finding.code in _SHARED:
                first, count = self._shared.get(finding.code, (finding, 0))
                self._shared[finding.code] = first, count + 1
            elif finding.code == "mask-empty":
                self._empty_masks += [finding] if len(self._empty_masks) < MAX_PER_CODE else []
            elif finding.code != "value-unknown":  # said once for the set
                yield finding

    def finish(self, names: Sequence[str], splits: Sequence[Split | None]) -> Iterator[Finding]:
        """Say what is wrong with the set.

        Args:
            names: The image files below the data root, in the order they were added.
            splits: Their splits.
        """
        wrong = check_values(self.values, self.layout)
        yield from wrong
        yield from (replace(first, files=count) for first, count in self._shared.values())
        yield from self._odd_findings()
        yield from self._objects_findings(certain=not wrong)
        yield from self._class_findings(splits)
        yield from self.fits.findings()
        grouped = self.settings.case_pattern is not None
        yield from self.between.findings(names, splits, grouped=grouped)

    def _count(self, facts: Facts, name: str, split: Split | None, label: str) -> None:
        total = self.summary
        total.images += 1
        total.splits[split or "not split"] += 1
        if not facts.size:
            return
        shape = " x ".join(map(str, facts.size))
        if shape in total.shapes or len(total.shapes) < _MOST_SHAPES:
            total.shapes[shape] += 1
        total.channels[facts.channels] += 1
        total.depths[facts.depth] += 1
        self._note_oddities(facts, name, label)
        if not facts.readable:
            return
        total.readable += 1
        total.empty += int(facts.objects == 0)
        total.objects += facts.objects
        total.dropped += facts.dropped
        total.tiny += facts.tiny
        total.ignored += facts.ignored
        total.sizes = [old + new for old, new in zip(total.sizes, facts.sizes, strict=True)]
        self.fits.add(facts.fit, name)
        for index, count in facts.classes.items():
            kind = self.class_names[index]
            objects, images = total.classes[kind]
            total.classes[kind] = objects + count, images + 1
            self._trained[kind] += int(split == "train")
        if facts.tiny:
            self._note("objects-tiny", label)
            scale = self.settings.image_size / max(facts.size)
            if not self._smallest_tiny[0] or facts.smallest < self._smallest_tiny[0]:
                self._smallest_tiny = facts.smallest, scale

    def _note(self, code: str, name: str) -> None:
        self._odd.setdefault(code, Repeated()).add(name)

    def _note_oddities(self, facts: Facts, name: str, label: str) -> None:
        if facts.alpha != "none":
            self._note(f"alpha-{facts.alpha}", name)
        if facts.depth == "uint16":
            self._note("depth-unused" if 0 < facts.highest < 256 else "deep", name)
        if facts.ignored > 0.5:
            self._note("ignore-most", label)
        if facts.mask is not None:
            known = {v: c for v, c in facts.mask.values.items() if v != self.layout.background}
            self._masks += 1
            if len(known) == 1:
                self._note_binary(facts.mask, label)
            if facts.instances and known:
                self._note_instances(facts.mask, len(known), max(known), label)

    def _note_binary(self, mask: MaskFacts, label: str) -> None:
        self._binary += 1
        self._outline = self._outline or mask.outline
        if not mask.foreground < 1:
            return
        differing = (self._outline ^ mask.outline).bit_count()
        # One large region, alike in all, as the field of view is; objects are elsewhere each time.
        large = mask.foreground > 0.4 and mask.pieces == 1
        if large and mask.border <= 0.6 and differing <= _ALIKE_BITS:
            self._note("masks-alike", label)
        if mask.foreground > 0.5 and mask.border > 0.6:
            self._note("mask-inverted", label)

    def _note_instances(self, mask: MaskFacts, count: int, highest: int, label: str) -> None:
        if count >= 200 and highest == 255 and mask.scattered >= 0.1 * count:
            self._note("ids-wrapped", label)
        elif count <= 8 and mask.pieces >= 4 * count:
            self._note("semantic-as-instances", label)
        elif 0 < mask.scattered <= _TORN_SHARE * count:
            self._note("ids-in-pieces", label)

    def _odd_findings(self) -> Iterator[Finding]:
        deep, shallow = self._odd.pop("deep", None), self.summary.depths["uint8"]
        if deep is not None and shallow:
            self._odd["depth-mixed"] = deep
            self._odd.pop("depth-unused", None)
        alike = self._odd.get("masks-alike")
        if alike is not None and alike.files < max(_ALIKE_FROM, _INVERTED_SHARE * self._masks):
            del self._odd["masks-alike"]
        inverted = self._odd.get("mask-inverted")
        if inverted is not None and inverted.files < _INVERTED_SHARE * self._binary:
            del self._odd["mask-inverted"]
        if len(self.values.files) > 16:  # many values in all are objects, whatever one mask says
            self._odd.pop("semantic-as-instances", None)
        for code, seen in self._odd.items():
            if code in ADVICE:
                found, expected, fix = ADVICE[code]
                yield Finding(
                    code=code,
                    file=seen.first,
                    found=found,
                    expected=expected,
                    fix=fix,
                    files=seen.files,
                )

    def _objects_findings(self, *, certain: bool) -> Iterator[Finding]:
        total = self.summary
        if total.readable > _MOSTLY * total.images and not total.objects and certain:
            yield Finding(
                code="no-objects",
                file=".",
                found=f"{total.readable} images without any",
                expected="objects to learn from",
                fix="check data.labels and data.background, and data.classes if it is set",
                files=total.readable,
            )
        elif len(self._empty_masks) <= max(1, _EMPTY_SHARE * total.images):
            yield from self._empty_masks
        if total.tiny and total.tiny >= _TINY_SHARE * total.objects:
            yield self._tiny_finding()

    def _tiny_finding(self) -> Finding:
        total, settings, seen = self.summary, self.settings, self._odd["objects-tiny"]
        smallest, scale = self._smallest_tiny
        tile = max(32, int(settings.image_size * (smallest / settings.tiny) ** 0.5))
        specks = max(2, round(settings.tiny / scale**2))
        return Finding(
            code="objects-tiny",
            file=seen.first,
            found=f"{total.tiny} of {total.objects} objects ({total.tiny / total.objects:.0%}) "
            f"have less than {settings.tiny} pixels at an image size of {settings.image_size}",
            expected=f"{settings.tiny} pixels or more, one cell of the model's masks",
            fix=f"cut images into parts with data.tile: {tile}, or leave specks out with "
            f"data.min_area: {specks}",
            files=seen.files,
        )

    def _class_findings(self, splits: Sequence[Split | None]) -> Iterator[Finding]:
        if not self.summary.objects:
            return
        classes = self.summary.classes
        chosen = self.settings.layout.classes is not None or self.settings.layout.palette
        missing = [name for name, (objects, _) in classes.items() if not objects]
        if missing and chosen:
            fix = "take them out of data.classes, or correct their numbers"
            if self.layout.background == 0 and self.layout.first_value == 1:
                fix += (
                    "; if 0 is the first class, set data.first_value: 0 and data.background: null"
                )
            yield _about_classes("class-without-pixels", missing, "pixels of every class", fix)
        untrained = [
            name for name, (objects, _) in classes.items() if objects and not self._trained[name]
        ]
        if untrained and "train" in splits:
            fix = "move images that have them into the training folder"
            yield _about_classes("class-not-in-train", untrained, "every class in training", fix)
        rare = [name for name, (_, images) in classes.items() if images == 1]
        if rare and len(classes) > 1 and self.summary.readable >= _RARE_FROM:
            fix = "add images that have them, or leave them out of data.classes"
            yield _about_classes("class-rare", rare, "every class in several images", fix)


def _about_classes(code: str, names: Sequence[str], expected: str, fix: str) -> Finding:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return Finding(
        code=code,
        file=".",
        found=", ".join(names[:8]) + more,
        expected=expected,
        fix=fix,
        files=len(names),
    )
