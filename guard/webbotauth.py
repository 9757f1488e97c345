"""Signed requests: who proves with a key, published at an https address, that a request is its own.

The law of this file: it is pure, it never waits, and nothing that a client sends makes it raise. What is cheap is
looked at first; cryptography runs only on a claim that is whole, in time, for this very host, and whose key is known.
A name is given to a request only when `state` is "verified"; everything else is as if it were not signed.

    read_signatures()  the three fields, bounded -> claims with our tag, or why they are none
    verify()           the claims, the keys, the clock -> one Proof

Sources: RFC 9421 (HTTP Message Signatures), draft-ietf-webbotauth-httpsig-protocol-00 and the editor's -01, and for
compatibility draft-meunier-web-bot-auth-architecture; RFC 7638 and RFC 8037 (thumbprints), RFC 9651 (fields).

The only door to http-message-signatures and cryptography. The body of a request is never looked at: a covered
Content-Digest proves what the field says, not what follows.
"""

from __future__ import annotations

import heapq
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b, sha256
from math import inf
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, cast

import http_sf
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from http_message_signatures import (
    HTTPMessageVerifier,
    HTTPSignatureComponentResolver,
    HTTPSignatureKeyResolver,
    algorithms,
)

from guard.hosts import WELL_KNOWN, keys_url
from guard.memo import Memo
from guard.model import Signed

TAG = "web-bot-auth"

MAX_SIGNATURES = 4
MAX_FIELD_BYTES = 16_384
"""Signature-Input, Signature and Signature-Agent together."""

MAX_COVERED = 32
MAX_KEYID_CHARS = 256
MAX_NONCE_CHARS = 512
MAX_REPLAYS = 100_000
SKEW_S = 30.0
"""So far the signer's clock may be from ours, both ways."""

State = Literal["verified", "invalid", "unverified", "pending", "absent"]
PublicKey: TypeAlias = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_ALGORITHMS: dict[str, type[algorithms.HTTPSignatureAlgorithm]] = {
    "ed25519": algorithms.ED25519,
    "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
    "ecdsa-p384-sha384": algorithms.ECDSA_P384_SHA384,
    "rsa-pss-sha512": algorithms.RSA_PSS_SHA512,
}
_JWK_ALGORITHMS = {
    "EdDSA": "ed25519",
    "Ed25519": "ed25519",
    "ES256": "ecdsa-p256-sha256",
    "ES384": "ecdsa-p384-sha384",
    "PS512": "rsa-pss-sha512",
}
_CURVES: dict[str, tuple[ec.EllipticCurve, int, str]] = {
    "P-256": (ec.SECP256R1(), 32, "ecdsa-p256-sha256"),
    "P-384": (ec.SECP384R1(), 48, "ecdsa-p384-sha384"),
}
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 4096
_MILLISECONDS = 1e11  # some publish nbf and exp in milliseconds; as seconds this would be the year 5138

TEST_KEYS = frozenset(
    {
        "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U",
        "oD0HwocPBSfpNy5W3bpJeyFGY_IQ_YpqxSjQ3Yd-CLA",
        "ydQXMtvbsOsZyFir-Y7A8t7fKEM1gbKPvyFkdpu4fvI",
    }
)
"""Thumbprints of the keys whose private halves stand in RFC 9421, B.1.2 to B.1.4."""

_DERIVED = frozenset({"@method", "@authority", "@scheme", "@target-uri", "@request-target", "@path", "@query"})
_HOSTS = frozenset({"@authority", "@target-uri"})
_PATHS = frozenset({"@path", "@target-uri", "@request-target"})
_PARAMETERS = frozenset({"alg", "created", "expires", "keyid", "nonce", "tag"})
_FIELDS = (b"signature-input", b"signature", b"signature-agent")
_MARKS = ((b'"', 512), (b";", 256), (b" ", 256), (b",", 32), (b"\\", 32), (b"%", 64))
"""More of these than any honest field has would only be work for the parser."""

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*+")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}+(?<!-)")
_OWN_NAMES = frozenset(
    (
        *("alt", "arpa", "corp", "home", "internal", "intranet", "lan"),
        *("local", "localdomain", "localhost", "onion", "private"),
    )
)
"""Top-level names that are never somebody's public directory."""


