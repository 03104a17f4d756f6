"""Old files full of program objects: their weights come out, and nothing in them runs."""

import argparse
import os
import pickle
import struct
import subprocess
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path

import pytest
import torch
from hostile_files import KEY, Call, Storage, archive, pickled, rebuild
from models.tiny_sam import assert_same, tiny_sam
from torch import nn

from samft.errors import CheckpointError
from samft.models.legacy_contents import choose_entry, find_entries
from samft.models.legacy_file import read_legacy_file
from samft.models.state_dict import to_official


def weights(path: Path, entry: str | None = None) -> dict[str, torch.Tensor]:
    state = choose_entry(find_entries(read_legacy_file(path)), path, entry)
    return to_official(state, path)[0]


@pytest.fixture(params=["zip", "before 1.6"])
def save(request):
    def write(content, path):
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


class Config:
    """A class of a training script."""

    def __init__(self) -> None:
        self.lr, self.parent = 1e-4, None


def test_a_training_script_that_saved_everything(tmp_path, save) -> None:
    sam = tiny_sam()
    optimizer = torch.optim.AdamW(sam.parameters())
    sum(p.sum() for p in sam.parameters()).backward()
    optimizer.step()
    content = {
        "model": sam.state_dict(),
        "optimizer": optimizer.state_dict(),
        "args": argparse.Namespace(lr=1e-4, work_dir=Path("runs")),
        "config": Config(),
        "history": defaultdict(list, loss=[1.0, 0.5]),
        "rng": torch.get_rng_state(),
        "names": {"a", "b"},
    }
    path = save(content, tmp_path / "old.pth")
    assert_same(weights(path), sam.state_dict())
    names = read_legacy_file(path).names
    assert {"argparse.Namespace", "collections.defaultdict"} <= set(names)


def test_a_whole_module(tmp_path, save) -> None:
    sam = tiny_sam()
    with torch.no_grad():
        sam.double()
    path = save({"model": nn.DataParallel(sam), "epoch": 3}, tmp_path / "whole.pt")
    assert_same(weights(path), sam.state_dict())


def test_a_module_whose_class_is_gone(tmp_path, save) -> None:
    gone = types.ModuleType("gone_project")
    gone.Model = type("Model", (nn.Module,), {"__module__": "gone_project"})
    sys.modules["gone_project"] = gone
    model = gone.Model()
    model.image_encoder = nn.Linear(2, 3)
    model.register_buffer("unsaved", torch.zeros(2), persistent=False)
    path = save(model, tmp_path / "gone.pt")
    del sys.modules["gone_project"]
    found = find_entries(read_legacy_file(path))
    assert list(found) == [""]
    assert_same(found[""], model.state_dict())


def test_views_parameters_and_shared_values(tmp_path, save) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "image_encoder.a": base.T,
        "image_encoder.b": base[1:, 1:],
        "image_encoder.c": nn.Parameter(base),
        "image_encoder.d": torch.zeros(0, 5),
        "image_encoder.e": torch.ones(2, dtype=torch.bfloat16),
        "image_encoder.f": torch.tensor(7),
    }
    found = find_entries(read_legacy_file(save(state, tmp_path / "v.pth")))[""]
    for key, value in state.items():
        assert torch.equal(found[key], value), key
        assert found[key].dtype == value.dtype


def test_two_models_in_one_file(tmp_path, save) -> None:
    first, second = tiny_sam(0), tiny_sam(1)
    content = {"model": first.state_dict(), "ema": {"shadow": second.state_dict()}, "a": Config()}
    path = save(content, tmp_path / "two.pth")
    with pytest.raises(CheckpointError) as error:
        weights(path)
    assert "found: 'model', 'ema.shadow'" in str(error.value).replace("pth, found", "found")
    assert "--entry" in str(error.value)
    assert_same(weights(path, "ema.shadow"), second.state_dict())
    with pytest.raises(CheckpointError, match="no entry 'raw'"):
        weights(path, "raw")


def test_nothing_of_a_sam(tmp_path, save) -> None:
    path = save({"model": {"conv.weight": torch.ones(2)}, "a": Config()}, tmp_path / "n.pth")
    with pytest.raises(CheckpointError, match="no weights of a SAM"):
        weights(path)


# --- nothing runs -----------------------------------------------------------------------


PAYLOADS = {
    "os.system": lambda canary: Call(os.system, f"touch {canary}"),
    "eval": lambda canary: Call(eval, f"open({str(canary)!r}, 'w')"),
    "open": lambda canary: Call(open, str(canary), "w"),
    "subprocess": lambda canary: Call(subprocess.call, ["touch", str(canary)]),
    "import": lambda canary: Call(__import__, "antigravity"),
    "torch.load": lambda canary: Call(torch.load, str(canary)),
    "getattr": lambda canary: Call(getattr, OrderedDict, "__subclasses__"),
}


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_payloads_stay_inert_and_the_weights_come_out(tmp_path, name, protocol) -> None:
    canary = tmp_path / "canary"
    payload = PAYLOADS[name](canary)
    content = {"model": {KEY: rebuild()}, "x": [payload, {payload: (payload,)}]}
    path = archive(tmp_path / "evil.pth", pickled(content, protocol))
    read_legacy_file(archive(tmp_path / "good.pth", pickled({KEY: rebuild()})))  # imports codecs
    audited = set()
    _listen(audited)
    file = read_legacy_file(path)
    state = find_entries(file)["model"]
    _listen(None)
    assert torch.equal(state[KEY], torch.zeros(2, 2))
    assert not canary.exists()
    assert "antigravity" not in sys.modules
    assert not audited & {"os.system", "subprocess.Popen", "exec", "import", "pickle.find_class"}
    function = payload.function
    assert any(found.endswith(f".{function.__name__}") for found in file.names)


