"""Images in containerd without a registry, and without another copy of their layers.

`docker save | ctr import` of octjob's image would write it twice, 18 GB. The layers lie on this disk already,
unpacked, in the form that containerd's overlayfs has too: each becomes a snapshot of hard links to them. What is
imported is the manifest and the configuration.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.build import tool
from tests.pods.enclosure import ROOT_DISK

PAUSE = "octjob.test/pause:1"
_OCI = "application/vnd.oci.image"


class ImageError(Exception):
    """An image cannot be had; the message says why and what to do."""


@dataclass(frozen=True)
class BuiltImage:
    """An image of the docker engine. config: as bytes; layers: the folders of their files, lowest first."""

    name: str
    config: bytes
    layers: tuple[Path, ...]

    @property
    def diff_ids(self) -> list[str]:
        """Digests of the layers as tar files, lowest first."""
        found: list[str] = json.loads(self.config)["rootfs"]["diff_ids"]
        return found


def built_image(name: str) -> BuiltImage:
    """What `make image` made.

    Raises:
        ImageError: no docker engine, no such image, or layers that are kept in another way than in overlay2.
    """
    (image,) = json.loads(_docker("image", "inspect", name))
    driver = image["GraphDriver"]
    if driver["Name"] != "overlay2":
        raise ImageError(
            f"docker keeps its layers with {driver['Name']}; the layers of overlay2 can be linked"
        )
    data = driver["Data"]
    layers = [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]
    root = Path(_docker("info", "--format", "{{.DockerRootDir}}").strip())
    digest = image["Id"].removeprefix("sha256:")
    config = (root / "image" / "overlay2" / "imagedb" / "content" / "sha256" / digest).read_bytes()
    return BuiltImage(name, config, tuple(Path(layer) for layer in reversed(layers)))


def _docker(*arguments: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise ImageError("no docker on the PATH; octjob's image is taken from its store") from None
    if done.returncode != 0:
        said = done.stderr.strip()
        raise ImageError(f"`docker {' '.join(arguments)}`: {said}; `make image` builds the image")
    return done.stdout


class ImageStore:
    """The images that pods of one containerd can have. folder: for files made on the way."""

    def __init__(self, socket: Path, folder: Path) -> None:
        self.socket, self.folder = socket, folder

    def add_pause(self) -> None:
        """The image that holds each pod's namespaces."""
        program = tool("pause").read_bytes()
        layer = _tar({"pause": program})
        diff_id = _digest(layer)
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        }
        self._import(PAUSE, json.dumps(config).encode(), {diff_id: len(layer)}, [layer])

    def add_linked(self, image: BuiltImage) -> None:
        """An image of docker's, by hard links; copied where its files lie on another disk."""
        parent = ""
        for diff_id, layer in zip(image.diff_ids, image.layers, strict=True):
            parent = self._add_snapshot(parent, diff_id, layer)
        # A manifest has sizes; nobody fetches these layers, so nobody measures them.
        self._import(image.name, image.config, dict.fromkeys(image.diff_ids, 1))

    def _add_snapshot(self, parent: str, diff_id: str, layer: Path) -> str:
        """The snapshot of a layer on top of `parent`, under the name by which an image refers to it."""
        chain_id = _digest(f"{parent} {diff_id}".encode()) if parent else diff_id
        key = f"linking-{chain_id}"
        (mount,) = json.loads(self._ctr("snapshots", "prepare", "--mounts", key, *filter(None, [parent])))
        options = dict(option.partition("=")[::2] for option in mount["Options"])
        target = options.get("upperdir", mount["Source"])
        _link(layer, Path(target))
        self._ctr("snapshots", "commit", chain_id, key)
        self._ctr("snapshots", "label", chain_id, "containerd.io/gc.root=octjob")
        return chain_id

    def _import(self, name: str, config: bytes, layers: dict[str, int], blobs: Sequence[bytes] = ()) -> None:
        """layers: digest to size, lowest first; blobs: those of the layers that are given."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": {"mediaType": f"{_OCI}.config.v1+json", "digest": _digest(config), "size": len(config)},
            "layers": [
                {"mediaType": f"{_OCI}.layer.v1.tar", "digest": digest, "size": size}
                for digest, size in layers.items()
            ],
        }
        archive = self.folder / "image.tar"
        archive.write_bytes(_oci_archive(full_name(name), json.dumps(manifest).encode(), [config, *blobs]))
        unpacked = [] if blobs else ["--no-unpack"]
        self._ctr("images", "import", "--local", *unpacked, str(archive))
        archive.unlink()

    def _ctr(self, *arguments: str) -> str:
        argv = [str(tool("ctr")), "--address", str(self.socket), "--namespace", "k8s.io", *arguments]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode != 0:
            raise ImageError(f"`ctr {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout


def _link(source: Path, target: Path) -> None:
    """The tree of `source` in the empty folder `target`: hard links, copies where that is another disk."""
    # Docker binds its folder to itself, and links do not cross mounts, even of one disk: go around all mounts.
    ends = [ROOT_DISK / path.relative_to("/") for path in (source, target)]
    linked = [end.exists() and end.samefile(path) for end, path in zip(ends, (source, target), strict=True)]
    flags, (whence, where) = (["-al"], ends) if all(linked) else (["-a"], [source, target])
    done = subprocess.run(["cp", *flags, f"{whence}/.", str(where)], capture_output=True, text=True)
    if done.returncode != 0:
        raise ImageError(f"the files of a layer: {done.stderr[:500]}")


def full_name(name: str) -> str:
    """The name under which a kubelet looks for an image: that of a pod is often shortened."""
    host = name.partition("/")[0]
    return name if "/" in name and "." in host else f"docker.io/library/{name}"


def _oci_archive(name: str, manifest: bytes, blobs: Sequence[bytes]) -> bytes:
    descriptor: dict[str, Any] = {
        "mediaType": f"{_OCI}.manifest.v1+json",
        "digest": _digest(manifest),
        "size": len(manifest),
        "annotations": {"io.containerd.image.name": name},
    }
    index = {"schemaVersion": 2, "manifests": [descriptor]}
    files = {f"blobs/{_digest(blob).replace(':', '/')}": blob for blob in (manifest, *blobs)}
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["index.json"] = json.dumps(index).encode()
    return _tar(files)


def _tar(files: dict[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return whole.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
