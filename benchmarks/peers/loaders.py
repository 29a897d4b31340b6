"""Loaders that octjob's streaming is held against, reading the same bytes from the same server by their own means.

    .venv-peers/bin/python -m benchmarks.peers.loaders webdataset|mosaicml-streaming|litdata FOLDER URL WORKERS

Writes the files of FOLDER that are volumes as shards of the loader's own format, one volume a shard, below FOLDER,
which URL serves; then reads them all in a torch DataLoader. Prints one JSON line: samples a second and their number.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

BUCKET = "volumes"
# One volume: the smallest shard that there can be, so that all workers have some.
SHARD_BYTES = 60 * 10**6


def volumes(folder: Path) -> list[Path]:
    """The DICOM files."""
    return sorted(folder.glob("*.dcm"))


def webdataset(folder: Path, url: str, workers: int) -> Iterable[Any]:
    """Tar files over plain HTTP."""
    import webdataset as wds

    files = volumes(folder)
    for number, path in enumerate(files):
        with tarfile.open(folder / f"wds-{number:03}.tar", "w") as tar:
            tar.add(path, f"{number}.dcm")
    urls = [f"{url}/{BUCKET}/wds-{number:03}.tar" for number in range(len(files))]
    dataset = wds.WebDataset(urls, shardshuffle=False, handler=wds.warn_and_continue).to_tuple("dcm")
    return wds.WebLoader(dataset, batch_size=None, num_workers=workers)


def mosaicml_streaming(folder: Path, url: str, workers: int) -> Iterable[Any]:
    """MDS shards over S3; the endpoint is S3_ENDPOINT_URL."""
    from streaming import MDSWriter, StreamingDataset

    with MDSWriter(out=str(folder / "mds"), columns={"dcm": "bytes"}, size_limit=SHARD_BYTES) as writer:
        for path in volumes(folder):
            writer.write({"dcm": path.read_bytes()})
    dataset = StreamingDataset(
        remote=f"s3://{BUCKET}/mds", local=tempfile.mkdtemp(), batch_size=1, shuffle=False, download_retry=10
    )
    return DataLoader(dataset, batch_size=None, num_workers=workers)


def litdata(folder: Path, url: str, workers: int) -> Iterable[Any]:
    """Its chunks over S3, at an endpoint given in its storage options."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import downloader
    from litdata.streaming.writer import BinaryWriter

    (folder / "lit").mkdir()
    writer = BinaryWriter(str(folder / "lit"), chunk_bytes=SHARD_BYTES)
    for number, path in enumerate(volumes(folder)):
        writer[number] = {"dcm": path.read_bytes()}
    writer.done()
    writer.merge()
    # Its client insists on https, and nothing public says otherwise; workers are forked from this process.
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
    options = {"endpoint_url": url, "aws_access_key_id": "none", "aws_secret_access_key": "none"}
    dataset = StreamingDataset(
        f"s3://{BUCKET}/lit", cache_dir=tempfile.mkdtemp(), storage_options=options, max_cache_size="4GB"
    )
    return StreamingDataLoader(dataset, batch_size=1, num_workers=workers, collate_fn=list)


LOADERS: dict[str, Callable[[Path, str, int], Iterable[Any]]] = {
    "webdataset": webdataset,
    "mosaicml-streaming": mosaicml_streaming,
    "litdata": litdata,
}


def main() -> None:
    name, folder, url, workers = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="us-east-1")
    loader = LOADERS[name](folder, url, workers)
    began = time.monotonic()
    number = sum(1 for _ in itertools.chain(loader))
    print(json.dumps({"rate": number / (time.monotonic() - began), "number": number}))


if __name__ == "__main__":
    main()
