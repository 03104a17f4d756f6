"""Weights by name, by hub id or by path: find them, verify them, load them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from samft.errors import CheckpointError, ConfigError, did_you_mean
from samft.models.cache import sha256_of, weights_dir
from samft.models.checkpoint import read_state_dict, weights_files
from samft.models.download import Opener, download
from samft.models.huggingface import download_snapshot, is_hub_id
from samft.models.sam import Sam
from samft.models.state_dict import Origin
from samft.models.strict import load_state_dict

_OFFICIAL_URL = "https://dl.fbaipublicfiles.com/segment_anything"
_PACKAGED = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsEntry:
    """Weights that can be called by name: published, or part of samft.

    Args:
        name: What people type.
        arch: The architecture they belong to.
        url: Where the file is published; `None` for weights that come with samft.
        num_bytes: Its size.
        sha256: Its hash, hexadecimal.
        licence: SPDX identifier of the licence of the weights.
    """

    name: str
    arch: str
    url: str | None
    num_bytes: int
    sha256: str
    licence: str

    @property
    def path(self) -> Path:
        """Where the file lies on this machine, if need be once it was downloaded."""
        if self.url is None:
            return _PACKAGED / f"{self.name}.safetensors"
        return weights_dir() / self.url.rpartition("/")[2]


_ENTRIES = (
    WeightsEntry(
        name="vit_b",
        arch="vit_b",
        url=f"{_OFFICIAL_URL}/sam_vit_b_01ec64.pth",
        num_bytes=375_042_383,
        sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        licence="Apache-2.0",
    ),
    WeightsEntry(
        name="vit_l",
        arch="vit_l",
        url=f"{_OFFICIAL_URL}/sam_vit_l_0b3195.pth",
        num_bytes=1_249_524_607,
        sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        licence="Apache-2.0",
    ),
    WeightsEntry(
        name="vit_h",
        arch="vit_h",
        url=f"{_OFFICIAL_URL}/sam_vit_h_4b8939.pth",
        num_bytes=2_564_550_879,
        sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        licence="Apache-2.0",
    ),
    WeightsEntry(
        name="vit_t",
        arch="vit_t",
        url="https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
        num_bytes=40_728_226,
        sha256="6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        licence="Apache-2.0",
    ),
    WeightsEntry(
        name="vit_nano",
        arch="vit_nano",
        url=None,
        num_bytes=3_425_200,
        sha256="eb968ed54b9afa32373af7732bc9d39d4053980c95906706fee2ca6453efaca9",
        licence="Apache-2.0",
    ),
)
WEIGHTS: Final[dict[str, WeightsEntry]] = {entry.name: entry for entry in _ENTRIES}
"""Every named model; `vit_t` is MobileSAM, `vit_nano` comes with samft (`samft/weights/`).

MedSAM is not among them: its file has no stable address and no published hash."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsInfo:
    """What was loaded, for the record of a run.

    Args:
        name: Name of the published weights these are, wherever they lie; else the file's name.
        path: The file or folder.
        sha256: Hash of the file; of several files, that of the list of their hashes and names.
        origin: Where in the file the weights were.
    """

    name: str
    path: Path
    sha256: str
    origin: Origin


def arch_of(weights: str) -> str:
    """Return the architecture of named weights, for commands that got no `--arch`.

    Args:
        weights: What was given as `--weights`.

    Raises:
        ConfigError: if it is none of the known names.
    """
    if weights in WEIGHTS:
        return WEIGHTS[weights].arch
    exists = _exists(Path(weights).expanduser())
    raise ConfigError(
        "--weights needs --arch, unless it is one of the known names",
        where="--weights",
        found=weights,
        fix="add --arch vit_b" if exists else did_you_mean(weights, WEIGHTS),
    )


def load_weights(model: Sam, source: str | Path, *, offline: bool | None = None) -> WeightsInfo:
    """Fill `model` with weights, strictly: every tensor or none.

    Args:
        model: The model to fill.
        source: A file, a Hugging Face folder, a name in `WEIGHTS`, or a hub id such as
            `facebook/sam-vit-base`.
        offline: Never download; default is what `SAMFT_OFFLINE` or `HF_HUB_OFFLINE` says.

    Raises:
        CheckpointError: if the weights are missing, damaged, unsafe, or do not fit the model.
        MachineError: if the network or the disk fails.
    """
    path = resolve_weights(source, offline=offline)
    sha256 = _sha256(path)
    state, origin = read_state_dict(path)
    load_state_dict(model, state, source=path)
    names = [entry.name for entry in _ENTRIES if entry.sha256 == sha256]
    return WeightsInfo(name=[*names, path.name][0], path=path, sha256=sha256, origin=origin)


def resolve_weights(source: str | Path, *, offline: bool | None = None) -> Path:
    """Return where the weights lie on this machine, downloading them where needed.

    A path that exists comes first, then a name in `WEIGHTS`, then a hub id. A named file is
    compared with its published sha256 before it is handed out.

    Args:
        source: See `load_weights`.
        offline: See `load_weights`.

    Raises:
        CheckpointError: if there is nothing of that name, it cannot be fetched while offline, or
            the file is not the published one.
        MachineError: if the network or the disk fails.
    """
    path, name = Path(source).expanduser(), str(source)
    if _exists(path):
        return path
    if name in WEIGHTS:
        return fetch(WEIGHTS[name], offline=_is_offline(offline))
    if is_hub_id(name):
        return download_snapshot(name, offline=_is_offline(offline))
    raise CheckpointError(
        f"there is no such weights file: {name}",
        where=path.absolute(),
        fix=f"pass a file, a folder, a hub id or a known name; {did_you_mean(name, WEIGHTS)}",
    )


def fetch(entry: WeightsEntry, *, offline: bool, opener: Opener | None = None) -> Path:
    """Return the file of named weights, downloaded if it is not there and verified in any case.

    Args:
        entry: What to fetch.
        offline: Fail rather than download.
        opener: See `samft.models.download.download`.

    Raises:
        CheckpointError: if it is not there while offline, or is not the published file.
        MachineError: if the network or the disk fails.
    """
    if not entry.path.is_file():
        if entry.url is None:
            raise CheckpointError(
                f"the weights {entry.name}, which come with samft, are not there",
                where=entry.path,
                fix="install samft again",
            )
        if offline:
            raise CheckpointError(
                f"the weights {entry.name} are not on this machine, and downloading is off",
                where=entry.path,
                expected=f"sha256 {entry.sha256}",
                fix=f"put the file from {entry.url} there, or pass the path of your copy",
            )
        download(
            entry.url,
            entry.path,
            num_bytes=entry.num_bytes,
            sha256=entry.sha256,
            opener=opener,
        )
    found = _sha256(entry.path)
    if found != entry.sha256:
        raise CheckpointError(
            f"the file of {entry.name} is not the published one: it was changed or damaged",
            where=entry.path,
            found=f"sha256 {found}",
            expected=entry.sha256,
            fix=(
                "install samft again"
                if entry.url is None
                else "delete it to download it again, or pass its path if the change is yours"
            ),
        )
    return entry.path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for the file system
        return False


def _sha256(path: Path) -> str:
    try:
        return sha256_of(weights_files(path))
    except OSError as error:
        raise CheckpointError(
            "the weights file cannot be read", where=path, found=error.strerror
        ) from error


def _is_offline(offline: bool | None) -> bool:
    if offline is not None:
        return offline
    switches = (os.environ.get(name, "") for name in ("SAMFT_OFFLINE", "HF_HUB_OFFLINE"))
    return any(switch.lower() in {"1", "true", "yes", "on"} for switch in switches)
