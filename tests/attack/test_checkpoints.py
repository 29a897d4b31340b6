"""Hostile and unlucky checkpoint files: one clear error each, or exactly the right weights.

No traceback, nothing over 5 s, no gigabytes. `pytest -s` prints the counts.
"""

from __future__ import annotations

import json
import pickle
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from doubles.vjepa3d import make_original_checkpoint

from octjob.errors import OctjobError
from octjob.models.checkpoint import read_checkpoint

URI = "gs://bucket/best.pt"
MAX_S = 5
MAX_GROWTH_KIB = 400 * 1024
ENCODER = "context_encoder."
NORM = f"{ENCODER}norm.bias"
WEIGHT = f"{ENCODER}blocks.0.mlp.fc1.weight"
Payload = dict[str, Any]
Write = Callable[[Path, Payload], None]

# name -> (what the error says, or "" where the right weights come out; how the file is made)
CASES: dict[str, tuple[str, Write]] = {}


def case(name: str, says: str) -> Callable[[Write], Write]:
    def add(write: Write) -> Write:
        assert name not in CASES
        CASES[name] = says, write
        return write

    return add


def of_bytes(name: str, says: str, content: bytes) -> None:
    case(name, says)(lambda path, _: path.write_bytes(content))


def of_payload(name: str, says: str, change: Callable[[Payload], Any], *, zipped: bool = True) -> None:
    def write(path: Path, payload: Payload) -> None:
        changed = change(payload)
        torch.save(payload if changed is None else changed, path, _use_new_zipfile_serialization=zipped)

    case(name, says)(write)


def of_tensor(name: str, says: str, make: Callable[[torch.Tensor], Any], key: str = WEIGHT) -> None:
    def change(payload: Payload) -> None:
        state = payload["model_state_dict"]
        state[key] = make(state[key])

    of_payload(name, says, change)


def of_config(name: str, says: str, value: Any) -> None:
    of_payload(name, says, lambda payload: payload.update(config=value))


def of_pickle(name: str, says: str, content: bytes) -> None:
    def write(path: Path, payload: Payload) -> None:
        torch.save(payload, path)
        rewrite(path, path, lambda member, data: content if member.endswith("data.pkl") else data)

    case(name, says)(write)
    prefix = pickle.dumps(torch.serialization.MAGIC_NUMBER, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    of_bytes(f"{name}, legacy", says, prefix + content + pickle.dumps([], 2))


def rewrite(source: Path, target: Path, change: Callable[[str, bytes], bytes], method: int = 0) -> None:
    with zipfile.ZipFile(source) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, change(name, data))


def flipped(member: str, offset: int) -> Write:
    def write(path: Path, payload: Payload) -> None:
        torch.save(payload, path)
        with zipfile.ZipFile(path) as archive:
            info = next(i for i in archive.infolist() if i.filename.endswith(member))
        data = bytearray(path.read_bytes())
        name_length, extra_length = struct.unpack_from("<HH", data, info.header_offset + 26)
        data[info.header_offset + 30 + name_length + extra_length + offset] ^= 1 << (offset % 8)
        path.write_bytes(data)

    return write


def truncated(kind: str, kept: float) -> Write:
    def write(path: Path, payload: Payload) -> None:
        if kind == "safetensors":
            safetensors.torch.save_file(bare(payload), path)
        else:
            torch.save(payload, path, _use_new_zipfile_serialization=kind == "zip")
        path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])

    return write


def bare(payload: Payload) -> dict[str, torch.Tensor]:
    state = payload["model_state_dict"]
    return {key: tensor.clone() for key, tensor in state.items() if key.startswith(ENCODER)}


def of_header(name: str, says: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """A safetensors file with its header changed; a change that gives text is the header itself."""

    def write(path: Path, payload: Payload) -> None:
        safetensors.torch.save_file(bare(payload), path, metadata={"config": json.dumps(CONFIG)})
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        changed = change(header)
        text = (changed if isinstance(changed, str) else json.dumps(header)).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])

    case(name, says)(write)


CONFIG = {"image_size": [16, 64, 64], "patch_size": [4, 16, 16]}

