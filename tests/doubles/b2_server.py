"""Backblaze B2's double over HTTP: b2sdk's own simulator behind the native API's endpoints.

Unmodified b2sdk talks to it when its realm is the server's URL, from this process or another:

    with B2Server() as server:
        server.create_bucket("data")
        subprocess.run([...], env=os.environ | server.env)

or alone, printing the environment as one JSON line: `python tests/doubles/b2_server.py BUCKET...`
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import sys
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote_plus, urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from b2sdk.v3 import BucketSimulator, RawSimulator
from b2sdk.v3 import exception as errors

from doubles.http_base import Handler, Server

Params = dict[str, Any]


class _Bucket(BucketSimulator):
    """A bucket that does not run out of ids after a few hundred uploads."""

    FIRST_FILE_NUMBER = 9_999_999
    FIRST_FILE_ID = str(FIRST_FILE_NUMBER)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.upload_url_counter = itertools.count()
        self.upload_timestamp_counter = itertools.count(1_700_000_000_000)


class _Simulator(RawSimulator):
    """The simulator, but a key restricted to a bucket may write there."""

    BUCKET_SIMULATOR_CLASS = _Bucket
    MIN_PART_SIZE = 5_000_000
    bucket_of_call: str | None = None

    def _assert_account_auth(
        self,
        api_url: str,
        token: str,
        account_id: str,
        capability: str,
        bucket_id: str | None = None,
        file_name: str | None = None,
    ) -> None:
        bucket_id = bucket_id or self.bucket_of_call
        super()._assert_account_auth(api_url, token, account_id, capability, bucket_id, file_name)


class B2Server(Server):
    """A B2 account with a master key. `env` holds the variables that lead octjob here."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(_B2Handler, port)
        self.sim = _Simulator()
        self.lock = threading.RLock()
        self.account_id, self.master_key = self.sim.create_account()
        self._token = self.sim.authorize_account("", self.account_id, self.master_key)["authorizationToken"]

    @property
    def env(self) -> dict[str, str]:
        """Environment variables of the master key."""
        return self.env_of(self.account_id, self.master_key)

    def env_of(self, key_id: str, key: str) -> dict[str, str]:
        """Environment variables of any key."""
        return {"B2_APPLICATION_KEY_ID": key_id, "B2_APPLICATION_KEY": key, "B2_ENVIRONMENT": self.url}

    def create_bucket(self, name: str) -> None:
        """Make an empty private bucket."""
        with self.lock:
            self.sim.create_bucket(self.sim.API_URL, self._token, self.account_id, name, "allPrivate")

    def create_key(self, *capabilities: str, bucket: str | None = None) -> dict[str, str]:
        """Make a restricted key; returns its environment variables."""
        with self.lock:
            ids = [self.sim.bucket_name_to_bucket[bucket].bucket_id] if bucket else None
            key = self.sim.create_key(
                self.sim.API_URL, self._token, self.account_id, list(capabilities), "key", None, ids, None
            )
        return self.env_of(key["applicationKeyId"], key["applicationKey"])

    def versions(self, bucket: str, name: str) -> list[Any]:
        """The stored versions of one name, newest first; change their `data_bytes` to damage them."""
        with self.lock:
            stored = self.sim.bucket_name_to_bucket[bucket].file_name_and_id_to_file
            return [stored[key] for key in sorted(stored) if key[0] == name]

    def expire_tokens(self) -> None:
        """Let every token given out to clients expire."""
        with self.lock:
            self.sim.expired_auth_tokens.update(self.sim.auth_token_to_key.keys() - {self._token})


def _start(params: Params) -> str | None:
    """Where a listing starts: the simulator, unlike B2, ends it at the first name outside the prefix."""
    return params.get("startFileName") or params.get("prefix")


# Each: simulator, token, JSON parameters -> answer. The simulator checks that its own URL is named.
_CALLS: dict[str, Callable[[_Simulator, str, Params], Any]] = {
    "b2_list_buckets": lambda sim, token, p: sim.list_buckets(
        sim.API_URL, token, p["accountId"], p.get("bucketId"), p.get("bucketName")
    ),
    "b2_list_file_names": lambda sim, token, p: sim.list_file_names(
        sim.API_URL, token, p["bucketId"], _start(p), p.get("maxFileCount"), p.get("prefix")
    ),
    "b2_list_file_versions": lambda sim, token, p: sim.list_file_versions(
        sim.API_URL,
        token,
        p["bucketId"],
        _start(p),
        p.get("startFileId"),
        p.get("maxFileCount"),
        p.get("prefix"),
    ),
    "b2_get_upload_url": lambda sim, token, p: sim.get_upload_url(sim.API_URL, token, p["bucketId"]),
    "b2_get_upload_part_url": lambda sim, token, p: sim.get_upload_part_url(sim.API_URL, token, p["fileId"]),
    "b2_start_large_file": lambda sim, token, p: sim.start_large_file(
        sim.API_URL, token, p["bucketId"], p["fileName"], p["contentType"], p["fileInfo"]
    ),
    "b2_finish_large_file": lambda sim, token, p: sim.finish_large_file(
        sim.API_URL, token, p["fileId"], p["partSha1Array"]
    ),
    "b2_cancel_large_file": lambda sim, token, p: sim.cancel_large_file(sim.API_URL, token, p["fileId"]),
    "b2_list_parts": lambda sim, token, p: sim.list_parts(
        sim.API_URL, token, p["fileId"], p.get("startPartNumber"), p.get("maxPartCount")
    ),
    "b2_list_unfinished_large_files": lambda sim, token, p: sim.list_unfinished_large_files(
        sim.API_URL, token, p["bucketId"], p.get("startFileId"), p.get("maxFileCount"), p.get("namePrefix")
    ),
    "b2_hide_file": lambda sim, token, p: sim.hide_file(sim.API_URL, token, p["bucketId"], p["fileName"]),
    "b2_delete_file_version": lambda sim, token, p: sim.delete_file_version(
        sim.API_URL, token, p["fileId"], p["fileName"]
    ),
}


