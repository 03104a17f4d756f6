"""A whole job, from training to masks: no other machine is asked, no patient is named."""

import gzip
import logging
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from dicom_files import values, write_series
from dicom_objects import segment, write_seg

from samft.cli.entry import main

ROOT = Path(__file__).parents[2]
PLANTED = {
    "PatientName": "Mustermann^Xaverius",
    "PatientBirthDate": "19470213",
    "PatientAddress": "Lindenweg 17 Quellstadt",
    "OtherPatientIDs": "SSN-555-81-7702",
    "PatientComments": "Nervous about needles",
    "AccessionNumber": "ACC99317",
    "InstitutionName": "Klinikum Quellstadt",
    "ReferringPhysicianName": "Doktorova^Zdenka",
    "StudyDescription": "Follow-up Mustermann",
    "StudyID": "STUDY88213",
    "DeviceSerialNumber": "SN-0042-QX",
}
PATIENT_IDS = ("MRN-7731-4420", "MRN-7731-5531")
WORDS = {part for value in PLANTED.values() for part in (value, *value.split("^"))}
SECRETS = sorted({*WORDS, *PATIENT_IDS})
NETWORK = (
    *("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo"),
    *("socket.gethostbyname", "socket.gethostbyaddr", "socket.bind"),
    *("urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect"),
    *("subprocess.Popen", "os.system", "webbrowser.open"),
)

_heard: list[tuple[str, str]] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _heard is not None and event in NETWORK:
        _heard.append((event, repr(arguments)[:200]))


sys.addaudithook(_hook)  # can never be taken away again, so it listens only when told


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> dict[str, object]:
    """Check, fit, validate and predict of a DICOM series; what was written, said and asked."""
    global _heard  # noqa: PLW0603
    place = tmp_path_factory.mktemp("quiet")
    data, runs, out = place / "data", place / "runs", place / "out"
    for number in range(2):
        planted = {**PLANTED, "PatientID": PATIENT_IDS[number]}
        paths = write_series(data / f"case{number}/ct", **planted)
        frames = [(1, at, plane > 100) for at, plane in enumerate(values())]
        write_seg(data / f"case{number}/seg.dcm", paths, frames, [segment(1, "blob")])
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAMFT_CACHE", str(place / "cache"))
        patch.delenv("SAMFT_OFFLINE", raising=False)
        _heard = []
        words = [
            *("--config", str(ROOT / "recipes/medical.yaml")),
            *("--config", str(ROOT / "configs/model/vit_nano.yaml")),
            *("--data.root", str(data), "--data.num_workers", "0", "--model.image_size", "64"),
            *("--data.val_fraction", "0.5", "--data.test_fraction", "0", "--model.adapt", "frozen"),
            *("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"),
            *("--trainer.limit_train_batches", "2", "--trainer.max_epochs", "1"),
            *("--model.cache_embeddings", "float16", "--runs", str(runs)),
        ]
        codes = {"check": main(["check", str(data), "--domain", "medical", "--json"])}
        codes["fit"] = main(["fit", *words])
        (run,) = (path.parent for path in runs.rglob("config.fit.yaml"))
        codes["validate"] = main(["validate", "--ckpt_path", str(run)])
        codes["predict"] = main(
            [
                *("predict", str(run), "--source", str(data / "case0/ct"), "--out", str(out)),
                *("--format", "png", "coco", "nifti", "overlay"),
            ]
        )
        few = ["--evaluation.clicks", "1", "--evaluation.gallery", "1"]
        codes["test"] = main(["test", str(run), *few])
        codes["report"] = main(["report", str(run)])
        heard, _heard = _heard, None
    logging.getLogger().removeHandler(handler)
    return {"codes": codes, "heard": heard, "said": said, "place": place, "data": data}


def contents(path: Path) -> Iterator[bytes]:
    """Yield what a file holds, unpacked where it is packed."""
    raw = path.read_bytes()
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    elif raw[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def test_the_job_was_done(job) -> None:
    assert job["codes"].pop("check") in (0, 1)
    assert set(job["codes"].values()) == {0}
    names = {path.name for path in job["place"].rglob("*")}
    assert {"best.ckpt", "metrics.csv", "coco.json", "objects.csv", "report.html"} <= names


def test_no_other_machine_is_asked_and_no_program_started(job) -> None:
    assert not job["heard"]


def test_the_listener_hears_what_it_listens_for() -> None:
    import socket

    global _heard  # noqa: PLW0603
    _heard = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
    heard, _heard = _heard, None
    assert [event for event, _ in heard] == ["socket.bind"]


def test_no_patient_is_in_any_file_that_was_written(job) -> None:
    written = [
        path
        for path in job["place"].rglob("*")
        if path.is_file() and not path.is_relative_to(job["data"])
    ]
    assert len(written) > 8
    for path in written:
        for content in contents(path):
            found = [secret for secret in SECRETS if secret.encode() in content]
            assert not found, (path, found)
        assert not [secret for secret in SECRETS if secret in path.name]


def test_no_patient_is_in_the_log(job) -> None:
    text = "\n".join(job["said"])
    assert not [secret for secret in SECRETS if secret in text]


def test_the_planted_words_would_be_found(job) -> None:
    path = next(job["data"].rglob("im001.dcm"))
    found = [secret for secret in SECRETS for raw in contents(path) if secret.encode() in raw]
    assert set(found) >= WORDS
