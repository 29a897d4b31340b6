"""Where events are sent, and one attempt to send one. A receiver's URL is a secret: it is never shown whole."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import ValidationError

from octjob import __version__
from octjob.errors import AccessError, SpecError, UnavailableError, one_line
from octjob.notify.event import Event, in_words
from octjob.redact import MASK
from octjob.storage.patience import is_broken_transport

if TYPE_CHECKING:
    import requests

Form = Literal["cloudevents", "slack"]

# One request takes no longer, whatever the receiver does; well below what a lease lasts.
REQUEST_S = 20.0
_SLACK_HOST = "hooks.slack.com"
_TRY_AGAIN = (408, 425, 429)
_CONTENT_TYPES: dict[Form, str] = {
    "cloudevents": "application/cloudevents+json; charset=utf-8",
    "slack": "application/json; charset=utf-8",
}


class RefusedError(AccessError):
    """The receiver will not take the event, however often it is sent."""


class NotTakenError(UnavailableError):
    """It may take it later. pause_s: the least pause that it asks for, in seconds."""

    def __init__(self, message: str, hint: str, pause_s: float = 0.0) -> None:
        super().__init__(message, hint)
        self.pause_s = pause_s


@dataclass(frozen=True)
class Receiver:
    """A URL that takes events, and in which form."""

    form: Form
    url: str = field(repr=False)

    @property
    def shown(self) -> str:
        """What may be said of it: scheme and host."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}/{MASK}"

    @property
    def digest(self) -> str:
        """Names it in the store, from which nobody gets it back."""
        return hashlib.sha256(f"{self.form} {self.url}".encode()).hexdigest()[:12]

    def body(self, event: bytes) -> bytes:
        """What is posted for a stored event: itself, or for Slack its words."""
        if self.form == "cloudevents":
            return event
        try:
            text = in_words(Event.model_validate_json(event))
        except ValidationError:
            raise RefusedError(
                f"{self.shown}: a stored event is none that this octjob reads",
                "Collect with the octjob that stored it, or delete it below notifications/events/.",
            ) from None
        for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(char, entity)
        return json.dumps({"text": text}).encode()

    def post(self, event: bytes, timeout_s: float = REQUEST_S) -> None:
        """Send a stored event once; returns when the receiver has taken it (2xx).

        Raises `RefusedError`, or `NotTakenError` for what is worth trying again.
        """
        from urllib3.exceptions import HTTPError

        body = self.body(event)
        answers: list[requests.Response | Exception] = []

        def ask() -> None:
            try:
                answers.append(self._ask(body, timeout_s))
            except (OSError, ValueError, HTTPError) as error:
                answers.append(error)

        # A timeout of requests bounds each silence, not the whole: a trickle of bytes would hold us for ever.
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(timeout_s)
        answer = answers[0] if answers else TimeoutError()
        if isinstance(answer, Exception):
            raise self._unheard(answer, timeout_s) from None
        self._judge(answer)

    def _ask(self, body: bytes, timeout_s: float) -> requests.Response:
        import requests
        from requests.utils import get_auth_from_url

        headers = {"Content-Type": _CONTENT_TYPES[self.form], "User-Agent": f"octjob/{__version__}"}
        with requests.Session() as session:
            # Nothing of ~/.netrc: the URL is all that the receiver is given.
            session.auth = get_auth_from_url(self.url) if "@" in urlsplit(self.url).netloc else _no_auth
            # The answer's body is never read: its status says all.
            answer = session.post(
                self.url,
                data=body,
                headers=headers,
                timeout=timeout_s,
                allow_redirects=False,
                stream=True,
            )
            answer.close()
            return answer

    def _unheard(self, error: Exception, timeout_s: float) -> AccessError:
        """What kept a request from an answer, without the URL that the libraries put into their messages."""
        import requests

        if isinstance(error, TimeoutError | requests.Timeout):
            return NotTakenError(f"{self.shown}: no answer within {timeout_s:g} s", _REACHABLE)
        if isinstance(error, requests.exceptions.SSLError):
            return RefusedError(
                f"{self.shown}: its certificate is not trusted here",
                "Set REQUESTS_CA_BUNDLE to the file of the authority that signed it.",
            )
        if is_broken_transport(error):
            return NotTakenError(f"{self.shown}: no connection ({type(error).__name__})", _REACHABLE)
        return RefusedError(f"{self.shown}: no request can be made ({type(error).__name__})", _CHECK)

    def _judge(self, answer: requests.Response) -> None:
        status = answer.status_code
        if 200 <= status < 300:
            return
        said = one_line(f"{self.shown}: answers {status} {answer.reason or ''}").rstrip()
        if status in _TRY_AGAIN or status >= 500:
            raise NotTakenError(said, _REACHABLE, _seconds(answer.headers.get("Retry-After")))
        if 300 <= status < 400:
            raise RefusedError(f"{said}, a redirect, which is not followed", "Give the URL that it leads to.")
        raise RefusedError(said, _CHECK)


_REACHABLE = "Collect again when it answers: what it has not taken is kept and sent then."
_CHECK = "Check the URL of --notify; what was not taken is kept for the next `octjob collect --notify`."


def parse_receiver(text: str) -> Receiver:
    """A receiver as a user writes it: `URL`, `slack=URL` or `cloudevents=URL`; URLs of Slack's host mean slack.

    Raises `SpecError`, which does not repeat the text.
    """
    form, found, url = text.strip().partition("=")
    if not found or form not in _CONTENT_TYPES:
        form, url = "", text.strip()
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(char.isspace() or not char.isprintable() for char in url):
        raise SpecError(
            "--notify: not an http or https URL (it is not repeated here, it may be a secret)",
            "e.g. --notify https://example.org/hook or --notify slack=https://hooks.slack.com/services/...",
        )
    if not form:
        form = "slack" if parts.hostname == _SLACK_HOST else "cloudevents"
    return Receiver("slack" if form == "slack" else "cloudevents", url)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _seconds(text: str | None) -> float:
    """`Retry-After`; the form with a date is not worth a clock."""
    return float(text) if text and text.isdigit() else 0.0
