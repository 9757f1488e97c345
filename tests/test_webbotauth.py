"""Signed requests: only who signed exactly this request, now, for this host, with a key of its own is verified."""

from __future__ import annotations

import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import http_sf
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import example, given
from hypothesis import strategies as st

from guard.replies import accept_signature
from guard.webbotauth import (
    ABSENT,
    MAX_FIELD_BYTES,
    Claim,
    Key,
    Proof,
    Replays,
    Settings,
    Signed,
    read_jwk,
    read_signatures,
    signature_holds,
    verify,
)
from tests import signing
from tests.conftest import SHARED
from tests.signing import AGENT, DIRECTORY, NOW_S, ORIGIN, Agent, field_of, joined, put

VECTORS = SHARED / "vectors" / "web_bot_auth_vectors.json"
BOT = Agent.ed25519()
KEY = read_jwk(BOT.jwk())
OTHER = Agent.ed25519(2)
LISTED = Settings((ORIGIN,))


class Ring:
    """Keys by (address, keyid), and how often one was asked for."""

    def __init__(self, *agents: Agent, url: str = DIRECTORY) -> None:
        self.keys: dict[tuple[str, str], Key | str] = {
            (url, agent.thumbprint): read_jwk(agent.jwk()) for agent in agents or (BOT,)
        }
        self.asked: list[tuple[str, str]] = []

    def __call__(self, url: str, keyid: str) -> Key | str:
        self.asked.append((url, keyid))
        return self.keys.get((url, keyid), "missing")


def proof(
    signed: Signed, *, settings: Settings = LISTED, keys: Callable[[str, str], Key | str] | None = None, **more: Any
) -> Proof:
    return verify(signed, keys or Ring(), settings=settings, **{"now_s": NOW_S, **more})


def refused(signed: Signed, **more: Any) -> Proof:
    """The proof of what must not be verified, and must not be given a name."""
    found = proof(signed, **more)
    assert found.state in ("invalid", "unverified", "absent"), found
    assert found.directory == ""
    assert found.reason
    return found


# -- what is verified


def test_a_request_signed_with_a_listed_key_is_verified() -> None:
    signed = BOT.signed()
    expires = int(NOW_S) + 55
    assert proof(signed) == Proof("verified", "", DIRECTORY, BOT.thumbprint, "sig1", expires)


@pytest.mark.parametrize("agent", [Agent.ed25519(), Agent.p256(), Agent.p384(), Agent.rsa()], ids=lambda a: a.algorithm)
@pytest.mark.parametrize("said", [True, False])
def test_every_algorithm_of_the_profile_is_verified_said_or_not(agent: Agent, said: bool) -> None:
    signed = agent.signed(alg=agent.algorithm if said else None)
    assert proof(signed, keys=Ring(agent)).state == "verified"
    assert proof(signed._replace(authority="other.example"), keys=Ring(agent)).state == "invalid"


def test_a_request_without_our_tag_is_absent_whatever_else_is_wrong_with_it() -> None:
    assert proof(BOT.signed(tag="visa-agent")) == ABSENT
    assert proof(BOT.signed(tag=None)) == ABSENT
    assert proof(Signed("GET", "https", "media.example", b"/", b"", ())) == ABSENT
    assert proof(put(BOT.signed(tag=None), b"signature-input", b"((((")) == ABSENT


def test_a_signature_with_another_tag_does_not_harm_one_with_ours() -> None:
    both = joined(OTHER.signed(tag="visa-agent", label="visa", agent=None, covered=("@authority",)), BOT.signed())
    assert proof(both).state == "verified"
    ours_twice = joined(OTHER.signed(label="a", agent=None, covered=("@authority",)), BOT.signed())
    assert proof(ours_twice).state == "verified"


def test_a_signature_may_cover_the_signature_of_somebody_else() -> None:
    first = BOT.signed()
    again = OTHER.signed(
        label="proxy",
        headers=[(name, field_of(first, name)) for name in (b"signature-input", b"signature")],
        covered=("@authority", '"signature";key="sig1"', '"signature-agent";key="proxy"'),
        agent='proxy="https://bot.example"',
    )
    both = joined(again, first)
    found = [claim for claim in read_signatures(both, LISTED) if isinstance(claim, Claim) and claim.label == "proxy"]
    assert signature_holds(both, found[0], read_jwk(OTHER.jwk()))


@pytest.mark.parametrize(
    ("agent", "covered"),
    [
        (f'"{ORIGIN}"', "signature-agent"),
        (f'agent2="{ORIGIN}"', '"signature-agent";key="agent2"'),
        (f'sig1="{ORIGIN}"', "signature-agent"),
        (f'agent2="{ORIGIN}"', "signature-agent"),
    ],
)
def test_what_came_before_the_present_draft_is_verified_only_where_the_policy_says_so(agent: str, covered: str) -> None:
    signed = BOT.signed(agent=agent, covered=("@authority", covered))
    assert proof(signed).state == "verified"
    assert refused(signed, settings=Settings((ORIGIN,), legacy=False)).state == "unverified"


