"""Every check of the doctor, against machines that are broken in one way each."""

import os
import re
import resource
import shutil
import socket
import tempfile
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from samft.diagnosis import devices, machine, packages, processes, storage, switches, trial
from samft.diagnosis.blocked_builds import BLOCKED_BUILDS, CONFLICTS
from samft.diagnosis.given import look_at_data, look_at_run
from samft.diagnosis.private_names import NameRemover
from samft.diagnosis.rows import Check, Row, run_checks, worst
from samft.errors import MachineError

ROOT = Path(__file__).parents[2]
Usage = namedtuple("Usage", "total used free")


def only(found) -> Row:
    (row,) = found
    return row


# --- rows ------------------------------------------------------------------------------


def boom(error: Exception):
    def look():
        raise error

    return look


def test_a_check_that_raises_is_a_row_and_stops_nothing() -> None:
    fine = Row(group="machine", name="fine", status="ok", found="yes")
    errors = (
        ValueError("bad\nand more"),
        ModuleNotFoundError("No module named 'x'"),
        MachineError("full", fix="free some"),
    )
    checks = [Check(group="machine", name="broken", look=boom(error)) for error in errors]
    rows = run_checks([*checks, Check(group="machine", name="fine", look=lambda: [fine])])
    assert [row.status for row in rows] == ["error", "error", "error", "ok"]
    assert rows[0].found == "ValueError: bad"
    assert "report it" in rows[0].advice
    assert "pip install" in rows[1].advice
    assert rows[2].advice == "free some"
    assert worst(rows) == "error"
    assert worst([]) == "ok"


def test_names_are_taken_out() -> None:
    remover = NameRemover(home="/home/al", user="al", host="box.lab.org")
    assert remover("/home/al/runs") == "~/runs"
    assert remover("/home/alice/runs") == "/home/alice/runs"
    assert remover("/data/al/x albumentations") == "/data/<user>/x albumentations"
    assert remover("on box, box.lab.org, boxes") == "on <host>, <host>, boxes"
    harmless = NameRemover(home="/", user="root", host="localhost")
    assert harmless("/root of localhost") == "/root of localhost"
    row = Row(group="given", name="data", status="ok", found="/home/al", advice="cd /home/al/x")
    assert (remover.row(row).found, remover.row(row).advice) == ("~", "cd ~/x")


# --- packages ---------------------------------------------------------------------------


def test_ranges_come_from_the_metadata_of_samft(monkeypatch) -> None:
    lines = [
        "torch>=2.10",
        "lightning<3,>=2.6.6",
        'nibabel>=5.3; extra == "medical"',
        'samft[medical]; extra == "examples"',
        'pytest>=8; extra == "test"',
        'winonly>=1; sys_platform == "win33"',
    ]
    monkeypatch.setattr(packages, "requires", lambda _: lines)
    needed = packages.read_requirements()
    assert [item.name for item in needed.core] == ["torch", "lightning"]
    assert {name: [i.name for i in items] for name, items in needed.extras.items()} == {
        "medical": ["nibabel"],
        "test": ["pytest"],
    }
    versions = {"torch": "2.13.0+cpu", "lightning": "2.5.0"}
    monkeypatch.setattr(packages, "installed_version", versions.get)
    rows = {row.name: row for row in packages.look_at_core()}
    assert rows["torch"].status == "ok"
    assert (rows["lightning"].status, rows["lightning"].found) == ("error", "2.5.0")
    assert rows["lightning"].advice == 'pip install "lightning<3,>=2.6.6"'
    row = only(packages.look_at_extras())
    assert (row.name, row.status, row.found) == ("extra medical", "ok", "not installed: nibabel")
    assert row.advice == 'to use it: pip install "samft[medical]"'
    versions["nibabel"] = "5.0"
    row = only(packages.look_at_extras())
    assert (row.status, row.expected) == ("warn", "nibabel>=5.3")
    del versions["torch"]
    assert next(iter(packages.look_at_core())).found == "not installed"


