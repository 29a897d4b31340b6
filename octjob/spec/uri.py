"""Store URIs: `file:///abs/path`, `gs://bucket/prefix`, `b2://bucket/prefix`, or a plain path.

Nothing is percent-decoded: the text after the bucket is the key as it stands, as for the stores' own tools.
"""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass

from octjob.errors import SpecError

SCHEMES = ("file", "gs", "b2")
# A repository of the Hugging Face hub: no store, and read by backbones alone (`octjob.spec.backbone`).
HUB = "hf://"
_MAX_KEY_BYTES = 1024  # both GCS and B2
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")

# As in signed URLs: `?X-Goog-Signature=...`, `&token=...`. The key's name decides: a short secret is one, too.
_TOKEN = re.compile(
    r"[?&][^=&/]*(?:key|token|secret|signature|sig|password|pass|auth|authorization|credential)s?(?:id)?=[^&/]",
    re.I,
)


@dataclass(frozen=True)
class StoreUri:
    """A normalised store URI.

    scheme: one of `SCHEMES`.
    bucket: empty for `file`.
    path: for `file` the absolute path; else the key or prefix, with neither leading nor trailing slash.
    """

    scheme: str
    bucket: str
    path: str

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file://{self.path}"
        return f"{self.scheme}://{self.bucket}/{self.path}" if self.path else f"{self.scheme}://{self.bucket}"


def parse_uri(uri: str) -> StoreUri:
    """Parse `uri`; a plain path, relative or starting with `~`, becomes an absolute `file` URI.

    Raises `SpecError` for another scheme, a bucket that cannot be one, or a key `check_key` refuses.
    """
    _refuse_credentials(uri)
    match = _SCHEME.fullmatch(uri)
    if match is None:
        return StoreUri("file", "", _absolute(uri, uri))
    scheme, rest = match.group(1).lower(), match.group(2)
    if scheme not in SCHEMES:
        raise SpecError(
            f"{uri}: scheme {scheme}:// is not supported",
            "use " + ", ".join(f"{name}://" for name in SCHEMES) + " or a plain path",
        )
    if scheme == "file":
        if not rest.startswith("/"):
            raise SpecError(
                f"{uri}: a file URI needs an absolute path", "write file:///abs/path or a plain path"
            )
        return StoreUri("file", "", _absolute(rest, uri))
    bucket, _, path = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise SpecError(f"{uri}: {bucket!r} is not a bucket name", f"write {scheme}://bucket/prefix")
    path = path.rstrip("/")
    if path:
        check_key(path, uri)
    return StoreUri(scheme, bucket, path)


def _refuse_credentials(uri: str) -> None:
    """URIs go into specs, logs and trackers. The error repeats nothing but the scheme."""
    match = _SCHEME.fullmatch(uri)
    if match is None:
        return
    scheme, rest = match.group(1), match.group(2)
    if "@" in rest.partition("/")[0] or ":" in rest.partition("/")[0] or _TOKEN.search(rest):
        raise SpecError(
            f"a {scheme}:// URI holds a user, a key or a token (not repeated here)",
            "write the URI without it, and set the environment variables of docs/storage.md instead",
        )


def split_uri(uri: str) -> tuple[str, str]:
    """Split the URI of one object into (store root, key).

    The root is the bucket, so that all objects of a bucket share a connection, or the file's directory.
    """
    parsed = parse_uri(uri)
    if parsed.scheme == "file":
        directory, key = posixpath.split(parsed.path)
        root = StoreUri("file", "", directory)
    else:
        root, key = StoreUri(parsed.scheme, parsed.bucket, ""), parsed.path
    if not key or uri.endswith("/"):
        raise SpecError(f"{uri}: names no object", "give the URI of one object, not of a bucket or folder")
    return str(root), key


def join_uri(root: str, *parts: str) -> str:
    """The URI of `parts` below `root`; each part may hold several segments."""
    parsed = parse_uri(root)
    segments = [part.strip("/") for part in parts if part.strip("/")]
    if not segments:
        return str(parsed)
    key = check_key("/".join(segments), root)
    return str(parse_uri(str(StoreUri(parsed.scheme, parsed.bucket, posixpath.join(parsed.path, key)))))


def check_key(key: str, where: str = "") -> str:
    """Return `key` if every store can hold it under that name, else raise `SpecError` naming it."""
    segments = key.split("/")
    named = f"{where}: key {key!r}" if where else f"key {key!r}"
    if any(segment in ("", ".", "..") for segment in segments):
        raise SpecError(f"{named} has an empty, '.' or '..' segment", "write keys like folder/name")
    if any(ord(char) < 32 or ord(char) == 127 for char in key):
        raise SpecError(f"{named} holds a control character", "use printable characters")
    try:
        num_bytes = len(key.encode())
    except UnicodeEncodeError:
        raise SpecError(f"{named} is not valid Unicode", "rename it in UTF-8") from None
    if num_bytes > _MAX_KEY_BYTES:
        raise SpecError(f"{named} is {num_bytes} bytes long", f"keep keys within {_MAX_KEY_BYTES} bytes")
    return key


def _absolute(path: str, uri: str) -> str:
    if not path or "\0" in path:
        raise SpecError(f"{uri!r}: not a path", "give a path or a URI")
    # POSIX lets "//x" mean something special and abspath keeps it; here it is just "/x".
    return "/" + os.path.abspath(os.path.expanduser(path)).lstrip("/")