@pytest.mark.parametrize("value", [ORIGIN, f"{ORIGIN}/", f"{ORIGIN}:443", "https://BOT.example", DIRECTORY])
def test_an_origin_has_one_directory_however_it_is_written(value: str) -> None:
    assert proof(BOT.signed(agent=f'sig1="{value}"')).directory == DIRECTORY


def test_the_address_of_a_jwk_set_is_verified_when_that_very_address_is_listed() -> None:
    url = f"{ORIGIN}/keys/jwks.json"
    signed = BOT.signed(agent=f'sig1="{url}"')
    keys = Ring(url=url)
    assert proof(signed, settings=Settings((url,)), keys=keys).directory == url
    assert refused(signed, settings=Settings((ORIGIN,)), keys=keys).state == "unverified"
    assert refused(signed, settings=Settings((ORIGIN,), discover=True), keys=keys).state == "unverified"
    assert proof(BOT.signed(agent=f'sig1="{url}";type=jwks_uri'), settings=Settings((url,)), keys=keys).directory == url
    assert refused(BOT.signed(agent=f'sig1="{ORIGIN}";type=jwks_uri')).state == "unverified"
    assert refused(BOT.signed(agent=f'sig1="{ORIGIN}";type=cimd')).state == "unverified"


def test_a_well_known_address_may_be_discovered() -> None:
    url = "https://new.example/.well-known/jwks.json"
    signed = BOT.signed(agent=f'sig1="{url}"')
    assert proof(signed, settings=Settings(discover=True), keys=Ring(url=url)).directory == url
    assert refused(signed, keys=Ring(url=url)).state == "unverified"


@pytest.mark.parametrize(("target", "query"), [(b"/p?", b""), (b"", b""), (b"/a%2Fb/%C3%A9//c/../d/./e", b"q=%20+&&=")])
@pytest.mark.parametrize("covered", ["@path", "@query", "@target-uri", "@request-target"])
def test_path_and_query_are_verified_as_they_were_sent(target: bytes, query: bytes, covered: str) -> None:
    signed = BOT.signed(target=target, query=query, covered=("@authority", covered, AGENT))
    assert proof(signed).state == "verified"


SENT_BYTES = st.binary(max_size=30).map(lambda text: bytes(0x21 + byte % 94 for byte in text).replace(b"?", b"%3F"))


@given(
    target=SENT_BYTES,
    query=SENT_BYTES,
    method=st.sampled_from(["GET", "POST", "QUERY"]),
    scheme=st.sampled_from(["https", "http"]),
    authority=st.sampled_from(
        ["media.example", "Media.Example:443", "media.example:80", "media.example:8443", "[::1]:443"]
    ),
    covered=st.permutations(["@method", "@authority", "@scheme", "@target-uri", "@request-target", "@path", "@query"]),
    extra=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
)
@example(target=b"//a//b/", query=b"", method="GET", scheme="https", authority="m:443", covered=["@path"], extra=" ")
def test_whatever_was_sent_verifies_as_another_implementation_signed_it(
    target: bytes, query: bytes, method: str, scheme: str, authority: str, covered: list[str], extra: str
) -> None:
    signed = BOT.signed(
        method=method,
        scheme=scheme,
        authority=authority,
        target=b"/" + target,
        query=query,
        headers=[(b"x-extra", extra.encode()), (b"x-extra", b"more")],
        covered=("@authority", *(name for name in covered if name != "@authority"), "x-extra", AGENT),
    )
    assert proof(signed, settings=Settings((ORIGIN,), allow_http=True)).state == "verified"


# -- the published vectors

NEEDS_VECTORS = pytest.mark.skipif(not VECTORS.exists(), reason="../shared is not here")


def _vectors() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VECTORS.read_text()) if VECTORS.exists() else {"vectors": [], "negative": []}
    return found


TABLE = _vectors()
POSITIVE = [pytest.param(vector, id=vector["id"]) for vector in TABLE["vectors"]]
REQUESTS = [pytest.param(vector, id=vector["id"]) for vector in TABLE["vectors"] if "status" not in vector["message"]]
NEGATIVE = [pytest.param(vector, id=vector["id"]) for vector in TABLE["negative"]]
PRIVATE = ("d", "p", "q", "qi", "dp", "dq")


def published(name: str) -> Key:
    jwk = TABLE["keys"][name]["jwk"]
    return read_jwk({member: value for member, value in jwk.items() if member not in PRIVATE})


def key_of(url: str, keyid: str) -> Key | str:
    """All keys of the vectors, wherever they are asked for."""
    names = [name for name, entry in TABLE["keys"].items() if keyid == entry.get("thumbprint_sha256")]
    return published(names[0]) if names else "missing"


VECTOR_SETTINGS = Settings(
    ("https://signature-agent.test", "https://chatgpt.com", "https://127.0.0.1/keys"),
    max_validity_s=1e10,
    allow_test_keys=True,
)


