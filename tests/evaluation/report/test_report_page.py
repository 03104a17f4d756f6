"""The HTML page and the Markdown: well-formed, inert, complete, the same for the same input."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from benchmarks.report import DrawnTest, make_results, make_run
from samft.evaluation.report.building import build_report

VOID = {"meta", "img", "source", "br"}
SMALL = DrawnTest(images=12, objects=4, clicks=3, pictures=1, edge=120)
HOSTILE = "<script>alert(1)</script>\"'\u202egnp.exe\u202c|`$x_{a}$ [a](b)"


class Page(HTMLParser):
    """Takes a page apart, and fails where a tag is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> does not close what is open"

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def parsed(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("a") / "runs" / "nuclei" / "3", epochs=4)
    make_results(folder / "test", SMALL)
    build_report(folder)
    return folder


def test_the_page_is_well_formed_inert_and_self_contained(run):
    text = (run / "report.html").read_text(encoding="utf-8")
    page = parsed(run / "report.html")
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base", "svg"}
    assert not re.search(r"https?://", text)
    assert not re.search(r"url\s*\(|@import", text)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "srcset"):
            assert (attributes.get(name) or "data:image/").startswith("data:image/")
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for a in page.of("meta") if a.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert "img-src data:" in policy
    assert "script" not in policy


def test_the_sections_stand_in_their_order_and_are_linked(run):
    page = parsed(run / "report.html")
    keys = [attributes["id"] for attributes in page.of("section")]
    assert keys == [
        *("prompts", "clicks", "sizes", "classes", "images", "instances", "calibration"),
        *("training", "gallery", "cases", "configuration", "environment", "data", "commands"),
        "terms",
    ]
    assert [a["href"] for a in page.of("a")] == [f"#{key}" for key in keys]


def test_every_picture_says_what_it_shows(run):
    images = parsed(run / "report.html").of("img")
    assert len(images) == 9  # five charts, four pictures
    assert all(len(image["alt"]) > 20 for image in images)


def test_drawings_hold_no_text_no_date_and_no_address(run):
    page = parsed(run / "report.html")
    pictures = [a["src"] for a in page.of("img")] + [a["srcset"] for a in page.of("source")]
    drawings = [
        base64.b64decode(picture.partition(",")[2]).decode()
        for picture in pictures
        if picture.startswith("data:image/svg+xml")
    ]
    assert len(drawings) == 10
    for drawing in drawings:
        assert "<text" not in drawing
        assert "date" not in drawing
        assert set(re.findall(r"https?://([^/\"']+)", drawing)) <= {"www.w3.org"}


def test_dark_drawings_are_light_ones_in_other_colours(run):
    page = parsed(run / "report.html")
    light = [a["src"] for a in page.of("img") if "svg" in a["src"]]
    dark = [a["srcset"] for a in page.of("source")]
    for pair in zip(light, dark, strict=True):
        one, other = (base64.b64decode(text.partition(",")[2]) for text in pair)
        assert one != other
        assert b"#24292f" in one
        assert b"#24292f" not in other
        assert len(one) == len(other)


def test_the_same_input_gives_the_same_bytes_and_removes_old_drawings(run):
    names = ("report.html", "report.md", "metrics.json", "model_card.md")
    first = {name: (run / name).read_bytes() for name in names}
    stale = run / "report_files" / "old.svg"
    stale.write_text("old", encoding="utf-8")
    build_report(run)
    assert {name: (run / name).read_bytes() for name in names} == first
    assert not stale.exists()
    assert (run / "report_files" / "clicks.svg").is_file()


def hostile(folder: Path) -> Path:
    """Put a hostile name wherever a name can stand."""
    make_run(folder, epochs=2)
    test = DrawnTest(
        images=3, objects=3, clicks=1, pictures=1, edge=60, models={"tuned": 0.8, "zero-shot": 0.7}
    )
    make_results(folder / "test", test)
    path = folder / "test" / "metrics.json"
    text = path.read_text(encoding="utf-8")
    for name in ("nucleus", "tuned", "zero-shot", "site_0/patient_00000.png", "worst", "small"):
        quoted = json.dumps(f"{name}{HOSTILE}")
        text = text.replace(f'"{name}"', quoted)
    content = json.loads(text)
    content["data"]["root"] = HOSTILE
    content["environment"]["device"] = HOSTILE
    path.write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_hostile_names_stay_text(tmp_path):
    run = hostile(tmp_path / "runs" / HOSTILE.replace("/", "") / "0")
    build_report(run, keep_names=True)
    page = parsed(run / "report.html")
    assert not page.of("script")
    said = "".join(page.text)
    assert "tuned<script>alert(1)</script>\"'<U+202E>gnp.exe<U+202C>" in said
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") & set(text)
    markdown = (run / "report.md").read_text(encoding="utf-8")
    lines = [line for line in markdown.splitlines() if "alert" in line]
    tables = [line for line in lines if line.startswith("|")]
    assert tables
    outside = re.sub(r"(?s)```.*?\n```", "", markdown)
    assert not re.search(r"(?<!\\)<script", outside)
    assert not re.search(r"(?<!\\)\[a(?<!\\)\]\(b", outside)
    card = (run / "model_card.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert head["model-index"][0]["results"][0]["dataset"]["name"].endswith("[a](b)")


def test_markdown_tables_have_as_many_cells_as_heads(run):
    width = 0
    for line in (run / "report.md").read_text(encoding="utf-8").splitlines():
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        if not line.startswith("|"):
            width = 0
        elif width:
            assert cells == width, line
        else:
            width = cells


def test_links_of_the_markdown_lead_to_files_beside_it(run, tmp_path):
    build_report(run, out=tmp_path / "elsewhere")
    for out in (run, tmp_path / "elsewhere"):
        links = re.findall(r"\]\(([^)]+)\)", (out / "report.md").read_text(encoding="utf-8"))
        assert len(links) == 9
        assert all((out / link).is_file() and ".." not in link for link in links)
    assert any(link.startswith("report_files/picture_") for link in links)


def test_a_large_gallery_is_made_small_enough(tmp_path, monkeypatch):
    monkeypatch.setattr("samft.evaluation.report.pictures.MOST_BYTES", 40_000)
    results = make_results(
        tmp_path / "r", DrawnTest(images=3, objects=3, clicks=0, edge=400, models={})
    )
    before = sum(path.stat().st_size for path in (results / "gallery").iterdir())
    assert before > 400_000
    build_report(results)
    page = parsed(results / "report.html")
    sizes = [
        len(base64.b64decode(a["src"].partition(",")[2]))
        for a in page.of("img")
        if a["src"].startswith("data:image/jpeg")
    ]
    assert sizes
    assert sum(sizes) <= 40_000
    shown = len(sizes)
    assert shown + "".join(page.text).count("left out to keep this file small") == 48


def test_a_picture_outside_the_folder_is_not_read(tmp_path):
    results = make_results(tmp_path / "r", DrawnTest(images=3, objects=3, clicks=1, pictures=1))
    secret = tmp_path / "secret.jpg"
    (results / "gallery" / "best_01.jpg").rename(secret)
    path = results / "metrics.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    (results / "gallery" / "worst_01.jpg").unlink()
    (results / "gallery" / "worst_01.jpg").symlink_to(secret)
    content["gallery"][0]["picture"] = "../secret.jpg"
    path.write_text(json.dumps(content), encoding="utf-8")
    build_report(results)
    page = parsed(results / "report.html")
    assert len([a for a in page.of("img") if "jpeg" in a["src"]]) == 2
    assert "2 pictures are not there or cannot be read." in "".join(page.text)
