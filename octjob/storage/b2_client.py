"""b2sdk on a short leash: where its credentials come from, how long it may retry, what its errors mean.

b2sdk itself reads no credentials from the environment; its command line does, and these are its names:
`B2_APPLICATION_KEY_ID`, `B2_APPLICATION_KEY`, and optionally `B2_ENVIRONMENT` (a realm name or URL, default
`production`). Else the names of the original project serve: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
`S3_ENDPOINT_URL`, provided the endpoint is B2's: its S3 keys are application keys of the native API too.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from b2sdk.v3 import B2Api, B2Http, B2HttpApiConfig, B2Session, Bucket, InMemoryAccountInfo
from b2sdk.v3 import exception as b2_errors
from requests import RequestException

from octjob.errors import AccessError, UnavailableError
from octjob.storage.connections import keep_connections
from octjob.storage.patience import is_broken_transport, persist

_REFUSED = (
    b2_errors.Unauthorized,
    b2_errors.AccessDenied,
    b2_errors.RestrictedBucket,
    b2_errors.NotAllowedByAppKeyError,
)
# Broken connections that b2sdk repeats in no request, or only in uploads.
_CUT = (b2_errors.BrokenPipe, b2_errors.ConnectionReset, b2_errors.UnknownHost)
# File info: which upload a file is of.
_UPLOAD = "octjob-upload"
_KEY_HINT = (
    "check B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY, and the key's capabilities, bucket and name prefix"
)
_SET_HINT = "set B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY to an application key of the bucket"


def credentials_from_env(uri: str) -> tuple[str, str, str]:
    """(realm, key id, key) from the environment; `AccessError` naming `uri` where they cannot serve."""
    env = os.environ
    realm = env.get("B2_ENVIRONMENT") or "production"
    key_id, key = env.get("B2_APPLICATION_KEY_ID"), env.get("B2_APPLICATION_KEY")
    if key_id and key:
        return realm, key_id, key
    if key_id or key:
        missing = "B2_APPLICATION_KEY" if key_id else "B2_APPLICATION_KEY_ID"
        raise AccessError(f"{uri}: {missing} is not set though its partner is", _SET_HINT)
    key_id, key = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if not key_id or not key:
        raise AccessError(f"{uri}: no B2 credentials in the environment", _SET_HINT)
    endpoint = env.get("S3_ENDPOINT_URL", "")
    host = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}").hostname or ""
    if not host.endswith(".backblazeb2.com"):
        found = (
            f"S3_ENDPOINT_URL={endpoint} is not"
            if endpoint
            else "S3_ENDPOINT_URL is not set, so they may not be"
        )
        raise AccessError(
            f"{uri}: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY cannot serve here: {found} for Backblaze B2",
            f"{_SET_HINT}, or S3_ENDPOINT_URL to https://s3.<region>.backblazeb2.com",
        )
    return realm, key_id, key


def connect(uri: str, retry_s: float, timeout_s: float) -> B2Api:
    """An authorised `B2Api` whose every request retries transient faults for `retry_s` at most."""
    realm, key_id, key = credentials_from_env(uri)
    # The store verifies every download itself, large files included, which b2sdk does not.
    api = _Api(InMemoryAccountInfo(), api_config=_Config(retry_s, timeout_s), check_download_hash=False)
    api.authorize_account(application_key_id=key_id, application_key=key, realm=realm)
    return api


def upload(bucket: Bucket, name: str, data: bytes, file_info: dict[str, str], retry_s: float) -> Any:
    """Upload one file with its SHA-1, large files included; transient faults are retried for `retry_s`.

    b2sdk goes on with any unfinished large file of the name whose parts and file info fit but for the SHA-1, which
    the finished file then has from the other's content. A mark of its own lets an upload go on with itself alone.
    """
    sha1 = hashlib.sha1(data).hexdigest()
    file_info = file_info | {_UPLOAD: uuid.uuid4().hex}
    return persist(
        lambda: bucket.upload_bytes(
            data,
            name,
            content_type="application/octet-stream",
            file_info=file_info,
            large_file_sha1=sha1,
        ),
        pause_after,
        retry_s,
    )


def pause_after(error: Exception) -> float | None:
    """The pause in seconds that a fault asks for, None where another try cannot help: B2's one such place."""
    if isinstance(error, b2_errors.MaxRetriesExceeded):
        # b2sdk tries a few upload URLs at once, then gives up without ever having waited.
        return None if isinstance(_last_of(error), _REFUSED) else 0.0
    if isinstance(error, b2_errors.B2Error):
        again = error.should_retry_http() or isinstance(error, _CUT)
        return float(error.retry_after_seconds or 0) if again else None
    return 0.0 if is_broken_transport(error) else None