@NEEDS_VECTORS
@pytest.mark.parametrize("vector", POSITIVE)
def test_every_published_signature_fits_a_base_that_was_made_anew(vector: dict[str, Any]) -> None:
    base = signing.base_of(vector)
    assert base == vector["signature_base"]
    if vector["alg"] == "hmac-sha256":
        public: Any = b64decode(TABLE["keys"][vector["key"]]["base64"])
    else:
        public = published(vector["key"]).public
    assert signing.fits(vector["alg"], public, base, signing.signature_of(vector))


@NEEDS_VECTORS
@pytest.mark.parametrize("vector", REQUESTS)
def test_every_published_signature_of_a_request_holds_and_no_hmac_does(vector: dict[str, Any]) -> None:
    signed, claim = signing.sent(vector), claim_of(vector)
    if vector["alg"] == "hmac-sha256":
        assert not signature_holds(signed, claim, published("test-key-ed25519"))
        return
    key = published(vector["key"])
    assert signature_holds(signed, claim, key)
    assert not signature_holds(signed, claim, KEY)
    assert not signature_holds(signed, claim._replace(parameters={**claim.parameters, "keyid": "x"}), key)
    if claim.covered:
        assert not signature_holds(Signed("PUT", "https", "x", b"/", b"", ()), claim, key)


def claim_of(vector: dict[str, Any]) -> Claim:
    """A vector's signature as a claim, whether or not it is one of our profile."""
    ((label, (items, parameters)),) = http_sf.parse(vector["signature_input"].encode(), tltype="dictionary").items()
    return Claim(label, tuple(items), parameters, signing.signature_of(vector), "")


@NEEDS_VECTORS
@pytest.mark.parametrize("vector", REQUESTS)
def test_every_published_signature_of_our_profile_is_verified(vector: dict[str, Any]) -> None:
    now_s = vector.get("now") or vector.get("created", 1735689600) + 60
    found = verify(signing.sent(vector), key_of, now_s=now_s, settings=VECTOR_SETTINGS)
    if 'tag="web-bot-auth"' not in vector["signature_input"]:
        assert found == ABSENT
    elif "no Signature-Agent" in vector.get("signature_agent_form", ""):
        assert found.state == "unverified"  # sound, but it does not say whose it is
        assert found.directory == ""
    else:
        assert found.state == "verified", found
        assert found.keyid == TABLE["keys"][vector["key"]]["thumbprint_sha256"]
        strict = Settings(VECTOR_SETTINGS.directories, max_validity_s=1e10, allow_test_keys=True, legacy=False)
        current = "dictionary, member key ==" in vector.get("signature_agent_form", "dictionary, member key ==")
        again = verify(signing.sent(vector), key_of, now_s=now_s, settings=strict)
        assert (again.state == "verified") is current


@NEEDS_VECTORS
@pytest.mark.parametrize("vector", NEGATIVE)
def test_every_published_wrong_signature_is_refused(vector: dict[str, Any]) -> None:
    if "status" in vector["message"]:
        base = signing.base_of(vector)
        assert not signing.fits("ed25519", published("test-key-ed25519").public, base, signing.signature_of(vector))
        return
    signed, now_s = signing.sent(vector), vector.get("now", 1618884480)
    listed = ("https://signature-agent.test",)
    settings = Settings(listed, allow_test_keys=True, max_validity_s=1e10 if "NV" in vector["id"] else 86_400)
    found = verify(signed, key_of, now_s=now_s, settings=settings)
    expected = vector["expect"]
    if vector["id"].startswith("rfc9421"):
        assert found == ABSENT
        assert not signature_holds(signed, claim_of(vector), published("test-key-ed25519"))
    elif expected == "accept-for-compat":
        assert found.state == "verified", found
        strict = Settings(listed, allow_test_keys=True, legacy=False)
        assert refused(signed, keys=key_of, settings=strict, now_s=now_s).state == "unverified"
    elif expected == "invalid-on-second-use":
        replays = Replays()
        first, second = (
            verify(signed, key_of, now_s=now_s, settings=settings, replays=replays, client="a") for _ in range(2)
        )
        assert (first.state, second.state, second.replayed) == ("verified", "invalid", True)
    elif expected == "policy":
        assert found.state == "invalid"
        longer = Settings(listed, allow_test_keys=True, max_validity_s=40 * 86_400)
        assert verify(signed, key_of, now_s=now_s, settings=longer).state == "verified"
    elif expected == "ignored":
        assert found == ABSENT
    else:
        assert found.state == expected, found
        assert found.directory == ""


@NEEDS_VECTORS
def test_the_thumbprints_and_pem_files_of_the_vectors_are_those_of_their_keys() -> None:
    for name, entry in TABLE["keys"].items():
        if "jwk" in entry:
            assert published(name).thumbprint == entry["thumbprint_sha256"]
    pem = TABLE["keys"]["test-key-ed25519"]["public_pem"].encode()
    assert load_pem_public_key(pem) == published("test-key-ed25519").public


