"""Weights files made to run code.

Every one must end in a `CheckpointError` with the canary untouched.
"""

import io
import os
import pickle
import runpy
import subprocess
import sys
import zipfile
from collections import OrderedDict

import pytest
import torch
from hostile_files import KEY, Call, Shadowed, Storage, archive, pickled, rebuild, refused

from samft.errors import CheckpointError
from samft.models import torch_file
from samft.models.checkpoint import read_state_dict

# --- code ----------------------------------------------------------------------------------------


@pytest.fixture
def canary(tmp_path):
    """A file that every payload tries to make; it must not be there afterwards."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def touch(canary):
    return f"open({str(canary)!r}, 'w').close()"


PAYLOADS = {
    "os.system": lambda canary: Call(os.system, f"touch {canary}"),
    "os.popen": lambda canary: Call(os.popen, f"touch {canary}"),
    "eval": lambda canary: Call(eval, touch(canary)),
    "exec": lambda canary: Call(exec, touch(canary)),
    "open": lambda canary: Call(open, str(canary), "w"),
    "subprocess": lambda canary: Call(subprocess.call, ["touch", str(canary)]),
    "runpy": lambda canary: Call(runpy.run_path, str(canary)),
    "getattr": lambda canary: Call(getattr, OrderedDict, "__subclasses__"),
    "import": lambda canary: Call(__import__, "antigravity"),
    "torch.load": lambda canary: Call(torch.load, str(canary)),
    "nested": lambda canary: Call(list, (Call(eval, touch(canary)),)),
    "argument": lambda canary: rebuild(size=Call(eval, touch(canary))),
}


def places(payload):
    """Yield everywhere in a checkpoint that a payload could hide."""
    tensor = rebuild()
    yield "root", payload
    yield "value", {KEY: payload}
    yield "beside the weights", {"model": {KEY: tensor}, "optimizer": payload}
    yield "deep", {"model": {KEY: tensor}, "epoch": [[{"x": (1, payload)}]]}
    yield "key", {KEY: tensor, "x": {(1, payload): 2}}
    yield "after", [{KEY: tensor}, payload]
    yield (
        "hyper-parameters",
        {
            "state_dict": {f"sam.{KEY}": tensor},
            "hyper_parameters": {"_instantiator": "os.system", "_class_path": payload},
        },
    )


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_no_payload_runs_anywhere(tmp_path, canary, name, protocol):
    payload = PAYLOADS[name](canary)
    for place, content in places(payload):
        path = tmp_path / f"{place}.pth"
        refused(archive(path, pickled(content, protocol)), str(path), "could run code")
    assert not canary.exists()


def test_the_payloads_are_live(tmp_path):
    """What the tests above refuse does run where pickle is trusted."""
    canary = tmp_path / "canary"
    for name in ("os.system", "eval", "exec", "open", "subprocess", "nested"):
        pickle.loads(pickled(PAYLOADS[name](canary)))
        assert canary.exists(), name
        canary.unlink()


def test_lightning_instructions_in_hyper_parameters_are_only_text(tmp_path, canary):
    """Plain strings are not refused, but nothing acts on them either."""
    hyper_parameters = {
        "_instantiator": "builtins.eval",
        "_class_path": "os.system",
        "init_args": {"command": f"touch {canary}"},
        "class_path": touch(canary),
    }
    content = {"state_dict": {f"sam.{KEY}": rebuild()}, "hyper_parameters": hyper_parameters}
    state, _ = read_state_dict(archive(tmp_path / "last.ckpt", pickled(content)))
    assert list(state) == [KEY]


@pytest.mark.parametrize("wrap", ["bare", "old", "padded"])
def test_pickles_outside_a_torch_archive(tmp_path, canary, wrap):
    data = pickle.dumps({KEY: Call(eval, touch(canary))}, protocol=2)
    if wrap == "old":
        torch.save(
            {KEY: Call(eval, touch(canary))}, tmp_path / "old", _use_new_zipfile_serialization=False
        )
        data = (tmp_path / "old").read_bytes()
    if wrap == "padded":
        data = bytes(8) + b"{" + data
    path = tmp_path / "w.pth"
    path.write_bytes(data)
    refused(path, str(path))


HAND_WRITTEN = {
    "INST": b"(S'true'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'true'\no.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "EXT1": b"\x80\x02\x82\x01.",
    "python 2": b"c__builtin__\neval\n(S'1'\ntR.",
    "renamed module": b"ccommands\ngetoutput\n(S'true'\ntR.",
    "dotted name": b"ctorch\nos.system\n(S'true'\ntR.",
    "spaced name": b"ctorch Size\nx\n.",
}


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_every_opcode_that_finds_objects(tmp_path, name):
    refused(archive(tmp_path / "w.pth", HAND_WRITTEN[name]), "could run code")


def test_foreign_classes_are_named(tmp_path):
    content = {"model_state": {KEY: rebuild()}, "trainer": Call(io.BytesIO), "date": Call(OSError)}
    path = archive(tmp_path / "w.pt", pickled(content))
    refused(path, "found: _io.BytesIO, exceptions.OSError", "tensors and plain data", "safetensors")


def test_both_gates_stand_alone(tmp_path, canary, monkeypatch):
    """Without the search through the pickle, torch still refuses."""
    monkeypatch.setattr(torch_file, "_refuse_foreign_objects", lambda *_: None)
    for name in ("os.system", "eval", "getattr", "nested"):
        path = archive(tmp_path / f"{name}.pth", pickled({KEY: PAYLOADS[name](canary)}))
        refused(path, "cannot be read", "Weights only load failed")


def test_no_call_of_torch_load_is_without_weights_only(tmp_path, monkeypatch):
    seen, load = [], torch.load

    def watching(*args, **options):
        seen.append(options.get("weights_only"))
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", watching)
    read_state_dict(archive(tmp_path / "good.pth", pickled({KEY: rebuild()})))
    elsewhere = rebuild(storage=Storage(name="7"))
    refused(archive(tmp_path / "bad.pth", pickled({KEY: elsewhere})))
    assert seen == [True, True]


# --- archives that mean different things to different readers -----------------------


@pytest.mark.parametrize("name", ["archive/DATA.PKL", "Archive/data.pkl"])
def test_two_pickles_that_differ_in_case(tmp_path, canary, name):
    hidden = pickled({KEY: Call(eval, touch(canary))})
    path = archive(tmp_path / "w.pth", pickled({KEY: rebuild()}), extra=[(name, hidden)])
    refused(path, str(path))


def test_a_compressed_pickle_is_not_searched_in_vain(tmp_path, canary):
    """Torch would unpack it; small ones unpack to no more than the size of the file."""
    payload = pickled({KEY: Call(eval, touch(canary))})
    path = archive(tmp_path / "w.pth", payload, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as file:
        unpacked = sum(member.file_size for member in file.infolist())
    assert unpacked < path.stat().st_size
    refused(path, "4 compressed members")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_pickles_of_one_name(tmp_path, canary):
    hidden = pickled({KEY: Call(eval, touch(canary))})
    good = pickled({KEY: rebuild()})
    for first, second in ((good, hidden), (hidden, good)):
        path = archive(tmp_path / "w.pth", first, extra=[("archive/data.pkl", second)])
        refused(path, "not one written by torch.save")


def test_a_second_archive_behind_the_first(tmp_path, canary):
    good = archive(tmp_path / "good", pickled({KEY: rebuild()})).read_bytes()
    bad = archive(tmp_path / "bad", pickled({KEY: Call(eval, touch(canary))})).read_bytes()
    for data in (bad + good, good + bad):
        (tmp_path / "w.pth").write_bytes(data)
        try:
            read_state_dict(tmp_path / "w.pth")
        except CheckpointError:
            continue


def test_self_referring_and_shadowed_dictionaries(tmp_path):
    loop = {}
    loop["model"] = loop
    refused(archive(tmp_path / "loop.pth", pickled(loop)), "no weights of a SAM")
    path = archive(tmp_path / "shadow.pth", pickled(Shadowed()))
    assert torch.load(path, weights_only=True).items == "no method"
    state, _ = read_state_dict(path)
    assert list(state) == [KEY]


def test_no_module_was_imported_on_the_way():
    assert "antigravity" not in sys.modules