# Files that are none

of_bytes("empty", "empty", b"")
of_bytes("HTML", "HTML", b"<!DOCTYPE html><html>Sign in</html>")
of_bytes("XML", "HTML or XML", b"\n<?xml version='1.0'?><Error/>")
of_bytes("LFS pointer", "Git LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
of_bytes("image", "not a torch or safetensors", b"GIF89a" + b"\0" * 100)
of_bytes("text with escapes", "not a torch or safetensors", b"\x1b[2J\x1b]0;owned\x07")
of_bytes("zeros", "not a torch or safetensors", b"\0" * 100_000)
of_bytes("only a zip's beginning", "truncated", b"PK\x03\x04" + b"\0" * 100)
of_bytes("an empty zip", "not a torch or safetensors", b"PK\x05\x06" + b"\0" * 18)
case("a directory", "no checkpoint file")(lambda path, _: path.mkdir())
case("nothing", "no checkpoint file")(lambda path, _: None)
for kind_, kept_ in (("zip", 0.1), ("zip", 0.5), ("zip", 0.999), ("legacy", 0.5), ("safetensors", 0.5)):
    says_ = {"zip": "truncated", "legacy": "unreadable torch", "safetensors": "unreadable safetensors"}[kind_]
    case(f"{kind_} cut at {kept_}", says_)(truncated(kind_, kept_))

# The zip archive

for member_, offset_ in (
    ("data/0", 0),
    ("data/0", 4097),
    ("data.pkl", 300),
    ("byteorder", 1),
    ("version", 0),
):
    case(f"a bit of {member_} flipped at {offset_}", f"{member_}' of the zip archive is damaged")(
        flipped(member_, offset_)
    )


@case("a bit of a directory entry's checksum flipped", "is damaged")
def _(path: Path, payload: Payload) -> None:
    torch.save(payload, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 16] ^= 1
    path.write_bytes(data)


@case("a bit of a local header's name flipped", "is damaged")
def _(path: Path, payload: Payload) -> None:
    torch.save(payload, path)
    data = bytearray(path.read_bytes())
    data[31] ^= 1
    path.write_bytes(data)


@case("compressed members", "is compressed")
def _(path: Path, payload: Payload) -> None:
    torch.save(payload, path)
    rewrite(path, path, lambda _, data: data, zipfile.ZIP_DEFLATED)


@case("a pickle of 512 MB in 512 KB", "is compressed")
def _(path: Path, _: Payload) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data.pkl", "w") as file:
        for _chunk in range(512):
            file.write(b"N" * 2**20)


@case("a pickle of 9 MB", "more than 8388608")
def _(path: Path, payload: Payload) -> None:
    torch.save({**payload, "x": "y" * 9_000_000}, path)


@case("a member twice", "is there twice")
def _(path: Path, payload: Payload) -> None:
    torch.save(payload, path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"other")


@case("members that overlap", "overlap")
def _(path: Path, payload: Payload) -> None:
    torch.save(payload, path)
    data = bytearray(path.read_bytes())
    first = data.index(b"PK\x01\x02")
    names = struct.unpack_from("<3H", data, first + 28)
    second = first + 46 + sum(names)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    path.write_bytes(data)


@case("an encrypted member", "is encrypted")
def _(path: Path, payload: Payload) -> None:
    torch.save(payload, path)
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)


@case("no pickle", "unreadable torch")
def _(path: Path, _: Payload) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../../etc/passwd", "root")


@case("without checksums, as torch can write it", "")
def _(path: Path, payload: Payload) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(payload, path)
    finally:
        torch.serialization.set_crc32_options(True)


# Pickles that are programs