# -- what is refused


def test_a_signature_for_another_host_is_refused() -> None:
    assert refused(BOT.signed(signed_for="other.example")).state == "invalid"


def test_a_signature_that_names_no_host_is_refused() -> None:
    assert refused(BOT.signed(covered=(AGENT,))).state == "invalid"
    assert refused(BOT.signed(covered=("@path", "@method", AGENT))).state == "invalid"
    assert refused(BOT.signed(authority="")).state == "unverified"


def test_a_signature_that_does_not_cover_its_agent_is_never_given_its_name() -> None:
    assert refused(BOT.signed(covered=("@authority",))).state == "unverified"
    two = f'sig1="{ORIGIN}", agent2="https://other.example"'
    signed = BOT.signed(agent=two, covered=("@authority", '"signature-agent";key="agent2"'))
    settings = Settings((ORIGIN, "https://other.example"))
    assert refused(signed, settings=settings, keys=lambda *_: KEY).state == "unverified"
    assert refused(BOT.signed(agent=None, covered=("@authority",))).state == "unverified"
    assert refused(put(BOT.signed(), b"signature-agent", None)).state == "unverified"


def test_one_agents_key_at_anothers_address_proves_nothing() -> None:
    evil = "https://evil.example"
    settings = Settings((ORIGIN, evil))
    signed = OTHER.signed(agent=f'sig1="{ORIGIN}"')
    assert refused(
        signed, settings=settings, keys=Ring(OTHER, url=f"{evil}/.well-known/http-message-signatures-directory")
    )
    stolen = BOT.signed(agent=f'sig1="{evil}"')
    assert refused(stolen, settings=settings, keys=Ring(BOT)).reason == "its directory does not have this key"


@pytest.mark.parametrize(
    "wrong",
    [
        {"created": int(NOW_S) + 600, "expires": int(NOW_S) + 660},
        {"created": int(NOW_S) + 31, "expires": int(NOW_S) + 60},
        {"created": int(NOW_S) - 100, "expires": int(NOW_S) - 31},
        {"created": int(NOW_S), "expires": int(NOW_S)},
        {"created": int(NOW_S), "expires": int(NOW_S) - 1},
        {"created": int(NOW_S), "expires": int(NOW_S) + 90_000},
        {"created": None},
        {"expires": None},
        {"created": None, "expires": None},
        {"created": f"{int(NOW_S)}"},
        {"expires": NOW_S + 0.5},
        {"keyid": None},
        {"keyid": ""},
        {"keyid": "x" * 300},
        {"nonce": 7},
        {"nonce": "n" * 600},
        {"alg": "hmac-sha256"},
        {"alg": "rsa-v1_5-sha256"},
        {"alg": "ecdsa-p256-sha256"},
        {"alg": "none"},
        {"alg": 1},
        {"more": "x"},
    ],
    ids=str,
)
def test_parameters_that_are_wrong_are_refused_although_they_are_signed(wrong: dict[str, Any]) -> None:
    assert refused(BOT.signed(**wrong)).state == "invalid"


def test_a_clock_that_is_a_little_off_is_forgiven() -> None:
    assert proof(BOT.signed(created=int(NOW_S) + 29, expires=int(NOW_S) + 60)).state == "verified"
    assert proof(BOT.signed(created=int(NOW_S) - 100, expires=int(NOW_S) - 29)).state == "verified"


