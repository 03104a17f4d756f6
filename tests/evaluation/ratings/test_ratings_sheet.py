"""The folder a rater gets."""

import csv
import re
from html.parser import HTMLParser

import pytest
from evaluation.ratings.rating_cases import shown, targets
from PIL import Image

from samft.errors import OutputError
from samft.evaluation.ratings.jobs import TRUTH, plan_jobs
from samft.evaluation.ratings.key import read_key
from samft.evaluation.ratings.reading import read_sheet
from samft.evaluation.ratings.scale import ANCHORS, CRITERIA
from samft.evaluation.ratings.sheet import html_page, write_sheets


class _Links(HTMLParser):
    """Collects what a page loads, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded, self.inputs, self.text = [], [], ""

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        self.loaded += [values[name] for name in ("src", "href") if name in values]
        if tag == "input" and values.get("type") == "radio":
            self.inputs.append((values["name"], values["value"]))

    def handle_data(self, data) -> None:
        self.text += data


def _read(page: str) -> _Links:
    parser = _Links()
    parser.feed(page)
    return parser


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    jobs = plan_jobs(targets(4), ["secret_model", TRUTH], seed=0, raters=2, common=2)
    folders = write_sheets(jobs, reversed(shown(jobs)), out, max_side=200)
    return out, jobs, folders


def test_each_rater_gets_a_page_pictures_and_a_table(study) -> None:
    out, jobs, folders = study
    assert [folder.name for folder in folders] == ["rater_1", "rater_2"]
    assert sorted(path.name for path in out.iterdir()) == ["key.csv", "rater_1", "rater_2"]
    for number, folder in enumerate(folders, start=1):
        own = [job.code for job in jobs if number in job.raters]
        assert len(own) == 5
        rows = list(csv.reader((folder / "ratings.csv").open(newline="")))
        assert rows == [["job", "rating", "comment"], *([code, "", ""] for code in own)]
        assert sorted(p.stem for p in (folder / "views").iterdir()) == sorted(own)
        page = _read((folder / "index.html").read_text("utf-8"))
        assert page.loaded == [f"views/{code}.jpg" for code in own]
        assert page.inputs == [(code, str(value)) for code in own for value in range(1, 11)]
        for code in own:
            assert Image.open(folder / "views" / f"{code}.jpg").width > 500


def test_the_scale_and_the_criteria_are_on_the_page(study) -> None:
    text = " ".join(_read((study[2][0] / "index.html").read_text("utf-8")).text.split())
    for anchor in ANCHORS:
        assert anchor.ratings in text
        assert anchor.text in text
    for question, words in CRITERIA:
        assert question in text
        assert words in text


def test_nothing_says_whose_masks_they_are(study) -> None:
    out, _, folders = study
    for folder in folders:
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert len(files) == 7
        for path in files:
            content = path.read_bytes()
            for word in (b"secret_model", b"truth", b"image_", b"case_"):
                assert word not in content, (path, word)
    assert "secret_model" in (out / "key.csv").read_text("utf-8")


def test_times_of_the_pictures_say_nothing(study) -> None:
    pictures = [path for folder in study[2] for path in (folder / "views").iterdir()]
    assert len({path.stat().st_mtime_ns for path in pictures}) == 1


def test_a_browser_keeps_ratings_of_other_pictures_apart(study, tmp_path) -> None:
    _, jobs, folders = study
    masks = shown(jobs)
    same = write_sheets(jobs, masks, tmp_path / "same", max_side=200)
    masks[-1].mask[5:9, 5:9] = True  # the model was trained again; all is one array
    other = write_sheets(jobs, masks, tmp_path / "other", max_side=200)
    names = [_study_of(each[0]) for each in (folders, same, other)]
    assert names[0] == names[1]
    assert names[1] != names[2]


def _study_of(folder) -> str:
    found = re.search(r'data-study="([^"]+)"', (folder / "index.html").read_text("utf-8"))
    assert found is not None
    return found[1]


def test_the_page_needs_nothing_from_the_net(study) -> None:
    page = (study[2][0] / "index.html").read_text("utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(", page.replace("// A spreadsheet", ""))
    assert page.count("<script>") == 1


def test_the_key_says_what_was_hidden(study) -> None:
    out, jobs, folders = study
    key = read_key(out / "key.csv")
    assert key.jobs == {job.code: job for job in jobs}
    assert key.models == ["secret_model", TRUTH]
    assert read_sheet(folders[0] / "ratings.csv", key.jobs).num_blank == 5


def test_a_job_without_a_mask_and_a_mask_without_a_job(tmp_path) -> None:
    jobs = plan_jobs(targets(2), ["a"], seed=0)
    masks = shown(jobs)
    with pytest.raises(OutputError, match="nothing to show") as caught:
        write_sheets(jobs, masks[:1], tmp_path / "one", max_side=100)
    assert caught.value.where == masks[1].target.sample_id
    assert not (tmp_path / "one" / "key.csv").exists()
    with pytest.raises(OutputError, match="no job, or was shown before"):
        write_sheets(jobs, [masks[0], masks[0]], tmp_path / "two", max_side=100)


def test_codes_are_escaped() -> None:
    page = html_page(['"><script>x'], study='"&<')
    assert page.count("<script>") == 1
    assert 'data-study="&quot;&amp;&lt;"' in page