class Proof(NamedTuple):
    """What a request's signatures prove. `reason` is in words and quotes nothing.

    verified    `directory` (the address of the keys) vouches for it, until `expires_s`
    invalid     a structure, a time or a signature that is wrong; `replayed`: it was seen before
    unverified  nothing can be said: no key, no agent, nothing that may be asked
    pending     the keys are asked for at this moment
    absent      no signature with our tag

    `keyid` and `label` are what was claimed, at most 256 characters of visible ASCII.
    """

    state: State
    reason: str = ""
    directory: str = ""
    keyid: str = ""
    label: str = ""
    expires_s: float = 0.0
    replayed: bool = False


ABSENT = Proof("absent", "no signature with this tag")


@dataclass(frozen=True)
class Settings:
    """What the policy allows. Raises ValueError for a directory that is no https address.

    `directories`: origins (https://HOST) and addresses of JWK Sets (https://HOST/PATH) that are asked for keys.
    `discover`: others may be asked, too, at an origin or below its /.well-known/. `require_path`: a signature must
    cover the path. `legacy`: accept what came before -01: Signature-Agent as a bare string, members under another key
    than the label's or with `type=jwks_uri`, and keys that are not named by their thumbprint.
    """

    directories: tuple[str, ...] = ()
    discover: bool = False
    require_path: bool = False
    legacy: bool = True
    max_validity_s: float = 86_400.0
    allow_http: bool = False
    allow_test_keys: bool = False

    def __post_init__(self) -> None:
        for text in self.directories:
            if not keys_url(text):
                raise ValueError(f"{text!r} is no address like https://HOST or https://HOST/PATH")

    @cached_property
    def urls(self) -> frozenset[str]:
        """Where the keys of `directories` are."""
        return frozenset(map(keys_url, self.directories))


@dataclass(frozen=True, slots=True)
class Key:
    """A published public key. `kid` is the name its publisher gave it, or ""; times are seconds since 1970."""

    algorithm: str
    thumbprint: str
    public: PublicKey
    kid: str = ""
    not_before_s: float = -inf
    expires_s: float = inf

    @property
    def keyid(self) -> str:
        """The name it is found under: its thumbprint, or a name that does not look like one."""
        return self.kid if self.kid and not _THUMBPRINT.fullmatch(self.kid) else self.thumbprint


class Claim(NamedTuple):
    """One signature that is whole: what it covers (name and parameters), by whom, until when, and its bytes."""

    label: str
    covered: tuple[tuple[str, Mapping[str, Any]], ...]
    parameters: Mapping[str, Any]
    signature: bytes
    directory: str

    @property
    def keyid(self) -> str:
        return cast(str, self.parameters["keyid"])

    @property
    def nonce(self) -> str | None:
        return self.parameters.get("nonce")

    def refused(self, state: State, reason: str, *, replayed: bool = False) -> Proof:
        return Proof(state, reason, keyid=self.keyid, label=self.label, replayed=replayed)


Keys = Callable[[str, str], Key | str]
"""The key of an address and a keyid; or "pending", "missing", "unreachable" or "refused"."""

_NO_KEY: Mapping[str, tuple[State, str]] = {
    "pending": ("pending", "its keys are being asked for"),
    "missing": ("unverified", "its directory does not have this key"),
    "unreachable": ("unverified", "its directory does not answer"),
    "refused": ("unverified", "its directory may not be asked"),
}
_RANK: Mapping[str, int] = {"verified": 4, "pending": 3, "invalid": 2, "unverified": 1, "absent": 0}