@pytest.mark.parametrize(
    ("covered", "state"),
    [
        (("@authority", "@authority", AGENT), "invalid"),
        (("@authority", '"signature-agent";key="sig1"', '"signature-agent";key="sig1"'), "invalid"),
        (('"@authority";req', AGENT), "unverified"),
        (("@authority", '"x-extra";sf', AGENT), "unverified"),
        (("@authority", '"x-extra";bs', AGENT), "unverified"),
        (("@authority", '"x-extra";tr', AGENT), "unverified"),
        (("@authority", '"signature-agent";key="sig1";sf'), "unverified"),
        (("@authority", "@status", AGENT), "unverified"),
        (("@authority", '"@query-param";name="a"', AGENT), "unverified"),
        (("@authority", "@signature-params", AGENT), "unverified"),
        (("@authority", "X-Extra", AGENT), "invalid"),
        (("@authority", "x-missing", AGENT), "invalid"),
        (("@authority", *(f"x-{number}" for number in range(40)), AGENT), "invalid"),
        ((), "invalid"),
    ],
    ids=str,
)
def test_what_cannot_be_covered_is_refused_before_any_key_is_looked_up(covered: tuple[str, ...], state: str) -> None:
    signed = BOT.signed(headers=[(b"x-extra", b"a=1")])
    params = signing.parameters_text(covered, BOT.usual())
    keys = Ring()
    assert refused(put(signed, b"signature-input", f"sig1={params}".encode()), keys=keys).state == state
    assert keys.asked == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"signature", None),
        (b"signature", b""),
        (b"signature", b"sig1"),
        (b"signature", b'sig1="text"'),
        (b"signature", b"sig1=::"),
        (b"signature", b"sig1=:AAAA:"),
        (b"signature", b"sig2=:AAAA:"),
        (b"signature", b"sig1=:AAAA:, sig1=:AAAA:"),
        (b"signature", b"sig1=:!!!!:"),
        (b"signature-input", b'sig1="web-bot-auth"'),
        (b"signature-input", b'sig1;tag="web-bot-auth"'),
        (b"signature-input", b'sig1=@99999999999999;tag="web-bot-auth"'),
        (b"signature-input", b'sig1=(@99999999999999);tag="web-bot-auth"'),
        (b"signature-input", b'sig1=("@authority";tag="web-bot-auth"'),
        (b"signature-input", b'sig1=(1 2 3);tag="web-bot-auth"'),
        (b"signature-input", b'sig1=();tag="web-bot-auth";tag="web-bot-auth"'),
        (b"signature-input", b'sig1=()\x00;tag="web-bot-auth"'),
        (b"signature-agent", b"sig1"),
        (b"signature-agent", b"sig1=https"),
        (b"signature-agent", b"sig1=:AAAA:"),
        (b"signature-agent", b'sig1="a", sig1="b"'),
        (b"signature-agent", b'sig1=("https://bot.example")'),
        (b"signature-agent", b'"https://bot.example";x'),
        (b"signature-agent", b'"https://bot.example", "https://bot.example"'),
        (b"signature-agent", b"@99999999999999"),
    ],
    ids=str,
)
def test_fields_that_are_no_structured_fields_are_refused_without_a_look_at_keys(name: bytes, value: bytes) -> None:
    keys = Ring()
    refused(put(BOT.signed(), name, value), keys=keys)
    if value != b"sig1=:AAAA:" or name != b"signature":
        assert keys.asked == []


@pytest.mark.parametrize(
    "value",
    [
        *(
            "http://bot.example",
            "bot.example",
            "HTTPS://bot.example",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "",
        ),
        *("https://bot.example?x", "https://bot.example/?x", "https://bot.example#x", "https://a@bot.example"),
        *("https://bot.example:22", "https://bot.example:0443", "https://bot.example.", "https://bot..example"),
        *("https://bot.example/a/../b", "https://bot.example//", "https://bot.example/%2e", "https://bot.example\\\\x"),
        *("https://127.0.0.1", "https://[::1]", "https://2130706433", "https://0x7f.1", "https://1.2.3.4.5"),
        *("https://[::ffff:127.0.0.1]", "https://0.0.0.0", "https://localhost", "https://bot", "https://a.localhost"),
        *(
            "https://metadata.google.internal",
            "https://printer.local",
            "https://x.onion",
            f"https://{'a' * 300}.example",
        ),
        *(f"https://{'a.' * 150}example", "https://-a.example", "https://a_b.example", "https://bot.example/path"),
        *("https://bot.example/.well-known/../x", "https://bot.example/.well-known", "javascript:alert(1)"),
    ],
)
def test_an_address_that_no_public_directory_has_is_never_asked(value: str) -> None:
    keys = Ring()
    assert (
        refused(BOT.signed(agent=f'sig1="{value}"'), settings=Settings(discover=True), keys=keys).state == "unverified"
    )
    assert keys.asked == []


def test_a_directory_that_is_not_listed_is_never_asked() -> None:
    keys = Ring()
    assert refused(BOT.signed(), settings=Settings(), keys=keys).state == "unverified"
    assert keys.asked == []
    assert proof(BOT.signed(), settings=Settings(discover=True), keys=keys).state == "verified"


@pytest.mark.parametrize(
    "text", ["http://bot.example", "bot.example", "https://a b", "https://bot.example/?q", "https://é"]
)
def test_a_policy_that_lists_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address like"):
        Settings((text,))


def test_a_signature_over_plain_http_is_refused_unless_the_policy_says_otherwise() -> None:
    signed = BOT.signed(scheme="http")
    assert refused(signed).state == "unverified"
    assert proof(signed, settings=Settings((ORIGIN,), allow_http=True)).state == "verified"


def test_a_policy_may_want_the_path_covered() -> None:
    strict = Settings((ORIGIN,), require_path=True)
    assert refused(BOT.signed(), settings=strict).state == "unverified"
    for covered in ("@path", "@target-uri", "@request-target"):
        assert proof(BOT.signed(covered=("@authority", covered, AGENT)), settings=strict).state == "verified"


