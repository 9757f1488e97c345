"""Signs requests as an agent would, with a signature base of its own making (RFC 9421, 2.5): a second reading of it.

    agent = Agent.ed25519()
    signed = agent.signed(target=b"/track/7", covered=("@authority", "@path", AGENT))

Nothing here parses fields as the guard does: components are text, put together by hand.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256, sha512
from hmac import compare_digest, digest
from typing import Any
from urllib.parse import quote, unquote_plus, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from guard.webbotauth import Signed

NOW_S = 1_764_000_000.0
ORIGIN = "https://bot.example"
DIRECTORY = ORIGIN + "/.well-known/http-message-signatures-directory"
AGENT = '"signature-agent";key="sig1"'

_COMPONENT = re.compile(r'"[^"]*"(?:;[a-z-]+(?:="[^"]*")?)*')


@dataclass(frozen=True)
class Agent:
    """One who signs, with a private key of his own."""

    private: Any
    algorithm: str

    @staticmethod
    def ed25519(seed: int = 1) -> Agent:
        return Agent(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), "ed25519")

    @staticmethod
    def p256(secret: int = 7) -> Agent:
        return Agent(ec.derive_private_key(secret, ec.SECP256R1()), "ecdsa-p256-sha256")

    @staticmethod
    def p384(secret: int = 7) -> Agent:
        return Agent(ec.derive_private_key(secret, ec.SECP384R1()), "ecdsa-p384-sha384")

    @staticmethod
    def rsa(bits: int = 2048) -> Agent:
        return Agent(rsa.generate_private_key(65537, bits), "rsa-pss-sha512")

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public half; `more` are further members, None takes one away."""
        public = self.private.public_key()
        found: dict[str, Any]
        if isinstance(public, ed25519.Ed25519PublicKey):
            found = {"kty": "OKP", "crv": "Ed25519", "x": _text(public.public_bytes_raw())}
        elif isinstance(public, ec.EllipticCurvePublicKey):
            size = public.curve.key_size // 8
            numbers = public.public_numbers()
            found = {"kty": "EC", "crv": f"P-{public.curve.key_size}"}
            found |= {"x": _number(numbers.x, size), "y": _number(numbers.y, size)}
        else:
            numbers = public.public_numbers()
            found = {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
        found |= {"kid": self.thumbprint_of(found), **more}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def thumbprint(self) -> str:
        return str(self.jwk()["kid"])

    @staticmethod
    def thumbprint_of(jwk: dict[str, Any]) -> str:
        """RFC 7638."""
        required = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
        return _text(sha256(json.dumps(required, sort_keys=True, separators=(",", ":")).encode()).digest())

    def sign(self, base: str) -> bytes:
        octets = base.encode("ascii")
        if self.algorithm == "ed25519":
            return bytes(self.private.sign(octets))
        if self.algorithm == "rsa-pss-sha512":
            return bytes(self.private.sign(octets, padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512()))
        size = self.private.curve.key_size // 8
        hashed = hashes.SHA256() if size == 32 else hashes.SHA384()
        r, s = decode_dss_signature(self.private.sign(octets, ec.ECDSA(hashed)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def signed(
        self,
        *,
        method: str = "GET",
        scheme: str = "https",
        authority: str = "media.example",
        target: bytes = b"/track/7",
        query: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        agent: str | None = f'sig1="{ORIGIN}"',
        covered: Sequence[str] = ("@authority", AGENT),
        label: str = "sig1",
        signed_for: str = "",
        **parameters: Any,
    ) -> Signed:
        """A request with one signature. `covered` are names, or whole components as they stand in the field.

        `agent` is Signature-Agent (None: not sent); `signed_for` another host than the one it is sent to. `parameters`
        take the place of the usual ones, None takes one away, and text that begins with ( is put in as it is.
        """
        lines = [(b"host", authority.encode()), *headers]
        if agent is not None:
            lines.append((b"signature-agent", agent.encode("latin-1")))
        params = parameters_text(covered, {**self.usual(), **parameters})
        asked = Signed(method, scheme, signed_for or authority, target, query, tuple(lines))
        signature = self.sign(signature_base(params, lambda component: value_of(asked, component)))
        lines += [
            (b"signature-input", f"{label}={params}".encode("latin-1")),
            (b"signature", f"{label}=:{b64encode(signature).decode()}:".encode()),
        ]
        return Signed(method, scheme, authority, target, query, tuple(lines))

    def usual(self) -> dict[str, Any]:
        created = int(NOW_S) - 5
        return {
            "created": created,
            "expires": created + 60,
            "keyid": self.thumbprint,
            "alg": None,
            "nonce": None,
            "tag": "web-bot-auth",
        }


def joined(*several: Signed) -> Signed:
    """The first request, with the signatures of all of them."""
    fields = (b"signature-input", b"signature", b"signature-agent")
    lines = [line for line in several[0].headers if line[0] not in fields]
    for name in fields:
        values = dict.fromkeys(value for signed in several for field, value in signed.headers if field == name)
        lines += [(name, value) for value in values]
    return several[0]._replace(headers=tuple(lines))


def put(signed: Signed, name: bytes, value: bytes | None) -> Signed:
    """The request with another value of a field; None: without it."""
    lines = [(field, value if field == name else old) for field, old in signed.headers]
    return signed._replace(headers=tuple((field, new) for field, new in lines if new is not None))


def field_of(signed: Signed, name: bytes) -> bytes:
    return b", ".join(value for field, value in signed.headers if field == name)


def parameters_text(covered: Sequence[str], parameters: dict[str, Any]) -> str:
    """The value of @signature-params."""
    components = " ".join(name if name.startswith('"') else f'"{name}"' for name in covered)
    text = f"({components})"
    for name, value in parameters.items():
        if value is not None:
            text += f";{name}={value}" if isinstance(value, int | float) else f';{name}="{value}"'
    return text


def signature_base(params: str, value: Callable[[str], str]) -> str:
    """RFC 9421, 2.5: a line for each component that `params` begins with, then `params` themselves."""
    inner = params[1 : params.index(")")]
    lines = [f"{component}: {value(component)}" for component in _COMPONENT.findall(inner)]
    return "\n".join([*lines, f'"@signature-params": {params}'])


def value_of(signed: Signed, component: str) -> str:
    """The value of a component of a request (RFC 9421, 2.1 and 2.2)."""
    name, _, parameter = component.partition(";")
    name = name.strip('"')
    host = signed.authority.lower().removesuffix(":443" if signed.scheme == "https" else ":80")
    path, mark, query = signed.target.decode("latin-1").partition("?")
    if signed.query:
        mark, query = "?", signed.query.decode("latin-1")
    match name:
        case "@method":
            return signed.method
        case "@authority":
            return host
        case "@scheme":
            return signed.scheme
        case "@path":
            return path or "/"
        case "@query":
            return "?" + query
        case "@request-target":
            return (path or "/") + mark + query
        case "@target-uri":
            return f"{signed.scheme}://{host}{path or '/'}{mark}{query}"
        case "@query-param":
            wanted = parameter.removeprefix('name="').removesuffix('"')
            found = [part.partition("=")[2] for part in query.split("&") if part.partition("=")[0] == wanted]
            return quote(unquote_plus(found[0]), safe="*-._")
    value = ", ".join(line.decode("latin-1").strip() for field, line in signed.headers if field == name.encode())
    if not parameter:
        return value
    key = parameter.removeprefix('key="').removesuffix('"')
    members = dict(part.split("=", 1) for part in value.split(", "))
    return members[key]


# -- the published vectors


def asked(message: dict[str, Any]) -> Signed:
    """A request of a vector, without its signature."""
    parts = urlsplit(message["target_uri"])
    lines = tuple((name.lower().encode(), value.encode()) for name, value in message["headers"])
    return Signed(message["method"], parts.scheme, parts.netloc, parts.path.encode(), parts.query.encode(), lines)


def sent(vector: dict[str, Any]) -> Signed:
    """A vector's request, with its signature."""
    signed = asked(vector["message"])
    lines = ((b"signature-input", vector["signature_input"].encode()), (b"signature", vector["signature"].encode()))
    return signed._replace(headers=signed.headers + lines)


def base_of(vector: dict[str, Any]) -> str:
    """The signature base of a vector, made anew from its message."""
    message = vector["message"]
    params = vector["signature_input"].partition("=")[2]

    def value(component: str) -> str:
        if component == '"@status"':
            return str(message["status"])
        if component.endswith(";req"):
            return value_of(asked(vector["request_of_response"]), component.removesuffix(";req"))
        if "status" in message:
            headers = tuple((name.lower().encode(), text.encode()) for name, text in message["headers"])
            return value_of(Signed("", "", "", b"", b"", headers), component)
        return value_of(asked(message), component)

    return signature_base(params, value)


def signature_of(vector: dict[str, Any]) -> bytes:
    return b64decode(vector["signature"].partition("=")[2].strip(":"))


def fits(algorithm: str, public: Any, base: str, signature: bytes) -> bool:
    """Does a signature fit a base? `public` is a key of cryptography, or the shared secret."""
    octets = base.encode()
    try:
        match algorithm:
            case "hmac-sha256":
                return compare_digest(digest(public, octets, "sha256"), signature)
            case "ed25519":
                public.verify(signature, octets)
            case "rsa-pss-sha512":
                public.verify(signature, octets, padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512())
            case "ecdsa-p256-sha256":
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                public.verify(encode_dss_signature(r, s), octets, ec.ECDSA(hashes.SHA256()))
            case _:
                raise AssertionError(algorithm)
    except InvalidSignature:
        return False
    return True


def nonce(number: int) -> str:
    return b64encode(sha512(str(number).encode()).digest()).decode()


def _text(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def _number(value: int, size: int = 0) -> str:
    return _text(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))
