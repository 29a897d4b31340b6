"""The credential plugin of a kubeconfig's user: run it, with a time limit, and say what it said where it fails.

The official client only logs a plugin's failure and goes on as nobody; the server's answer is then about rights.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import IO, Any

from octjob.run.redact import MASK, Redactor
from octjob.targets.kubernetes.refusal import NoCredentials

TIMEOUT_S = 60.0
# Somebody may have to sign in within a browser.
INTERACTIVE_TIMEOUT_S = 300.0
_MAX_SAID = 300
# Tokens as Google, AWS and OpenID Connect write them, and anything else that is as long and has no blank.
_TOKEN = re.compile(r"ya29\.\S+|eyJ\S+|k8s-aws-v1\.\S+|(?<![\w/.-])[A-Za-z0-9_+/=-]{40,}(?![\w/.-])")
_INSTALL = {"gke-gcloud-auth-plugin": "`gcloud components install gke-gcloud-auth-plugin` installs it."}
_SIGN_IN = {
    "gke-gcloud-auth-plugin": "gcloud auth login",
    "gcloud": "gcloud auth login",
    "aws": "aws sso login",
    "aws-iam-authenticator": "aws sso login",
    "kubelogin": "az login",
}


@dataclass(frozen=True)
class Plugin:
    """A kubeconfig user's `exec`.

    cluster: the kubeconfig's own entry, where the plugin asked for it. cwd: the kubeconfig's directory.
    """

    context: str
    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    api_version: str = "client.authentication.k8s.io/v1"
    install_hint: str = ""
    interactive: bool = False
    cluster: Mapping[str, Any] | None = None
    cwd: str | None = None

    @property
    def name(self) -> str:
        """The program's name without its directory."""
        return PurePath(self.command).name

    def credentials(self) -> dict[str, Any]:
        """The `status` of the ExecCredential that the plugin prints: a token or a client certificate with its key.

        Raises `NoCredentials`: not installed, no answer in time, an exit code that is not 0, or other output.
        """
        code, out, said = self._run()
        if code != 0:
            raise self._failed(f"ended with {code}: {_redacted(said) or 'it said nothing'}")
        try:
            status = json.loads(out)["status"]
            if not isinstance(status, dict):
                raise ValueError(status)
        except (ValueError, KeyError, TypeError):
            # Not what it printed, which may be a credential.
            raise self._failed("printed no ExecCredential") from None
        if "token" not in status and not {"clientCertificateData", "clientKeyData"} <= status.keys():
            raise self._failed("printed neither a token nor a certificate with its key")
        return status

    def _run(self) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        try:
            process = subprocess.Popen(
                [self.command, *self.args],
                stdin=None if self.interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.cwd,
                env={**os.environ, **self.env, "KUBERNETES_EXEC_INFO": self._info()},
                text=True,
                errors="replace",
                # It may ask on the terminal only as a part of our own session.
                start_new_session=not self.interactive,
            )
        except OSError as error:
            raise self._missing(error) from None
        said: list[str] = []
        assert process.stderr is not None
        reader = threading.Thread(target=_listen, args=(process.stderr, said, self.interactive), daemon=True)
        reader.start()
        limit_s = INTERACTIVE_TIMEOUT_S if self.interactive else TIMEOUT_S
        out: list[str] = []
        assert process.stdout is not None
        printed = threading.Thread(target=_listen, args=(process.stdout, out, False), daemon=True)
        printed.start()
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self._kill(process)
            reader.join(1.0)
            text = _redacted("".join(said))
            raise self._failed(
                f"has not answered in {limit_s:.0f} s" + (f": {text}" if text else "")
            ) from None
        # A child of the plugin may hold the pipes for longer than the plugin lives.
        for thread in (printed, reader):
            thread.join(5.0)
        return code, "".join(out), "".join(said)

    def _kill(self, process: subprocess.Popen[str]) -> None:
        if self.interactive:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _info(self) -> str:
        spec: dict[str, Any] = {"interactive": self.interactive}
        if self.cluster is not None:
            spec["cluster"] = self.cluster
        return json.dumps({"apiVersion": self.api_version, "kind": "ExecCredential", "spec": spec})

    def _missing(self, error: OSError) -> NoCredentials:
        own = " ".join(self.install_hint.split())
        hint = _INSTALL.get(self.name) or own or f"Install {self.name}, or choose another --context."
        why = (
            "is not installed" if isinstance(error, FileNotFoundError) else f"cannot be run: {error.strerror}"
        )
        return NoCredentials(f"context {self.context}: its credential plugin {self.command} {why}", hint)

    def _failed(self, how: str) -> NoCredentials:
        sign_in = _SIGN_IN.get(self.name)
        check = f"`{self.command} {' '.join(self.args)}`".replace(" `", "`")
        hint = (
            f"`{sign_in}`, then the same command again."
            if sign_in
            else f"Sign in again; {check} must succeed."
        )
        return NoCredentials(f"context {self.context}: its credential plugin {self.name} {how}", hint)


def _listen(stream: IO[str], lines: list[str], echo: bool) -> None:
    for line in stream:
        lines.append(line)
        if echo:
            sys.stderr.write(line)
            sys.stderr.flush()


def _redacted(text: str) -> str:
    """What a plugin said, as one line without anything that may be a credential."""
    line = Redactor(os.environ)(" ".join(text.split()))
    line = _TOKEN.sub(MASK, line)
    return line if len(line) <= _MAX_SAID else f"{line[: _MAX_SAID - 3]}..."


def plugin_of(context: str, user: Mapping[str, Any], cluster: Mapping[str, Any], cwd: str | None) -> Plugin:
    """The plugin that a kubeconfig's user names. user, cluster: as the kubeconfig has them."""
    given = user["exec"]
    mode = given.get("interactiveMode") or "IfAvailable"
    return Plugin(
        context,
        _beside(given["command"], cwd),
        tuple(given.get("args") or ()),
        {one["name"]: one["value"] for one in given.get("env") or ()},
        given.get("apiVersion") or "client.authentication.k8s.io/v1",
        given.get("installHint") or "",
        mode != "Never" and sys.stdin.isatty() and sys.stderr.isatty(),
        _told(cluster) if given.get("provideClusterInfo") else None,
        cwd,
    )


def _beside(command: str, folder: str | None) -> str:
    """As kubectl does: a bare name is looked for in PATH, a relative path is one from the kubeconfig."""
    relative = os.sep in command and not os.path.isabs(command)
    return os.path.join(folder, command) if relative and folder else command


def _told(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What a plugin learns of the cluster that it asked for."""
    told = dict(cluster)
    for extension in told.get("extensions") or ():
        if extension["name"] == "client.authentication.k8s.io/exec":
            told["config"] = extension["extension"]
    return told