@NEEDS_VECTORS
def test_the_keys_of_the_rfc_prove_nothing_under_any_name() -> None:
    key = published("test-key-ed25519")
    vector = next(vector for vector in TABLE["vectors"] if vector["id"] == "own-full-cover-ed25519")
    settings = Settings(("https://signature-agent.test",))
    found = refused(signing.sent(vector), keys=lambda *_: key, settings=settings, now_s=vector["now"])
    assert "RFC 9421" in found.reason
    named = BOT.signed(keyid="mine")
    assert "RFC 9421" in refused(named, keys=lambda *_: key).reason


def test_a_key_that_is_not_the_one_it_is_named_for_is_refused_without_cryptography() -> None:
    found = refused(BOT.signed(), keys=lambda *_: read_jwk(OTHER.jwk()))
    assert found.reason == "its key is another one than it names"


def test_an_algorithm_that_is_not_the_keys_is_refused_without_cryptography() -> None:
    replays = Replays()
    found = refused(BOT.signed(alg="rsa-pss-sha512"), replays=replays)
    assert found.reason == "its algorithm is not its key's"
    assert len(replays.checked) == 0


def test_a_key_with_a_name_of_its_own_is_legacy() -> None:
    signed = BOT.signed(keyid="mine")
    assert proof(signed, keys=lambda *_: KEY).state == "verified"
    assert refused(signed, keys=lambda *_: KEY, settings=Settings((ORIGIN,), legacy=False)).state == "invalid"


def test_a_key_counts_only_in_its_own_time() -> None:
    for more, state in (
        ({"nbf": NOW_S + 60}, "invalid"),
        ({"exp": NOW_S - 60}, "invalid"),
        ({"nbf": NOW_S - 60, "exp": NOW_S + 60}, "verified"),
        ({"nbf": (NOW_S - 60) * 1000, "exp": (NOW_S + 60) * 1000}, "verified"),
        ({"exp": (NOW_S - 60) * 1000}, "invalid"),
    ):
        key = read_jwk(BOT.jwk(**more))
        assert proof(BOT.signed(), keys=lambda *_, key=key: key).state == state, more


@pytest.mark.parametrize(
    ("word", "state"),
    [("pending", "pending"), ("missing", "unverified"), ("unreachable", "unverified"), ("refused", "unverified")],
)
def test_without_a_key_nothing_is_known(word: str, state: str) -> None:
    found = proof(BOT.signed(), keys=lambda *_: word)
    assert (found.state, found.directory) == (state, "")
    assert found.keyid == BOT.thumbprint


# -- keys


@pytest.mark.parametrize(
    "change",
    [
        {"d": "AAAA"},
        {"k": "AAAA"},
        {"kty": "oct"},
        {"kty": None},
        {"kty": ["OKP"]},
        {"crv": "X25519"},
        {"crv": ["Ed25519"]},
        {"x": "AAAA"},
        {"x": 1},
        {"x": BOT.jwk()["x"] + "="},
        {"x": BOT.jwk()["x"][:-1] + "é"},
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "RS256"},
        {"alg": 1},
        {"kid": 1},
        {"kid": "x" * 300},
        {"nbf": "soon"},
        {"nbf": True},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": -1},
    ],
    ids=str,
)
def test_a_jwk_that_is_no_public_key_for_signatures_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="key"):
        read_jwk(BOT.jwk(**change))


def test_a_point_beside_the_curve_and_a_short_modulus_are_refused() -> None:
    wrong = Agent.p256().jwk()
    for jwk in (wrong | {"y": wrong["x"]}, wrong | {"crv": "P-521"}, wrong | {"crv": {}}, Agent.rsa(1024).jwk(), []):
        with pytest.raises(ValueError):
            read_jwk(jwk)
    long = Agent.rsa().jwk()
    for change in ({"n": "A" + long["n"][1:]}, {"e": "AAEAAQ"}, {"e": "AQ"}, {"e": "AA"}, {"e": "AQAAAAE"}):
        with pytest.raises(ValueError):
            read_jwk(long | change)


# -- sent again


def test_a_nonce_counts_once_whoever_sends_it() -> None:
    replays = Replays()
    signed = BOT.signed(nonce=signing.nonce(1))
    assert proof(signed, replays=replays, client="a").state == "verified"
    for client in ("a", "b"):
        found = refused(signed, replays=replays, client=client)
        assert (found.state, found.replayed) == ("invalid", True)
    fresh = BOT.signed(nonce=signing.nonce(1), created=int(NOW_S) - 4)
    assert refused(fresh, replays=replays, client="a").replayed
    assert proof(BOT.signed(nonce=signing.nonce(2)), replays=replays, client="a").state == "verified"
    assert proof(OTHER.signed(nonce=signing.nonce(1)), keys=Ring(OTHER), replays=replays).state == "verified"


def test_without_a_nonce_the_same_client_may_send_its_fields_again_and_nobody_else() -> None:
    replays = Replays()
    signed = BOT.signed()
    for client, target, state in (("a", b"/1", "verified"), ("a", b"/2", "verified"), ("b", b"/1", "invalid")):
        found = proof(signed._replace(target=target), replays=replays, client=client)
        assert (found.state, found.replayed) == (state, state == "invalid")