class Replays:
    """Which signatures were seen, until they expire. At most `capacity`; beyond, those that expire first are forgotten.

    The law: with a nonce, a signature counts once: whoever sends the (directory, keyid, nonce) again repeats it.
    Without one the signature itself is remembered, and whose request it was first: the same client may send its
    fields again as long as they are valid, from any other client they are stolen or shared, and count as repeated.
    Only what was proved is remembered, so that nobody can use up another's nonce. One worker knows its own only.

    `checked` remembers what cryptography said of the same bytes, so that it is asked once.
    """

    def __init__(self, capacity: int = MAX_REPLAYS) -> None:
        self.capacity = capacity
        self.evicted = 0
        self.checked: Memo[bytes, bool] = Memo(4096)
        self._first: dict[bytes, bytes] = {}
        self._ends: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._first)

    def repeats(self, claim: Claim, client: str, now_s: float) -> bool:
        """Was it seen before, in a way that makes this a repetition?"""
        self._forget(now_s)
        first = self._first.get(_sighting(claim))
        return first is not None and (claim.nonce is not None or first != _digest(client.encode()))

    def note(self, claim: Claim, client: str, now_s: float) -> None:
        """Remember a signature that was proved."""
        self._forget(now_s)
        sighting = _sighting(claim)
        if sighting in self._first:
            return
        if len(self._first) >= self.capacity:
            self.evicted += 1
            del self._first[heapq.heappop(self._ends)[1]]
        self._first[sighting] = _digest(client.encode())
        heapq.heappush(self._ends, (claim.parameters["expires"] + SKEW_S, sighting))

    def _forget(self, now_s: float) -> None:
        while self._ends and self._ends[0][0] < now_s:
            del self._first[heapq.heappop(self._ends)[1]]


def _sighting(claim: Claim) -> bytes:
    if claim.nonce is not None:
        return _digest(b"nonce", claim.directory.encode(), claim.keyid.encode(), claim.nonce.encode())
    # Half of it says which it is; of the other half of an ECDSA signature anybody can make a second one that holds.
    half = claim.signature[: len(claim.signature) // 2]
    return _digest(b"signature", claim.directory.encode(), claim.keyid.encode(), half)


def _digest(*parts: bytes) -> bytes:
    """16 bytes that stand for these parts and for no other ones."""
    found = blake2b(digest_size=16)
    for part in parts:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)
    return found.digest()


# -- the steps


def verify(
    signed: Signed,
    keys: Keys,
    *,
    now_s: float,
    settings: Settings,
    client: str = "",
    replays: Replays | None = None,
) -> Proof:
    """What the signatures of a request prove at `now_s` (seconds since 1970). Never raises, never waits.

    `client` is whose request it is (for signatures without a nonce). The first claim that holds is the answer; when
    none does, the one that says most.
    """
    best = ABSENT
    for claim in read_signatures(signed, settings):
        proof = claim if isinstance(claim, Proof) else _prove(claim, signed, keys, now_s, settings, client, replays)
        if proof.state == "verified":
            return proof
        if _RANK[proof.state] > _RANK[best.state]:
            best = proof
    return best


def read_signatures(signed: Signed, settings: Settings) -> tuple[Claim | Proof, ...]:
    """The claims that bear our tag; a Proof stands for one that is not whole. () when there are none.

    Costs no cryptography. Signatures with another tag, or none, are somebody else's and are passed over.
    """
    inputs, signatures, agents = (_field(signed.headers, name) for name in _FIELDS)
    if TAG.encode() not in inputs:
        return ()
    if len(inputs) + len(signatures) + len(agents) > MAX_FIELD_BYTES:
        return (Proof("invalid", f"its fields are longer than {MAX_FIELD_BYTES} bytes"),)
    if inputs.count(b"=(") > MAX_SIGNATURES or any(map(_crowded, (inputs, signatures, agents))):
        return (Proof("invalid", f"more than {MAX_SIGNATURES} signatures, or too much in one"),)
    members = _dictionary(inputs)
    if members is None:
        return (Proof("invalid", "Signature-Input cannot be read"),)
    if len(members) > MAX_SIGNATURES:
        return (Proof("invalid", f"more than {MAX_SIGNATURES} signatures"),)
    ours = {label: member for label, member in members.items() if member[1].get("tag") == TAG}
    if not ours:
        return ()
    if signed.scheme != "https" and not settings.allow_http:
        return (Proof("unverified", "it came over plain HTTP"),)
    if not signed.authority:
        return (Proof("unverified", "it has no Host"),)
    values = _dictionary(signatures)
    if values is None:
        return (Proof("invalid", "Signature cannot be read"),)
    agent = _read_agents(agents)
    return tuple(_read_claim(label, ours[label], values, agent, signed, settings) for label in ours)