_heard: set[str] | None = None


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _heard is not None:
        _heard.add(event)


sys.addaudithook(_hook)  # can never be taken away again, so it listens only when told


def _listen(place: set[str] | None) -> None:
    global _heard  # noqa: PLW0603
    _heard = place


def test_the_listener_hears_what_it_listens_for(tmp_path) -> None:
    audited = set()
    _listen(audited)
    pickle.loads(pickle.dumps(Call(eval, "1 + 1")))
    _listen(None)
    assert {"pickle.find_class", "exec"} <= audited


def test_payloads_before_torch_1_6(tmp_path) -> None:
    canary = tmp_path / "canary"
    content = {"model": {KEY: torch.ones(2, 2)}, "x": Call(os.system, f"touch {canary}")}
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    file = read_legacy_file(tmp_path / "old.pth")
    assert torch.equal(find_entries(file)["model"][KEY], torch.ones(2, 2))
    assert not canary.exists()
    assert f"{os.system.__module__}.system" in file.names


# --- hostile descriptions ----------------------------------------------------------------


def _op(text: bytes) -> bytes:
    return b"\x80\x02" + text + b"."


HAND_WRITTEN = {
    "extension": _op(b"\x82\x01"),
    "far memo": _op(b"Nr\xff\xff\xff\x7f"),
    "far memo in text": b"Np2000000000\n.",
    "state for a list": _op(b"]}b"),
    "state for a class": _op(b"cos\nsystem\n}b"),
    "state for a number": _op(b"K\x01}b"),
    "call of a text": _op(b"X\x01\x00\x00\x00a)R"),
    "bytes of nothing": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "reference to code": _op(b"X\x04\x00\x00\x00codeQ"),
    "cut": b"\x80\x02}q",
    "empty": b"",
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_hand_written_pickles_are_refused(tmp_path, name) -> None:
    path = archive(tmp_path / "w.pth", HAND_WRITTEN[name])
    with pytest.raises(CheckpointError) as error:
        weights(path)
    assert str(path) in str(error.value)
    assert len(str(error.value).splitlines()) <= 3


def test_copies_of_copies_are_counted(tmp_path) -> None:
    """A list of 2000 pairs, copied into a dictionary a thousand times by four bytes each."""
    pairs = b"]q\x00(" + b"K\x01K\x02\x86" * 2000 + b"e"
    copy = b"ccollections\nOrderedDict\nq\x01h\x00\x85q\x02R"
    again = b"h\x01h\x02R" * 20_000
    path = archive(tmp_path / "w.pth", _op(pairs + copy + again))
    with pytest.raises(CheckpointError, match="again and again"):
        read_legacy_file(path)


@pytest.mark.parametrize(
    "tensor",
    [
        rebuild(size=(10**6, 10**6), stride=(0, 0)),
        rebuild(size=(10**5, 10**4), stride=(10**4, 1)),
        rebuild(size=(2**40, 2**40), stride=(2**40, 1)),
        rebuild(size=(-1, 2)),
        rebuild(offset=-5),
        rebuild(offset=10**12),
        rebuild(size="ab"),
        rebuild(size=({}, [])),
        rebuild(size=(True, 2)),
    ],
)
def test_tensors_of_impossible_shape(tmp_path, tensor) -> None:
    path = archive(tmp_path / "w.pth", pickled({KEY: tensor}))
    with pytest.raises(ValueError, match="tensor"):
        find_entries(read_legacy_file(path))


def test_values_that_are_not_there(tmp_path) -> None:
    for storage in (Storage(name="7"), Storage(name="../../etc/passwd"), Storage(count=10**12)):
        path = archive(tmp_path / "w.pth", pickled({KEY: rebuild(storage=storage)}))
        with pytest.raises(ValueError, match="bytes where"):
            find_entries(read_legacy_file(path))


def test_loops_end(tmp_path) -> None:
    loop: dict[str, object] = {KEY: rebuild()}
    loop["model"] = loop
    deep: dict[str, object] = {}
    for _ in range(400):
        deep = {"a": deep, "b": deep}
    path = archive(tmp_path / "w.pth", pickled({"loop": loop, "deep": deep}))
    assert list(find_entries(read_legacy_file(path))) == ["loop"]


def test_what_is_no_file_of_torch_save(tmp_path) -> None:
    path = tmp_path / "w.pkl"
    for content in (b"", b"text", pickle.dumps({KEY: [1.0]}), pickle.dumps([1]) * 5):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot be read as one of torch\.save"):
            read_legacy_file(path)


def test_a_file_cut_short(tmp_path, save) -> None:
    path = save({"model": {KEY: torch.ones(20, 20)}, "a": Config()}, tmp_path / "w.pth")
    whole = path.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises((CheckpointError, ValueError)):
            find_entries(read_legacy_file(path))