def access_error(uri: str, error: Exception, retry_s: float) -> AccessError:
    """The `AccessError` that explains a b2sdk error."""
    given, error = error, _last_of(error)
    if isinstance(error, _REFUSED):
        return AccessError(f"{uri}: permission refused: {first_line(error)}", _KEY_HINT)
    if isinstance(error, b2_errors.CapExceeded):
        return AccessError(f"{uri}: {first_line(error)}", "raise the account's caps on Backblaze's Caps page")
    if pause_after(given) is None:
        return AccessError(f"{uri}: {first_line(error)}", "check the URI and the key's capabilities")
    hint = f"tried for {retry_s:g} s; check the network and try again"
    return UnavailableError(f"{uri} cannot be reached: {first_line(error)}", hint)


def first_line(error: Exception) -> str:
    """The first line of the error's text, or its type's name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _last_of(error: Exception) -> Exception:
    """The error behind b2sdk's giving up on an upload, which it repeats even where the key may not write."""
    if isinstance(error, b2_errors.MaxRetriesExceeded) and error.exception_info_list:
        last: Exception = error.exception_info_list[-1]
        return last
    return error


# b2sdk is untyped for mypy, hence the ignores on its subclasses.
class _Config(B2HttpApiConfig):  # type: ignore[misc]
    def __init__(self, retry_s: float, timeout_s: float) -> None:
        super().__init__(user_agent_append="octjob")
        self.retry_s = retry_s
        self.timeout_s = timeout_s


class _BoundedHttp(B2Http):  # type: ignore[misc]
    """b2sdk's HTTP layer bounded by time: left alone, it retries a lasting 503 for over eleven minutes."""

    def __init__(self, config: _Config) -> None:
        super().__init__(config)
        keep_connections(self.session)
        self._config = config

    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: Any = None,
        try_count: int = B2Http.TRY_COUNT_DATA,
        params: Any = None,
        *,
        stream: bool = False,
        _timeout: float | None = None,
    ) -> Any:
        timeout_s = min(_timeout or self.TIMEOUT, self._config.timeout_s)
        in_doubt = False

        def attempt() -> Any:
            nonlocal in_doubt
            try:
                response = super(_BoundedHttp, self).request(
                    method, url, headers, data, 1, params, stream=stream, _timeout=timeout_s
                )
            except b2_errors.B2Error as error:
                if in_doubt and url.endswith("/b2_finish_large_file") and not error.should_retry_http():
                    # It may be finished, and only the reply been lost: whoever uploads begins anew.
                    raise _broken(
                        f"b2_finish_large_file without a reply, then {first_line(error)}"
                    ) from error
                in_doubt = True
                raise
            if not stream and method.upper() != "HEAD":
                _require_json(response)
            return response

        # A try count of one marks uploads: b2sdk repeats those itself, at a fresh upload URL.
        return attempt() if try_count == 1 else persist(attempt, pause_after, self._config.retry_s)

    @classmethod
    def _translate_errors(cls, fcn: Callable[[], Any], post_params: Any = None) -> Any:
        """As b2sdk does, but a body that was cut is a broken connection, not an unknown error."""

        def whole() -> Any:
            try:
                response = fcn()
                if response.status_code >= 400 and response.content and "://s3." not in response.url:
                    _require_json(response)
            except (RequestException, urllib3.exceptions.HTTPError) as error:
                # What b2sdk knows, it tells apart better than we would.
                if isinstance(error, requests.ConnectionError | requests.Timeout):
                    raise
                raise _broken(first_line(error)) from error
            return response

        return super()._translate_errors(whole, post_params)


def _require_json(response: Any) -> None:
    try:
        json.loads(response.content)
    except ValueError as error:
        raise _broken(f"a reply that is not JSON, status {response.status_code}") from error


def _broken(what: str) -> Any:
    return b2_errors.B2ConnectionError(what)


class _Session(B2Session):  # type: ignore[misc]
    B2HTTP_CLASS = staticmethod(_BoundedHttp)


class _Api(B2Api):  # type: ignore[misc]
    SESSION_CLASS = staticmethod(_Session)