def test_a_signature_that_was_made_over_into_its_twin_is_still_the_same() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    agent, replays = Agent.p256(), Replays()
    signed = agent.signed()
    octets = b64decode(field_of(signed, b"signature").removeprefix(b"sig1=:").removesuffix(b":"))
    s = order - int.from_bytes(octets[32:], "big")
    twin = put(signed, b"signature", b"sig1=:%b:" % b64encode(octets[:32] + s.to_bytes(32, "big")))
    assert proof(twin, keys=Ring(agent)).state == "verified"
    assert proof(signed, keys=Ring(agent), replays=replays, client="a").state == "verified"
    assert refused(twin, keys=Ring(agent), replays=replays, client="thief").replayed


def test_what_was_not_proved_uses_up_nothing() -> None:
    replays = Replays()
    forged = put(BOT.signed(nonce=signing.nonce(1)), b"signature", b"sig1=:%b:" % (b"A" * 86 + b"=="))
    assert not refused(forged, replays=replays, client="thief").replayed
    assert len(replays) == 0
    assert proof(BOT.signed(nonce=signing.nonce(1)), replays=replays, client="a").state == "verified"


def test_what_has_expired_is_forgotten_and_the_table_stays_bounded() -> None:
    replays = Replays(capacity=10)
    for number in range(15):
        assert proof(BOT.signed(nonce=signing.nonce(number)), replays=replays).state == "verified"
    assert len(replays) == 10
    assert replays.evicted == 5
    later = NOW_S + 3600
    renewed = BOT.signed(nonce=signing.nonce(3), created=int(later), expires=int(later) + 60)
    assert proof(renewed, replays=replays, now_s=later).state == "verified"
    assert len(replays) == 1


def test_the_same_bytes_are_checked_once() -> None:
    replays = Replays()
    signed = BOT.signed()
    assert proof(signed, replays=replays, client="a").state == "verified"
    assert len(replays.checked) == 1
    assert proof(signed, replays=replays, client="a").state == "verified"
    assert len(replays.checked) == 1
    assert proof(signed._replace(target=b"/other"), replays=replays, client="a").state == "verified"
    assert len(replays.checked) == 2


def test_a_result_is_not_carried_over_to_another_key_host_or_field() -> None:
    replays = Replays()
    signed = BOT.signed(headers=[(b"x-extra", b"1")], covered=("@authority", "x-extra", AGENT), keyid="mine")
    assert proof(signed, replays=replays, keys=lambda *_: KEY).state == "verified"
    refused(signed, replays=replays, keys=lambda *_: read_jwk(OTHER.jwk()))
    refused(signed._replace(authority="other.example"), replays=replays, keys=lambda *_: KEY)
    refused(put(signed, b"x-extra", b"2"), replays=replays, keys=lambda *_: KEY)


# -- asking for a signature


@pytest.mark.parametrize("path", [False, True])
def test_the_signature_that_is_asked_for_is_one_that_would_be_verified(path: bool) -> None:
    asked = dict(accept_signature(path=path))[b"accept-signature"].decode()
    inner = asked[asked.index("(") + 1 : asked.index(")")].split(" ")
    signed = BOT.signed(covered=inner)
    assert proof(signed, settings=Settings((ORIGIN,), require_path=path)).state == "verified"


# -- whatever is sent


SOUP = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [
                *(
                    b"sig1",
                    b"=",
                    b"(",
                    b")",
                    b'"@authority"',
                    b'"signature-agent"',
                    b";",
                    b"key",
                    b'"sig1"',
                    b", ",
                    b" ",
                ),
                *(b'tag="web-bot-auth"', b"created=1764000000", b"expires=1764000030", b"keyid", b"@1", b"?1", b"%"),
                *(b'"https://bot.example"', b"\\", b"\x00", b"\xff", b"1.5", b"*", b":", b"AAAA"),
            ]
        ),
        max_size=30,
    ).map(b"".join),
)


@given(inputs=SOUP, signature=SOUP, agent=SOUP, whole=st.booleans())
def test_random_fields_never_raise_and_never_verify(inputs: bytes, signature: bytes, agent: bytes, whole: bool) -> None:
    signed = BOT.signed()
    if whole:
        inputs += b';tag="web-bot-auth"'
    settings = Settings(discover=True)
    for name, value in ((b"signature-input", inputs), (b"signature", signature), (b"signature-agent", agent)):
        signed = put(signed, name, value)
        assert proof(signed, settings=settings, keys=lambda *_: KEY).state != "verified"


COVERING = BOT.signed(
    query=b"a=1",
    headers=[(b"x-extra", b"some text")],
    covered=("@method", "@authority", "@path", "@query", "x-extra", AGENT),
    nonce="n",
)