class _B2Handler(Handler):
    server: B2Server

    def handle_request(self) -> None:
        body = self.body()
        try:
            if self.command == "POST":
                self._post(body)
            else:
                self._download()
        except errors.InvalidAuthToken as error:
            self._fail(401, "expired_auth_token" if error.code == "auth_token_expired" else "bad_auth_token")
        except errors.Unauthorized:
            self._fail(401, "unauthorized")
        except (errors.FileNotPresent, KeyError):
            self._fail(*((400, "file_not_present") if self.command == "POST" else (404, "not_found")))
        except errors.NonExistentBucket:
            self._fail(*((400, "bad_bucket_id") if self.command == "POST" else (404, "not_found")))
        except errors.UnsatisfiableRange:
            self._fail(416, "range_not_satisfiable")
        except (errors.FileSha1Mismatch, errors.PartSha1Mismatch, errors.ChecksumMismatch):
            self._fail(400, "bad_request")

    def _post(self, body: bytes) -> None:
        url, sim = urlsplit(self.path), self.server.sim
        call = url.path.rpartition("/")[2]
        with self.server.lock:
            if call == "upload":
                self._json(self._upload(parse_qs(url.query)["at"][0], body))
            elif call == "b2_authorize_account":
                self._json(self._authorize())
            else:
                params = json.loads(body)
                known = sim.file_id_to_bucket_id.get(params.get("fileId"))
                sim.bucket_of_call = params.get("bucketId") or known
                answer = _CALLS[call](sim, self.headers["Authorization"], params)
                if "uploadUrl" in answer:
                    answer["uploadUrl"] = f"{self._base()}/upload?at={quote(answer['uploadUrl'], safe='')}"
                self._json(answer)

    def _authorize(self) -> Any:
        credentials = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        key_id, _, key = credentials.partition(":")
        answer = self.server.sim.authorize_account("", key_id, key)
        answer["apiInfo"]["storageApi"].update(apiUrl=self._base(), downloadUrl=self._base())
        return answer

    def _upload(self, url: str, body: bytes) -> Any:
        sim, headers = self.server.sim, self.headers
        sha1 = headers["X-Bz-Content-Sha1"]
        if "/part/" in url:
            number = int(headers["X-Bz-Part-Number"])
            return sim.upload_part(url, headers["Authorization"], number, len(body), sha1, BytesIO(body))
        info = {
            name[len("X-Bz-Info-") :]: unquote_plus(value)
            for name, value in headers.items()
            if name.lower().startswith("x-bz-info-")
        }
        name, kind = unquote_plus(headers["X-Bz-File-Name"]), headers["Content-Type"]
        return sim.upload_file(
            url, headers["Authorization"], name, len(body), kind, sha1, info, BytesIO(body)
        )

    def _download(self) -> None:
        sim, url, token = self.server.sim, urlsplit(self.path), self.headers["Authorization"]
        with self.server.lock:
            if url.path.startswith("/file/"):
                bucket_name, _, name = url.path.removeprefix("/file/").partition("/")
                bucket, name = sim._get_bucket_by_name(bucket_name), unquote_plus(name)
                listed = bucket.list_file_names(token, name, 1)["files"]
                if not listed or listed[0]["fileName"] != name:
                    raise errors.FileNotPresent(file_id_or_name=name)
                file_id = listed[0]["fileId"]
            else:
                file_id = parse_qs(url.query)["fileId"][0]
                bucket = sim._get_bucket_by_id(sim.file_id_to_bucket_id[file_id])
            file = bucket.file_id_to_file[file_id]
            sim._assert_account_auth(
                sim.API_URL, token, bucket.account_id, "readFiles", bucket.bucket_id, file.name
            )
            self._send(file, dict(file.as_download_headers(token)))

    def _send(self, file: Any, headers: dict[str, str]) -> None:
        data, status = file.data_bytes, 200
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match:
            start, last = int(match.group(1)), min(int(match.group(2)), len(data) - 1)
            if start >= len(data):
                raise errors.UnsatisfiableRange
            headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
            data, status = data[start : last + 1], 206
        headers.pop("content-length")
        self.answer(status, headers, data)

    def _base(self) -> str:
        # The client's own name for the server, so that URLs lead back through a proxy in between.
        return f"http://{self.headers['Host']}"

    def _json(self, answer: Any, status: int = 200) -> None:
        self.answer(status, {"Content-Type": "application/json"}, json.dumps(answer, default=sorted).encode())

    def _fail(self, status: int, code: str) -> None:
        self._json({"status": status, "code": code, "message": code}, status)


def main(buckets: list[str]) -> None:
    """Serve until interrupted."""
    with B2Server() as server:
        for bucket in buckets:
            server.create_bucket(bucket)
        print(json.dumps(server.env), flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1:])