def test_without_metadata_nothing_is_compared(monkeypatch) -> None:
    def missing(_):
        raise packages.PackageNotFoundError("samft")

    monkeypatch.setattr(packages, "metadata", missing)
    monkeypatch.setattr(packages, "installed_version", lambda _: None)
    assert packages.read_requirements() is None
    assert not list(packages.look_at_core())
    first, python = packages.look_at_samft()
    assert (first.status, python.status) == ("warn", "ok")
    assert "pip install -e ." in first.advice


@pytest.mark.parametrize("blocked", BLOCKED_BUILDS, ids=lambda b: f"{b.package}{b.versions}")
def test_every_blocked_build_is_found(monkeypatch, blocked) -> None:
    number = re.sub(r"[^\d.]", "", blocked.versions)
    bad = number if blocked.versions.startswith(("==", ">=")) else "0.1"
    monkeypatch.setattr(
        packages, "installed_version", lambda name: bad if name == blocked.package else None
    )
    rows = list(packages.look_at_blocked([blocked]))
    assert only(rows).status == blocked.status
    assert blocked.reason in only(rows).found
    assert bool(packages.installed_malware()) == blocked.is_malware
    monkeypatch.setattr(packages, "installed_version", lambda name: None)
    assert only(packages.look_at_blocked([blocked])).status == "ok"


def test_no_blocked_build_is_within_the_ranges_of_pyproject() -> None:
    import tomllib
    from itertools import chain

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    ranges = {r.name: r.specifier for r in map(Requirement, lines)}
    bounded = [b for b in BLOCKED_BUILDS if b.package in ranges]
    assert len(bounded) >= 8
    for blocked in bounded:
        number = re.sub(r"[^\d.]", "", blocked.versions)
        bad = number if not blocked.versions.startswith("<") else "0.1"
        assert not ranges[blocked.package].contains(bad), blocked


@pytest.mark.parametrize("conflict", CONFLICTS, ids=lambda c: c.packages[0])
def test_every_conflict_is_found(monkeypatch, conflict) -> None:
    versions = dict(zip(conflict.packages, ("1.0", "2.0"), strict=False))
    monkeypatch.setattr(packages, "installed_version", versions.get)
    row = only(packages.look_at_conflicts([conflict]))
    assert row.status == conflict.status
    assert f"{conflict.packages[0]} 1.0 and {conflict.packages[1]} 2.0" in row.found
    versions |= dict.fromkeys(versions, "1.0")
    same = only(packages.look_at_conflicts([conflict])).status
    assert (same == "ok") == conflict.same_version_is_fine
    del versions[conflict.packages[0]]
    assert only(packages.look_at_conflicts([conflict])).status == "ok"


def test_a_package_that_is_there_twice(monkeypatch, tmp_path) -> None:
    for number in ("2.10.0", "2.11.0"):
        info = tmp_path / number / f"torch-{number}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {number}\n")
        monkeypatch.syspath_prepend(tmp_path / number)
    rows = [row for row in packages.look_at_conflicts([]) if "torch twice" in row.found]
    assert only(rows).status == "error"
    assert "2.10.0 and 2.11.0" in only(rows).found


# --- machine -----------------------------------------------------------------------------


def test_cores_are_those_of_the_container(tmp_path, monkeypatch) -> None:
    there = machine.allowed_cores(tmp_path)
    assert there == len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.allowed_cores(tmp_path) == 0.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine.allowed_cores(tmp_path) == there
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("25000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert machine.allowed_cores(tmp_path) == 0.25
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    assert machine.allowed_cores(tmp_path) == there


def test_more_threads_than_cores(tmp_path, monkeypatch) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert only(machine.look_at_cores(tmp_path)).status == "ok"
    monkeypatch.setenv("OMP_NUM_THREADS", "512")
    row = only(machine.look_at_cores(tmp_path))
    assert (row.status, "OMP_NUM_THREADS=512" in row.found) == ("warn", True)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert "whole number" in only(machine.look_at_cores(tmp_path)).advice


def test_the_shared_memory_of_docker(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 * 2**20, 0, 64 * 2**20))
    row = only(machine.look_at_shared_memory(tmp_path))
    assert (row.status, row.found) == ("warn", "0.07 of 0.07 GB free")
    assert "--shm-size" in row.advice
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(8e9, 0, 8e9))
    assert only(machine.look_at_shared_memory(tmp_path)).status == "ok"


