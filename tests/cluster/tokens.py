"""Service account tokens that end sooner than the API server would issue them (it refuses under 10 minutes)."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://kubernetes.default.svc"


def sign_token(key: Path, namespace: str, service_account: str, uid: str, seconds: float) -> str:
    """A token as the API server itself signs them, valid for `seconds` from now (negative: expired already).

    key: the API server's own RSA signing key, PEM.
    uid: of the ServiceAccount; the server refuses a token for one of the same name that was made anew.
    """
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": [ISSUER],
        "sub": f"system:serviceaccount:{namespace}:{service_account}",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": int(now + seconds),
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": service_account, "uid": uid}},
    }
    signed = f"{_encode(_json({'alg': 'RS256', 'typ': 'JWT'}))}.{_encode(_json(claims))}"
    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    assert isinstance(private, rsa.RSAPrivateKey)
    signature = private.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_encode(signature)}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