# -- reading a claim


class _Agents(NamedTuple):
    """Signature-Agent: its members, or the bare string that it once was."""

    members: Mapping[str, tuple[Any, Mapping[str, Any]]] | None = None
    bare: str | None = None


def _field(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return b", ".join(value.strip(b" \t") for field, value in headers if field == name)


def _crowded(field: bytes) -> bool:
    return any(field.count(mark) > most for mark, most in _MARKS)


def _dictionary(field: bytes) -> dict[str, tuple[Any, dict[str, Any]]] | None:
    """An RFC 9651 Dictionary of (value, parameters); None when it is none, or a key stands in it twice."""
    try:
        return cast(
            dict[str, tuple[Any, dict[str, Any]]],
            http_sf.parse(field, tltype="dictionary", on_duplicate_key=_refuse_twice),
        )
    except (ValueError, OverflowError, OSError):  # a Date beyond all calendars is an OSError or OverflowError
        return None


def _refuse_twice(key: str, where: str) -> None:
    raise ValueError("a key stands there twice")


def _read_agents(field: bytes) -> _Agents | None:
    """None when it cannot be read; neither members nor a string when it is not there."""
    if not field:
        return _Agents()
    if not field.startswith(b'"'):
        members = _dictionary(field)
        return None if members is None else _Agents(members)
    try:
        value, parameters = cast(tuple[Any, dict[str, Any]], http_sf.parse(field, tltype="item"))
    except (ValueError, OverflowError, OSError):
        return None
    return None if parameters else _Agents(bare=value)


def _read_claim(
    label: str,
    member: tuple[Any, Mapping[str, Any]],
    values: Mapping[str, tuple[Any, Any]],
    agents: _Agents | None,
    signed: Signed,
    settings: Settings,
) -> Claim | Proof:
    items, parameters = member
    keyid = parameters.get("keyid")
    named = Proof("invalid", keyid=keyid[:MAX_KEYID_CHARS] if isinstance(keyid, str) else "", label=label[:64])

    if wrong := _wrong_parameters(parameters):
        return named._replace(reason=wrong)
    signature = values[label][0] if label in values else None
    if not isinstance(signature, bytes) or not 0 < len(signature) <= 1024:
        return named._replace(reason="Signature has no bytes for it")
    if not isinstance(items, list) or not 0 < len(items) <= MAX_COVERED:
        return named._replace(reason="it does not list what it covers")
    covered = tuple((name, given) for name, given in items)
    if len({(str(name), frozenset(given.items())) for name, given in covered}) < len(covered):
        return named._replace(reason="it covers something twice")
    sent = {field for field, _ in signed.headers}
    for name, given in covered:
        if not isinstance(name, str) or name != name.lower():
            return named._replace(reason="what it covers is no name in lower case")
        if name.startswith("@"):
            if name not in _DERIVED or given:
                return named._replace(state="unverified", reason="it covers something that is not understood here")
        elif given and (list(given) != ["key"] or not isinstance(given["key"], str)):
            return named._replace(state="unverified", reason="it covers a field in a way that is not understood here")
        elif name.encode("ascii") not in sent:
            if name == "signature-agent":
                return named._replace(state="unverified", reason="there is no Signature-Agent")
            return named._replace(reason="it covers a field that was not sent")
    names = {name for name, _ in covered}
    if not names & _HOSTS:
        return named._replace(reason="it does not cover the host, so that it may be for another one")
    if settings.require_path and not names & _PATHS:
        return named._replace(state="unverified", reason="it does not cover the path")
    if keyid in TEST_KEYS and not settings.allow_test_keys:
        return named._replace(reason="the private half of its key stands in RFC 9421")
    if not settings.legacy and not _THUMBPRINT.fullmatch(parameters["keyid"]):
        return named._replace(reason="it does not name its key by a thumbprint")
    directory, why = _directory(label, covered, agents, settings)
    if not directory:
        return named._replace(state="unverified", reason=why)
    return Claim(label[:64], covered, parameters, signature, directory)


def _wrong_parameters(parameters: Mapping[str, Any]) -> str:
    """Why these are not the parameters of our profile; "" when they are."""
    if not parameters.keys() <= _PARAMETERS:
        return "it has a parameter that is not known"
    if type(parameters.get("created")) is not int or type(parameters.get("expires")) is not int:
        return "created and expires must both be there, in whole seconds"
    keyid, nonce, alg = parameters.get("keyid"), parameters.get("nonce", ""), parameters.get("alg", "ed25519")
    if not isinstance(keyid, str) or not 0 < len(keyid) <= MAX_KEYID_CHARS:
        return "it does not name its key"
    if not isinstance(nonce, str) or len(nonce) > MAX_NONCE_CHARS:
        return "its nonce is no text, or too long"
    if not isinstance(alg, str) or alg not in _ALGORITHMS:
        return "its algorithm is not one of this profile"
    return ""


def _directory(
    label: str, covered: Sequence[tuple[str, Mapping[str, Any]]], agents: _Agents | None, settings: Settings
) -> tuple[str, str]:
    """Where the keys of a claim are, or "" and why there are none."""
    if agents is None:
        return "", "Signature-Agent cannot be read"
    keyed = [given.get("key") for name, given in covered if name == "signature-agent"]
    if not keyed:
        return "", "it does not cover Signature-Agent"
    value: Any
    given: Mapping[str, Any] = {}
    if agents.bare is not None:
        if not settings.legacy or keyed != [None]:
            return "", "Signature-Agent is a bare string"
        value = agents.bare
    else:
        members = agents.members or {}
        key = label
        if label not in keyed:
            # Older signers name the member as they like, or cover the field as a whole.
            if not settings.legacy or len(keyed) != 1:
                return "", "it does not cover its own member of Signature-Agent"
            if keyed[0] is not None:
                if label in members:
                    return "", "it covers another member of Signature-Agent than its own"
                key = keyed[0]
            elif label not in members and len(members) == 1:
                key = next(iter(members))
        if key not in members:
            return "", "Signature-Agent has no member for it"
        value, given = members[key]
    if not isinstance(value, str):
        return "", "Signature-Agent is no text"
    url = keys_url(value)
    if not url:
        return "", "Signature-Agent is no https address of a host"
    typed = bool(given)
    if typed and not (settings.legacy and list(given) == ["type"] and str(given["type"]) == "jwks_uri"):
        return "", "its member of Signature-Agent has parameters"
    if typed and url.endswith(WELL_KNOWN) and not value.endswith(WELL_KNOWN):
        return "", "Signature-Agent is no address of a JWK Set"
    if url in settings.urls or (settings.discover and _public(url)):
        return url, ""
    return "", "its directory is not one that may be asked"


def _public(url: str) -> bool:
    """May an address that nobody listed be asked? Only of a name that can be somebody's, and a well-known path.

    A free choice of the path would let anybody send our requests to any page.
    """
    host, _, path = url[8:].partition("/")
    labels = host.split(".")
    return (
        len(host) <= 253
        and len(labels) > 1
        and all(map(_LABEL.fullmatch, labels))
        and labels[-1][0].isalpha()  # what ends in a number is read as an address by somebody
        and labels[-1] not in _OWN_NAMES
        and path.startswith(".well-known/")
    )


# -- proving a claim


def _prove(
    claim: Claim,
    signed: Signed,
    keys: Keys,
    now_s: float,
    settings: Settings,
    client: str,
    replays: Replays | None,
) -> Proof:
    created, expires = claim.parameters["created"], claim.parameters["expires"]
    if created > now_s + SKEW_S:
        return claim.refused("invalid", "it was created in the future")
    if expires < now_s - SKEW_S:
        return claim.refused("invalid", "it has expired")
    if not 0 < expires - created <= settings.max_validity_s:
        return claim.refused("invalid", "it is valid for too long, or for no time")
    if replays is not None and replays.repeats(claim, client, now_s):
        return claim.refused("invalid", "it was sent before", replayed=True)
    key = keys(claim.directory, claim.keyid)
    if not isinstance(key, Key):
        return claim.refused(*_NO_KEY.get(key, _NO_KEY["missing"]))
    if _THUMBPRINT.fullmatch(claim.keyid) and key.thumbprint != claim.keyid:
        return claim.refused("invalid", "its key is another one than it names")
    if key.thumbprint in TEST_KEYS and not settings.allow_test_keys:
        return claim.refused("invalid", "the private half of its key stands in RFC 9421")
    if claim.parameters.get("alg", key.algorithm) != key.algorithm:
        return claim.refused("invalid", "its algorithm is not its key's")
    if not key.not_before_s - SKEW_S <= now_s <= key.expires_s + SKEW_S:
        return claim.refused("invalid", "its key is not valid at this time")
    if not _checked(claim, signed, key, replays):
        return claim.refused("invalid", "the signature does not fit the request")
    if replays is not None:
        replays.note(claim, client, now_s)
    return Proof("verified", "", claim.directory, claim.keyid, claim.label, float(expires))


def _checked(claim: Claim, signed: Signed, key: Key, replays: Replays | None) -> bool:
    if replays is None:
        return signature_holds(signed, claim, key)
    names = {name.encode() for name, _ in claim.covered}.union(_FIELDS)
    lines = [part for line in signed.headers if line[0] in names for part in line]
    whole = _digest(
        key.thumbprint.encode(),
        claim.label.encode(),
        signed.method.encode("latin-1", "replace"),
        signed.scheme.encode("latin-1", "replace"),
        signed.authority.encode("latin-1", "replace"),
        signed.target,
        signed.query,
        *lines,
    )
    known = replays.checked.young.get(whole)
    if known is None and (known := replays.checked.get(whole)) is None:
        known = signature_holds(signed, claim, key)
        replays.checked.keep(whole, known)
    return known


def signature_holds(signed: Signed, claim: Claim, key: Key) -> bool:
    """Was exactly what the claim covers of this request signed with the key? Nothing but that; costs cryptography."""
    covered = [(name, dict(given)) for name, given in claim.covered]
    try:
        message = _Message(
            signed.method,
            _URL,
            {
                "signature-input": http_sf.ser({"sig": (cast(Any, covered), dict(claim.parameters))}),
                "signature": http_sf.ser({"sig": (claim.signature, {})}),
            },
            signed,
        )
        verifier = _Verifier(
            signature_algorithm=_ALGORITHMS[key.algorithm],
            key_resolver=_OneKey(key),
            component_resolver_class=_Components,
        )
        verifier.verify(message, max_age=None, expect_tag=claim.parameters.get("tag"))
    except Exception:  # noqa: BLE001  # whatever an attacker's fields do in there, they prove nothing
        return False
    return True


_URL = "https://guard.invalid/"  # the library's own parser refuses paths that are sent every day


class _Message(NamedTuple):
    """The library's picture of a request: the one signature that is looked at, and all that it may cover."""

    method: str
    url: str
    headers: Mapping[str, str]
    signed: Signed


class _Lines(Protocol):
    def items(self) -> Iterable[tuple[str, str]]: ...


class _All:
    """Every line as sent, names repeated."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._headers = headers

    def items(self) -> Iterable[tuple[str, str]]:
        return ((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._headers)


class _Whole(NamedTuple):
    method: str
    url: str
    headers: _Lines


class _Parts(NamedTuple):
    """The target's parts as they were sent, in the shape of the library's own parser. Nothing is put right here."""

    scheme: str
    host: str
    port: str | None
    path: str
    query: str | None

    @property
    def authority(self) -> str:
        return self.host if self.port is None else f"{self.host}:{self.port}"

    @property
    def query_suffix(self) -> str:
        return "" if self.query is None else "?" + self.query


def _parts(signed: Signed) -> _Parts:
    """RFC 9110, 4.2.3: the host in lower case, no default port; path and query byte for byte."""
    authority = signed.authority.lower()
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        host, port = authority, ""
    if port == {"https": "443", "http": "80"}.get(signed.scheme):
        port = ""
    path, mark, query = signed.target.partition(b"?")
    if not mark and signed.query:
        mark, query = b"?", signed.query
    return _Parts(signed.scheme, host, port or None, path.decode("latin-1"), query.decode("latin-1") if mark else None)


class _Components(HTTPSignatureComponentResolver):
    """Answers what a signature covers from the request as it was sent."""

    def __init__(self, message: _Message) -> None:
        signed = message.signed
        super().__init__(_Whole(signed.method, _URL, _All(signed.headers)))  # type: ignore[no-untyped-call]
        self.url_parts: Any = _parts(signed)


class _Verifier(HTTPMessageVerifier):
    """One key, one algorithm, one request."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        """The times were looked at before, by the clock that was given."""


class _OneKey(HTTPSignatureKeyResolver):
    """The key of this claim's own directory, whatever else bears its name."""

    def __init__(self, key: Key) -> None:
        self._key = key

    def resolve_public_key(self, key_id: str) -> PublicKey:
        return self._key.public


# -- keys


def read_jwk(jwk: object) -> Key:
    """A public key of a JWK (RFC 7517): Ed25519, P-256, P-384, or RSA of 2048 to 4096 bits. Raises ValueError.

    A private key that was published is nobody's proof, and is refused.
    """
    if not isinstance(jwk, Mapping):
        raise ValueError("a key is no mapping")
    if "d" in jwk or "k" in jwk:
        raise ValueError("a private key was published")
    if jwk.get("use", "sig") != "sig":
        raise ValueError("a key is not for signatures")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("a key is not for verifying")
    public: PublicKey
    required: tuple[str, ...]
    match jwk.get("kty"):
        case "OKP" if jwk.get("crv") == "Ed25519":
            algorithm, required = "ed25519", ("crv", "kty", "x")
            public = ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk, "x", 32))
        case "EC" if isinstance(jwk.get("crv"), str) and jwk["crv"] in _CURVES:
            curve, size, algorithm = _CURVES[jwk["crv"]]
            required = ("crv", "kty", "x", "y")
            x, y = (int.from_bytes(_bytes(jwk, name, size), "big") for name in ("x", "y"))
            public = ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
        case "RSA":
            algorithm, required = "rsa-pss-sha512", ("e", "kty", "n")
            e, n = _bytes(jwk, "e", 0), _bytes(jwk, "n", 0)
            bits = int.from_bytes(n, "big").bit_length()
            if n[:1] == b"\0" or e[:1] == b"\0" or len(e) > 4 or not _MIN_RSA_BITS <= bits <= _MAX_RSA_BITS:
                raise ValueError("an RSA key is too short or too long")
            public = rsa.RSAPublicNumbers(int.from_bytes(e, "big"), int.from_bytes(n, "big")).public_key()
        case _:
            raise ValueError("a key is of a kind that is not known")
    said = jwk.get("alg", algorithm)
    if not isinstance(said, str) or _JWK_ALGORITHMS.get(said, said) != algorithm:
        raise ValueError("a key is for an algorithm that is not known")
    kid = jwk.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KEYID_CHARS:
        raise ValueError("the name of a key is no text, or too long")
    text = ",".join(f'"{name}":"{jwk[name]}"' for name in required)
    return Key(
        algorithm,
        _encode(sha256(f"{{{text}}}".encode()).digest()),  # RFC 7638, 3.2 and 3.3: nothing of this needs an escape
        public,
        kid,
        _moment(jwk, "nbf", -inf),
        _moment(jwk, "exp", inf),
    )


def _bytes(jwk: Mapping[str, Any], name: str, size: int) -> bytes:
    """A member in base64url, in its one spelling; `size` 0 is any. Raises ValueError."""
    text = jwk.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= 1024 or not _BASE64URL.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("a key's number is no base64url")
    found = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(found) != text or (size and len(found) != size):
        raise ValueError("a key's number is not of its size")
    return found


def _encode(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _moment(jwk: Mapping[str, Any], name: str, otherwise: float) -> float:
    """nbf or exp in seconds since 1970. Raises ValueError."""
    if name not in jwk:
        return otherwise
    said = jwk[name]
    if isinstance(said, bool) or not isinstance(said, int | float) or not 0 <= said <= 1e18:
        raise ValueError(f"{name} of a key is no time")
    return said / 1000 if said > _MILLISECONDS else float(said)