@given(
    part=st.sampled_from(["method", "authority", "target", "query", "x-extra", "signature-agent", "signature-input"]),
    place=st.integers(min_value=0),
    mask=st.integers(min_value=1, max_value=255),
)
def test_a_byte_that_was_changed_in_what_is_covered_never_verifies(part: str, place: int, mask: int) -> None:
    def flipped(text: bytes) -> bytes:
        at = place % len(text)
        return text[:at] + bytes([text[at] ^ mask]) + text[at + 1 :]

    if part in Signed._fields:
        old = getattr(COVERING, part)
        new = flipped(old) if isinstance(old, bytes) else flipped(old.encode()).decode("latin-1")
        if part == "authority" and new.lower() == old:
            return
        changed = COVERING._replace(**{part: new})
    else:
        old = field_of(COVERING, part.encode())
        changed = put(COVERING, part.encode(), flipped(old))
    assert proof(changed, settings=Settings((ORIGIN,), discover=True), keys=lambda *_: KEY).state != "verified"


@pytest.mark.parametrize(
    "inputs",
    [
        b", ".join(b'sig%d=("@authority");created=1;expires=2;keyid="x";tag="web-bot-auth"' % n for n in range(100)),
        b", ".join(b"a%d" % n for n in range(100)) + b';tag="web-bot-auth"',
        b'a=("' + b"x" * 102_400 + b'");tag="web-bot-auth"',
        b'a=("' + b"\\\\" * 8000 + b'");tag="web-bot-auth"',
        b'a=("b");x=%"' + b"%41" * 5000 + b'";tag="web-bot-auth"',
        b"a=(" + b'"a" ' * 3000 + b');tag="web-bot-auth"',
        b"a=(" + b"1 " * 8000 + b');tag="web-bot-auth"',
        b'a=("b"' + b";k" * 8000 + b');tag="web-bot-auth"',
        b"a=" + b"(" * 16_000 + b';tag="web-bot-auth"',
    ],
    ids=range(9),
)
def test_a_field_that_is_only_work_is_refused_in_milliseconds(inputs: bytes) -> None:
    keys = Ring()
    signed = put(BOT.signed(), b"signature-input", inputs)
    began = time.perf_counter()
    for _ in range(10):
        refused(signed, keys=keys)
    assert (time.perf_counter() - began) / 10 < 0.02
    assert keys.asked == []
    assert MAX_FIELD_BYTES <= 16_384


def test_at_most_four_signatures_are_looked_at() -> None:
    several = [BOT.signed(label=f"s{n}", agent=f's{n}="{ORIGIN}"', covered=("@authority",)) for n in range(5)]
    assert refused(joined(*several)).reason.startswith("more than 4")
    assert len(read_signatures(joined(*several[:4]), LISTED)) == 4


# -- the shared cases that need no directory


def wb_001() -> None:
    assert proof(BOT.signed()).state == "verified"


def wb_002() -> None:
    refused(BOT.signed(signed_for="other.example"))


def wb_003() -> None:
    refused(BOT.signed(covered=(AGENT,)))


def wb_004() -> None:
    refused(BOT.signed(covered=("@authority",)))


def wb_006() -> None:
    refused(BOT.signed(created=int(NOW_S) + 600, expires=int(NOW_S) + 660))


def wb_007() -> None:
    refused(BOT.signed(expires=int(NOW_S) - 5 + 25 * 3600))


def wb_008() -> None:
    refused(BOT.signed(created=None, expires=None))


def wb_009() -> None:
    refused(BOT.signed(tag="other"))


def wb_010() -> None:
    refused(BOT.signed(tag="http-message-signatures-directory"))


def wb_016() -> None:
    replays = Replays()
    signed = BOT.signed()
    for target in (b"/1", b"/2"):
        assert proof(signed._replace(target=target), replays=replays, client="a").state == "verified"
    refused(signed, settings=Settings((ORIGIN,), require_path=True))


def wb_017() -> None:
    signed = BOT.signed(agent=f'"{ORIGIN}"', covered=("@authority", "signature-agent"))
    assert proof(signed).state == "verified"
    refused(signed, settings=Settings((ORIGIN,), legacy=False))


def wb_056() -> None:
    inputs = b", ".join(b'sig%d=("@authority");nonce="%b";tag="web-bot-auth"' % (n, b"x" * 1000) for n in range(100))
    assert len(inputs) > 100_000
    began = time.perf_counter()
    refused(put(BOT.signed(), b"signature-input", inputs))
    assert time.perf_counter() - began < 0.05


CASES: dict[str, Callable[[], None]] = {
    "WB-001": wb_001,
    "WB-002": wb_002,
    "WB-003": wb_003,
    "WB-004": wb_004,
    "WB-006": wb_006,
    "WB-007": wb_007,
    "WB-008": wb_008,
    "WB-009": wb_009,
    "WB-010": wb_010,
    "WB-016": wb_016,
    "WB-017": wb_017,
    "WB-056": wb_056,
}


@pytest.mark.parametrize("case", CASES)
def test_the_shared_case_holds(case: str) -> None:
    CASES[case]()