def test_few_open_files(monkeypatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1048576))
    row = only(machine.look_at_descriptors())
    assert (row.status, row.advice) == ("warn", "ulimit -n 4096")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert only(machine.look_at_descriptors()).found == "no limit"


def test_a_temporary_folder_that_cannot_be_written(monkeypatch, tmp_path) -> None:
    assert only(machine.look_at_temporary_folder()).status == "ok"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    row = only(machine.look_at_temporary_folder())
    assert (row.status, "TMPDIR" in row.advice) == ("error", True)


def test_the_space_of_a_folder_that_is_not_there_yet(monkeypatch, tmp_path) -> None:
    for free, status in ((50e9, "ok"), (5e9, "warn"), (0.1e9, "error")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: Usage(1e12, 0, free))
        row = only(machine.look_at_folder(tmp_path / "a/b", "runs folder", "move"))
        assert (row.status, row.advice) == (status, "" if status == "ok" else "move")
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(machine, "_free_names", lambda _: 0)
    assert "no more files" in only(machine.look_at_folder(tmp_path, "runs folder", "")).found
    (tmp_path / "file").write_text("")
    row = only(machine.look_at_folder(tmp_path / "file" / "runs", "runs folder", "move"))
    assert (row.status, row.found.endswith("is a file")) == ("error", True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "may not be written" in only(machine.look_at_folder(tmp_path, "x", "")).found


def test_environment_variables(monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("SAMFT_")]:
        monkeypatch.delenv(name)
    assert only(switches.look_at_variables()).status == "ok"
    monkeypatch.setenv("SAMFT_OFLINE", "1")
    row = only(switches.look_at_variables())
    assert (row.status, "SAMFT_OFLINE is no setting" in row.found) == ("warn", True)
    monkeypatch.delenv("SAMFT_OFLINE")
    monkeypatch.setenv("SAMFT_MAX_BYTES", "2GB")
    assert "no number of bytes" in only(switches.look_at_variables()).found


def test_every_variable_of_samft_is_known() -> None:
    read = set()
    for path in (ROOT / "samft").rglob("*.py"):
        if "diagnosis" not in path.parts:
            read |= set(re.findall(r"[\"'](SAMFT_[A-Z_]+)[\"']", path.read_text("utf-8")))
    assert read
    assert read <= set(switches._KNOWN)


# --- devices ---------------------------------------------------------------------------


def test_torch_for_the_cpu_beside_a_gpu(tmp_path, monkeypatch) -> None:
    proc, nodes = tmp_path / "proc", tmp_path / "dev"
    proc.mkdir()
    nodes.mkdir()
    assert switches.nvidia_driver(proc, nodes) == ""
    (proc / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Module  550.54.15  Tue\n")
    (nodes / "nvidia0").touch()
    (nodes / "nvidiactl").touch()
    assert switches.nvidia_driver(proc, nodes) == "driver 550.54.15, 1 GPUs"
    monkeypatch.setattr(devices, "nvidia_driver", lambda: "driver 550.54.15, 1 GPUs")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    (row,) = (row for row in devices.look_at_devices() if row.name == "nvidia driver")
    assert (row.status, "built for the CPU" in row.found) == ("warn", True)
    assert "pytorch.org" in row.advice
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    (row,) = (row for row in devices.look_at_devices() if row.name == "nvidia driver")
    assert "update the driver for CUDA 12.8" in row.advice


def test_gpus_with_their_memory(monkeypatch) -> None:
    about = namedtuple("about", "name major minor")("Card", 9, 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: about)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: ((20e9, 24e9), (2e9, 24e9))[i])
    rows = {row.name: row for row in devices.look_at_devices()}
    assert rows["gpu 0"].status == "ok"
    assert "Card, 20.0 of 24.0 GB free, compute capability 9.0" in rows["gpu 0"].found
    assert (rows["gpu 1"].status, "nvidia-smi" in rows["gpu 1"].advice) == ("warn", True)


def test_little_memory_and_many_threads(monkeypatch) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda _: 1e9)
    rows = {row.name: row for row in devices.look_at_devices()}
    assert (rows["memory"].status, "vit_t" in rows["memory"].advice) == ("warn", True)
    monkeypatch.setattr(devices, "allowed_cores", lambda: 0.5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    row = only(devices.look_at_threads())
    assert (row.status, row.advice) == ("warn", "export OMP_NUM_THREADS=1")


def test_number_formats(monkeypatch) -> None:
    side, seconds = 32, {torch.float32: 1.0, torch.bfloat16: 0.5, torch.float16: 4.0}
    monkeypatch.setattr(devices, "_SIDES", {"cpu": side})
    monkeypatch.setattr(devices, "_timed", lambda a, b: (a @ b, seconds[a.dtype]))
    cpu = torch.device("cpu")
    rows = {row.name: row for row in devices.look_at_precision(cpu)}
    assert rows["bf16 on cpu"].found.startswith("2.00 times the speed of 32 bits")
    assert (rows["bf16 on cpu"].status, rows["fp16 on cpu"].status) == ("ok", "ok")
    assert "slower" in rows["fp16 on cpu"].found
    seconds[torch.bfloat16] = 3.0
    row = next(devices.look_at_precision(cpu))
    assert (row.status, row.advice) == ("warn", "train with --trainer.precision 32-true")
    monkeypatch.setattr(devices, "_timed", lambda a, b: ((a @ b) * (a.dtype.itemsize - 1), 1.0))
    assert next(devices.look_at_precision(cpu)).status == "error"
    monkeypatch.setattr(
        devices, "_timed", lambda a, b: ((a @ b) if a.dtype == torch.float32 else boom(), 1.0)
    )


def test_a_format_that_is_not_there(monkeypatch) -> None:
    def timed(left, right):
        if left.dtype != torch.float32:
            raise RuntimeError("not implemented for 'BFloat16'")
        return left @ right, 1.0

    monkeypatch.setattr(devices, "_timed", timed)
    row = next(devices.look_at_precision(torch.device("cpu")))
    assert (row.status, row.found) == ("warn", "not there: not implemented for 'BFloat16'")


# --- processes ----------------------------------------------------------------------------


def test_backends(monkeypatch) -> None:
    assert "gloo" in only(processes.look_at_backends()).found
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    row = only(processes.look_at_backends())
    assert (row.status, row.expected) == ("warn", "gloo")
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    assert "one process only" in only(processes.look_at_backends()).found


def test_interfaces(monkeypatch) -> None:
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    assert only(processes.look_at_interfaces()).status == "ok"
    for value, status in (
        ("eth0", "ok"),
        ("eth", "ok"),
        ("^docker", "ok"),
        ("ib0,eth0", "ok"),
        ("ib0", "error"),
        ("=eth", "error"),
    ):
        monkeypatch.setenv("NCCL_SOCKET_IFNAME", value)
        assert only(processes.look_at_interfaces()).status == status, value


def test_a_host_name_that_no_file_knows(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    assert not list(processes.look_at_host_name(tmp_path))
    (tmp_path / "hosts").write_text("127.0.0.1 localhost # node7\n")
    row = only(processes.look_at_host_name(tmp_path))
    assert (row.status, "GLOO_SOCKET_IFNAME" in row.advice) == ("warn", True)
    (tmp_path / "nsswitch.conf").write_text("hosts: files myhostname dns\n")
    assert only(processes.look_at_host_name(tmp_path)).status == "ok"
    (tmp_path / "nsswitch.conf").unlink()
    (tmp_path / "hosts").write_text("10.0.0.7 node7.lab node7\n")
    assert only(processes.look_at_host_name(tmp_path)).status == "ok"


# --- storage -------------------------------------------------------------------------------


def test_weights_are_hashed_again(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SAMFT_CACHE", str(tmp_path))
    rows = {row.name: row for row in storage.look_at_weights()}
    assert rows["weights vit_nano"].found == "3 MB, the published file"
    assert "vit_b" in rows["weights not here"].found
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "sam_vit_b_01ec64.pth").write_bytes(b"not it")
    (folder / "mobile_sam.pt.part").write_bytes(b"half")
    rows = {row.name: row for row in storage.look_at_weights()}
    assert rows["weights vit_b"].status == "error"
    assert "delete" in rows["weights vit_b"].advice
    assert (rows["unfinished downloads"].status) == "warn"
    assert "mobile_sam.pt.part" in rows["unfinished downloads"].found


def test_packaged_weights_that_are_gone(monkeypatch, tmp_path) -> None:
    from samft.models import weights

    monkeypatch.setattr(weights, "_PACKAGED", tmp_path)
    rows = {row.name: row for row in storage.look_at_weights()}
    assert rows["weights vit_nano"].status == "error"
    assert rows["weights vit_nano"].advice == "install samft again"


def test_embeddings_that_nothing_uses(monkeypatch) -> None:
    store = namedtuple("store", "num_bytes used")
    now = datetime.now(UTC)
    stores = [store(2e9, now), store(5e9, now - timedelta(days=100))]
    monkeypatch.setattr(storage, "info", lambda _: stores)
    row = only(storage.look_at_embeddings())
    assert (row.status, row.advice) == ("warn", "samft cache clear --older_than 90")
    assert row.found == "2 stores, 7.00 GB; 1 of them, 5.00 GB, not used for 90 days"


# --- training ------------------------------------------------------------------------------


def test_training_that_does_not_learn(monkeypatch) -> None:
    for losses, status in (
        ([2.0, 1.0], "ok"),
        ([1.0, 1.0], "error"),
        ([1.0, float("nan")], "error"),
    ):
        monkeypatch.setattr(trial, "train", lambda *_, losses=losses: (losses, 0.5))
        row = only(trial.look_at_training(0, torch.device("cpu")))
        assert (row.status, "4.0 steps/s" in row.found) == (status, True)


# --- what the user asks about ---------------------------------------------------------------


def test_a_run(tmp_path) -> None:
    folder = tmp_path / "runs/x/0"
    (folder / "checkpoints").mkdir(parents=True)
    good = {"state_dict": {}, "hyper_parameters": {}, "global_step": 7}
    torch.save(good, folder / "checkpoints/best.ckpt")
    (folder / "checkpoints/last.ckpt").write_bytes(b"torn")
    (folder / "config.fit.yaml").write_text("model: {}\n")
    rows = {row.name: row for row in look_at_run(folder)}
    assert (
        rows["checkpoint best.ckpt"].status,
        "step 7" in rows["checkpoint best.ckpt"].found,
    ) == (
        "ok",
        True,
    )
    assert rows["checkpoint last.ckpt"].status == "error"
    assert rows["run configuration"].status == "ok"
    alone = {row.name: row.status for row in look_at_run(folder / "checkpoints/best.ckpt")}
    assert alone["checkpoint best.ckpt"] == "ok"
    assert only(look_at_run(tmp_path / "gone")).status == "error"


def test_a_data_folder(dsb_folder, tmp_path, monkeypatch) -> None:
    row = only(look_at_data(dsb_folder))
    assert (row.status, "layout" in row.found) == ("ok", True)
    assert only(look_at_data(tmp_path / "gone")).status == "error"
    assert only(look_at_data(tmp_path)).status == "error"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "may not be read" in only(look_at_data(dsb_folder)).found