of_pickle("a command", "posix.system", b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.")
of_pickle("eval", "eval", b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.")
of_pickle(
    "4 GB of bytearray", "bytearray", b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R."
)
of_pickle("a list called", "damaged or unsafe", b"\x80\x02cbuiltins\nlist\nX\x01\x00\x00\x00a\x85R.")
of_pickle("an unknown class", "a.b", b"\x80\x02ca\nb\n)\x81.")
of_pickle("pops from nothing", "torch checkpoint", b"\x80\x020000.")
of_pickle("no end", "torch checkpoint", b"\x80\x02" + b"N" * 1000)
of_pickle("noise", "torch checkpoint", bytes(range(256)) * 4)
of_pickle(
    "a list within lists, 100,000 deep", "holds a list", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
)
of_pickle(
    "a storage that is not there",
    "torch checkpoint",
    b"\x80\x02X\x07\x00\x00\x00storageX\x01\x00\x00\x009\x86Q.",
)
of_payload("a tensor alone", "holds a Tensor", lambda _: torch.zeros(3))
of_payload("a number alone", "holds a int", lambda _: 3)
of_payload("a class in the config", "zipfile.ZipInfo", lambda p: p.update(args=zipfile.ZipInfo("x")))
of_payload("the same, legacy", "zipfile.ZipInfo", lambda p: p.update(args=zipfile.ZipInfo("x")), zipped=False)

# Tensors that are none


class Lie:
    """A tensor that says another shape and strides of itself."""

    def __init__(self, tensor: torch.Tensor, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0):
        self.tensor, self.size, self.stride, self.offset = tensor, size, stride, offset

    def __reduce__(self) -> Any:
        function, arguments = self.tensor.__reduce_ex__(2)
        return function, (arguments[0], self.offset, self.size, self.stride, *arguments[4:])


def all_meta(payload: Payload) -> None:
    state = payload["model_state_dict"]
    payload["model_state_dict"] = {key: tensor.to("meta") for key, tensor in state.items()}


of_payload("every tensor on the meta device", "meta device", all_meta)
of_tensor("one tensor on the meta device", "meta device", lambda t: t.to("meta"))
of_tensor(
    "the target's on the meta device",
    "meta device",
    lambda t: t.to("meta"),
    "target_encoder.encoder.norm.bias",
)
of_tensor("sparse (COO)", "sparse_coo, not dense", lambda t: t.to_sparse())
of_tensor("sparse (CSR)", "sparse_csr, not dense", lambda t: t.to_sparse_csr())
of_tensor("nested", "nested tensor", lambda t: torch.nested.nested_tensor([t[0], t[1]]), NORM)  # fmt: skip
of_tensor("quantized", "quantized", lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8))
of_tensor("complex", "complex64", lambda t: t.to(torch.complex64))
of_tensor("boolean", "bool", lambda t: t > 0)
of_tensor("8-bit integers", "int8", lambda t: t.to(torch.int8))
of_tensor("64-bit integers", "int64", lambda t: t.to(torch.int64))
of_tensor("NaN", "NaN or infinite", lambda t: t.index_fill(0, torch.tensor([3]), float("nan")))
of_tensor("infinity", "NaN or infinite", lambda t: t.index_fill(0, torch.tensor([3]), float("inf")))
of_tensor("doubles beyond float32", "NaN or infinite", lambda t: t.double() * 1e300)
of_tensor("no elements", "not those of a 3D ViT", lambda t: t[:0])
of_tensor("a scalar", "not those of a 3D ViT", lambda t: t.sum())
of_tensor("six axes", "not those of a 3D ViT", lambda t: t[None, None, None, None])
of_tensor("a wrong shape", "expected (512, 128)", lambda t: torch.zeros(512, 127))
of_tensor("a terabyte of one value", "values (strides (0, 0))", lambda t: Lie(t, (10**6, 10**6), (0, 0)))
of_tensor("one row many times", "values (strides (0, 1))", lambda t: t[:1].expand(512, 128))
of_tensor("more than its storage", "unreadable torch", lambda t: Lie(t, (10**6, 10**5), (10**5, 1)))
of_tensor("behind its storage", "unreadable torch", lambda t: Lie(t, (512, 128), (128, 1), 1))
of_tensor("before its storage", "unreadable torch", lambda t: Lie(t, (512, 128), (128, 1), -1))
of_tensor("a negative size", "unreadable torch", lambda t: Lie(t, (-1, 128), (128, 1)))
of_tensor("no tensor at all", "keys missing", lambda _: "weights")
of_tensor("transposed in memory", "", lambda t: t.T.contiguous().T)
of_tensor("in double precision", "", lambda t: t.double())


def one_memory(payload: Payload) -> None:
    state = payload["model_state_dict"]
    state[f"{ENCODER}blocks.1.norm1.bias"] = state[f"{ENCODER}blocks.0.norm1.bias"]


def half_a_memory(payload: Payload) -> None:
    both = torch.zeros(192)
    state = payload["model_state_dict"]
    state[f"{ENCODER}norm.bias"], state[f"{ENCODER}norm.weight"] = both[:128], both[64:]


of_payload("two parameters in one memory", "share memory", one_memory)
of_payload("two parameters that overlap", "share memory", half_a_memory)

# Names and what lies beside the weights


def among(**more: Any) -> Callable[[Payload], None]:
    return lambda payload: payload.update(more)


def in_state(**more: Any) -> Callable[[Payload], None]:
    return lambda payload: payload["model_state_dict"].update(more)


def unfolding(width: int, depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(depth):
        inner = {f"k{i}": inner for i in range(width)}
    return inner


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": inner}
    return inner


def itself() -> dict[str, Any]:
    inner: dict[str, Any] = {}
    inner["a"] = inner
    return inner


of_payload("no tensors", "top-level keys: epoch", lambda _: {"epoch": 1})
of_payload("keys that are no text", "no tensors", lambda _: {1: torch.zeros(3), (2, 3): 4})
of_payload("a dict that unfolds to 10^12", "more than 200000 entries", among(extra=unfolding(1000, 4)))
of_payload("a dict within itself", "", among(extra=itself()))
of_payload("dicts 300 deep", "", among(extra=deep(300)))
of_payload("weights six levels down", "no tensors", lambda p: {"a": {"b": {"c": {"d": {"e": p}}}}})
of_payload(
    "a name twice",
    "two tensors are called",
    lambda p: p.update({f"model_state_dict.{NORM}": torch.zeros(128)}),
)
of_payload(
    "a name with and without module.",
    "occurs twice",
    in_state(**{f"{ENCODER}blocks.0.module.norm1.bias": torch.zeros(128)}),
)
of_payload("a key too many", "1 unexpected", in_state(**{f"{ENCODER}cls_token": torch.zeros(1)}))
of_payload("an escape in a name", r"\x1b[2J", in_state(**{f"{ENCODER}\x1b[2J": torch.zeros(1)}))
of_payload("a name of a megabyte", "unexpected", in_state(**{ENCODER + "x" * 1_000_000: torch.zeros(1)}))
of_payload(
    "50,000 names too many",
    "50000 unexpected",
    in_state(**dict.fromkeys((f"{ENCODER}k{i}" for i in range(50_000)), torch.zeros(1))),
)
of_payload("a key lost", "1 of 29 keys missing", lambda p: p["model_state_dict"].__delitem__(NORM))
of_payload("block 999", "keys missing", in_state(**{f"{ENCODER}blocks.999.norm1.bias": torch.zeros(128)}))
of_payload("an epoch on the meta device", "", among(epoch=torch.zeros(1, device="meta")))
of_payload("a sparse loss", "", among(loss=torch.ones(1).to_sparse()))
of_payload("an epoch of 400 digits", "", among(epoch=10**400))
of_payload("an epoch that is NaN", "", among(epoch=float("nan")))

# The config

of_config("a config within itself", "more than 20 levels", itself())
of_config("a config 100 deep", "more than 20 levels", deep(100))
of_config("a config that unfolds", "more than 20000 entries", unfolding(20, 8))
of_config("a config of 30,000 keys", "more than 20000 entries", {str(i): i for i in range(30_000)})
of_config("a size of 5,000 digits", "unsafe torch checkpoint", {**CONFIG, "image_size": [10**5000, 64, 64]})
of_config("a size of 300 digits", "an integer of 997 bits", {**CONFIG, "image_size": [10**300, 64, 64]})
of_config("a size of a megabyte of text", "not three integers", {**CONFIG, "image_size": "9" * 1_000_000})
of_config("a size below zero", "64 tokens", {**CONFIG, "image_size": [-16, -64, 64]})
of_config("a size of nothing", "64 tokens", {**CONFIG, "image_size": [0, 0, 0]})
of_config("another size", "64 tokens", {**CONFIG, "image_size": [64, 384, 384]})
of_config("a size of booleans", "not three integers", {**CONFIG, "image_size": [True, True, True]})
of_config("no heads", "attention heads", {**CONFIG, "num_heads": 0})
of_config("heads below zero", "attention heads", {**CONFIG, "num_heads": -2})
of_config("heads of text", "not an integer", {**CONFIG, "num_heads": "2"})
of_config("fractions of a patch", "not three integers", {**CONFIG, "patch_size": [4.0, 16.0, 16.0]})
of_config("a config of text", "image_size or img_size", "image_size: [16, 64, 64]")

# safetensors

of_header("safetensors as it should be", "", lambda header: None)
of_header(
    "a header of nested lists",
    "unreadable safetensors",
    lambda _: '{"a":' + "[" * 50_000 + "]" * 50_000 + "}",
)
of_header(
    "metadata of nested lists",
    "config has more than|image_size or img_size",
    lambda h: h.update(__metadata__={"config": "[" * 50_000}),
)
of_header("a shape beyond its bytes", "unreadable safetensors", lambda h: h[NORM].update(shape=[2**40]))
of_header("an unknown type", "unreadable safetensors", lambda h: h[NORM].update(dtype="F7"))
of_header(
    "offsets behind the file", "unreadable safetensors", lambda h: h[NORM].update(data_offsets=[0, 2**60])
)
of_header(
    "offsets that overlap",
    "unreadable safetensors",
    lambda h: h[NORM].update(data_offsets=h[WEIGHT]["data_offsets"]),
)
of_header(
    "a config of 5,000 digits",
    "image_size or img_size",
    lambda h: h.update(__metadata__={"config": '{"image_size": [1' + "0" * 5000 + "]}"}),
)
of_bytes("a header of 2^62 bytes", "not a torch or safetensors", struct.pack("<Q", 2**62) + b'{"a":1}')


@pytest.fixture(scope="module")
def original() -> Payload:
    torch.set_num_threads(1)
    return make_original_checkpoint()[1]


@pytest.fixture(scope="module")
def digest(original: Payload, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("right") / "best.pt"
    torch.save(original, path)
    return read_checkpoint(path, encoder="auto", uri=URI).report.weights_digest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_hostile_checkpoint(
    name: str, original: Payload, digest: str, tmp_path: Path, count: Callable[[str, str], None]
) -> None:
    says, write = CASES[name]
    payload = {**original, "model_state_dict": dict(original["model_state_dict"])}
    path = tmp_path / "best.pt"
    write(path, payload)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        report = read_checkpoint(path, encoder="auto", uri=URI).report
    except OctjobError as error:
        refusal, report = error, None
    else:
        refusal = None
    assert time.monotonic() - start < MAX_S
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_GROWTH_KIB
    if refusal:
        assert any(part in refusal.message for part in says.split("|") if part), refusal.message
        assert URI in refusal.message
        assert refusal.hint
        assert refusal.message.isprintable()
        assert len(refusal.message) < 2000
    else:
        assert report is not None
        assert not says
        assert report.weights_digest == digest
        json.dumps(report.to_dict(), allow_nan=False)
    count("checkpoints", "refused with a reason" if refusal else "read, the right weights")


def test_every_single_bit_of_a_weight_counts(
    original: Payload, tmp_path: Path, count: Callable[[str, str], None]
) -> None:
    """40 single flipped bits, spread over all members that hold weights."""
    path = tmp_path / "best.pt"
    torch.save(original, path)
    whole = path.read_bytes()
    for i in range(40):
        flipped(f"data/{i}", 5 * i)(path, original)
        assert path.read_bytes() != whole
        with pytest.raises(OctjobError, match=f"data/{i}' of the zip archive is damaged"):
            read_checkpoint(path, encoder="auto", uri=URI)
        count("single bits of a checkpoint flipped", "refused, naming the member")
