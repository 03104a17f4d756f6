"""Key and sheets as spreadsheets save them."""

import pytest
from evaluation.ratings.rating_cases import targets

from samft.errors import DatasetError
from samft.evaluation.ratings.jobs import plan_jobs
from samft.evaluation.ratings.key import read_key, write_key
from samft.evaluation.ratings.reading import read_sheet, read_sheets

JOBS = {job.code: job for job in plan_jobs(targets(3), ["a", "b"], seed=0)}


def _file(tmp_path, content, name="anna.csv"):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "job,rating,comment\nj0001,7,\nj0002,8.5,good\nj0003,,\n",
        "\ufeffjob,rating,comment\r\nj0001,7.0,\r\nj0002,8.50,good\r\nj0003,,\r\n",
        "job;rating;comment\nj0001;7,0;\nj0002;8,5;gut, aber\nj0003;;\n",
        'job,rating,comment\nj0001,"7,0",\nj0002,"8,5","x ""y"""\n\n,,\nj0003,,\n',
        "sep=;\r\njob;rating;comment\r\nj0001;7;\r\nj0002;8,5;x\r\nj0003;;\r\n",
        "job\trating\tcomment\nJ0001\t 7 \t\nj0002\t8.5\ta,b;c\nj0003\t\t\n",
        "comment,Job,RATING\n,j0001,7\nx,j0002,8.5\n,j0003,\n",
        "job,rating,comment\rj0001,7,\rj0002,8.5,x\rj0003,,\r",
        "job;rating;comment\nj0001;7;\nj0002;8,5;schön\nj0003;;\n".encode("cp1252"),
        "job\trating\tcomment\nj0001\t7\t\nj0002\t8,5\tschön\nj0003\t\t\n".encode("utf-16"),
    ],
)
def test_the_same_sheet_in_many_forms(tmp_path, content) -> None:
    sheet = read_sheet(_file(tmp_path, content), JOBS)
    assert sheet.ratings == {"j0001": 7.0, "j0002": 8.5}
    assert (sheet.rater, sheet.num_blank, sheet.num_comments) == ("anna", 1, 1)


@pytest.mark.parametrize("rating", ["0", "11", "10.1", "0.9", "-3", "7 or 8", "nan", "1e1", "七"])
def test_what_is_not_on_the_scale_is_refused(tmp_path, rating) -> None:
    path = _file(tmp_path, f"job,rating\nj0001,5\nj0002,{rating}\n")
    with pytest.raises(DatasetError, match="a rating is not on the scale") as caught:
        read_sheet(path, JOBS)
    assert caught.value.where == f"{path}, line 3"
    assert caught.value.found == rating
    assert caught.value.expected == "a number from 1 to 10, or nothing"


def test_unknown_and_repeated_jobs_are_refused(tmp_path) -> None:
    path = _file(tmp_path, "job,rating\nj0001,5\nj0009,5\n")
    with pytest.raises(DatasetError, match="the key has no job 'j0009'") as caught:
        read_sheet(path, JOBS)
    assert caught.value.where == f"{path}, line 3"
    assert "did you mean" in caught.value.fix
    path = _file(tmp_path, "job,rating\nj0001,5\nj0002,5\nJ0001,\n")
    with pytest.raises(DatasetError, match="a job is rated twice") as caught:
        read_sheet(path, JOBS)
    assert caught.value.where == f"{path}, line 4"
    assert caught.value.expected == "once, on line 2"


def test_a_decimal_comma_that_became_two_cells(tmp_path) -> None:
    path = _file(tmp_path, "job,rating,comment\nj0001,7,0,\nj0002,7,0,fine\n")
    with pytest.raises(DatasetError, match="more cells than the table has columns") as caught:
        read_sheet(path, JOBS)
    assert caught.value.where == f"{path}, line 3"
    assert '"7,0"' in caught.value.fix


@pytest.mark.parametrize(
    ("content", "what", "found"),
    [
        ("", "no column 'job'", "nothing"),
        ("job,stars\nj0001,5\n", "no column 'rating'", "job, stars"),
        ("job,rating,rating\n", "two columns of the same name", "rating"),
        ('job,rating\nj0001,"5\n', "cannot be read", "unexpected end of data"),
    ],
)
def test_tables_that_are_none(tmp_path, content, what, found) -> None:
    path = _file(tmp_path, content)
    with pytest.raises(DatasetError, match=what) as caught:
        read_sheet(path, JOBS)
    assert str(path) in str(caught.value.where)
    assert caught.value.found == found


def test_a_file_that_is_not_there(tmp_path) -> None:
    with pytest.raises(DatasetError, match="the table cannot be read") as caught:
        read_sheet(tmp_path / "no.csv", JOBS)
    assert caught.value.where == tmp_path / "no.csv"
    assert caught.value.found == "No such file or directory"


def test_sheets_of_several_raters(tmp_path) -> None:
    filled = "job,rating\nj0001,5\n"
    first = _file(tmp_path, filled, "x/ratings.csv")
    second = _file(tmp_path, filled, "y/ratings.csv")
    sheets = read_sheets([first, second], JOBS)
    assert [sheet.rater for sheet in sheets] == ["ratings", "y/ratings"]
    with pytest.raises(DatasetError, match="a sheet is given twice") as caught:
        read_sheets([first, second, first], JOBS)
    assert caught.value.where == first
    blank = _file(tmp_path, "job,rating\nj0001,\n", "blank.csv")
    with pytest.raises(DatasetError, match="nobody has rated anything yet") as caught:
        read_sheets([blank], JOBS)
    assert "1 to 10" in caught.value.expected


def test_the_key_survives_names_with_commas_and_a_spreadsheet(tmp_path) -> None:
    path = tmp_path / "key.csv"
    write_key(list(JOBS.values()), path)
    text = path.read_text("utf-8")
    assert read_key(path).jobs == JOBS
    saved = "\ufeff" + text.replace(",", ";").replace("\n", "\r\n")
    path.write_bytes(saved.encode())
    assert read_key(path).jobs == JOBS


@pytest.mark.parametrize(
    ("rows", "what", "line"),
    [
        ("j1,a,x,1\nJ1,b,x,1\n", "names a job twice", 3),
        ("j1,a,x,1\nj2,a,x,1\n", "two masks of the same object", 3),
        ("j1,a,x,one\n", "a number in the key is none", 2),
    ],
)
def test_a_key_that_contradicts_itself(tmp_path, rows, what, line) -> None:
    path = _file(tmp_path, f"job,model,sample_id,object_id\n{rows}", "key.csv")
    with pytest.raises(DatasetError, match=what) as caught:
        read_key(path)
    assert caught.value.where == f"{path}, line {line}"
    assert "samft ratings sheet" in caught.value.fix


def test_a_key_without_jobs(tmp_path) -> None:
    path = _file(tmp_path, "job,model,sample_id,object_id\n", "key.csv")
    with pytest.raises(DatasetError, match="the key names no jobs") as caught:
        read_key(path)
    assert caught.value.where == path
