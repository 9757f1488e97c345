"""Message heads: what a request must be like to be passed on, and how heads are written again.

The law: framing is ours. What arrives is parsed by llhttp, checked here for what llhttp lets pass, and written
anew: hop-by-hop fields stay behind, names, order and duplicates of everything else are kept, the target goes on
as the very bytes that were judged.

Sources: RFC 9110 sections 7.2, 7.6; RFC 9112 sections 3.2, 6, 7.1, 9.6; RFC 7239.
"""

from __future__ import annotations

import http
import re

import httptools

from guard.directives import content_signal, content_usage
from guard.hosts import is_host
from guard.identify import TrustedHops
from guard.memo import Memo
from guard.model import Headers, Reply, Said
from guard.watching import Recognised, by_name

MAX_HEAD_BYTES = 32 * 1024
MAX_TARGET_BYTES = 8 * 1024
MAX_FIELDS = 200

NO_BODY, COUNTED, CHUNKED, UNTIL_CLOSE = range(4)
"""How a body ends: there is none, after Content-Length bytes, by chunks, or with the connection."""

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade proxy-authorization "
    b"proxy-authenticate http2-settings".split()
)
_FORWARDING = frozenset(
    b"x-forwarded-host x-forwarded-proto x-forwarded-port x-forwarded-prefix x-forwarded-uri x-forwarded-server "
    b"x-forwarded-method x-real-ip forwarded".split()
)
_OVERRIDES = frozenset(
    b"x-original-url x-rewrite-url x-original-uri x-override-url x-accel-redirect x-envoy-original-path "
    b"x-http-method-override x-method-override".split()
)
"""Fields by which a client would talk to the platform behind our back."""

# What to do with a field of a request. The first six go on as the very line that came, the seventh if a trusted hop
# wrote it, the others stay behind and are said anew where they mean something.
(
    _PLAIN,
    _HOST,
    _AGENT,
    _ACCEPT,
    _KEY,
    _SIGNED,
    _FROM_HOP,
    _LEFT,
    _CONNECTION,
    _UPGRADE,
    _CODED,
    _COUNTING,
    _EXPECT,
    _VIA,
    _CHAIN,
) = range(15)
_MEANING = {
    **dict.fromkeys(_HOP_BY_HOP | _OVERRIDES, _LEFT),
    **dict.fromkeys(_FORWARDING, _FROM_HOP),
    b"host": _HOST,
    b"user-agent": _AGENT,
    b"accept": _ACCEPT,
    b"sec-websocket-key": _KEY,
    b"signature-input": _SIGNED,
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
    b"transfer-encoding": _CODED,
    b"content-length": _COUNTING,
    b"expect": _EXPECT,
    b"via": _VIA,
    b"x-forwarded-for": _CHAIN,
}
Field = tuple[int, bytes, bytes]
"""What to do with a field, its name in lower case, its value."""

_MEMO_LINE_BYTES = 512
_fields: Memo[bytes, Field] = Memo(4_096)
"""Fields by the bytes of their line: browsers send the same dozen lines again and again. At most 5 MiB."""


_names: dict[bytes, tuple[int, bytes]] = {}
"""What the spellings of names mean; bounded, for clients may send any."""


def _read_field(line: bytes) -> Field:
    """One field line, taken apart. llhttp sees to it that no line is folded or hides another."""
    known = _fields.get(line)
    if known is None:
        spelled, _, value = line.partition(b":")
        meaning, name = _names.get(spelled) or _read_name(spelled)
        known = (meaning, name, value.strip(b" \t"))
        if len(line) <= _MEMO_LINE_BYTES:
            _fields.keep(line, known)
    return known


def _read_name(spelled: bytes) -> tuple[int, bytes]:
    name = spelled.lower()
    meaning = _MEANING.get(name, _PLAIN)
    if b"_" in name or b"." in name or name.startswith(b"x-guard-"):
        meaning = _LEFT  # aliases that some servers read as the same name, and our own words
    if len(_names) < 1024 and len(spelled) <= 64:
        _names[spelled] = meaning, name
    return meaning, name


_BODILESS = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_CONNECTION_TOKENS = frozenset((b"", *b"close keep-alive upgrade te http2-settings".split()))
_NOT_NOMINABLE = re.compile(
    rb"(?:host|via|date|range|cookie|expect|origin|referer|user-agent|authorization|forwarded|set-cookie"
    rb"|(?:x-forwarded|x-guard|x-real|x-request|content|accept|if|sec|signature|transfer|cache|cf)-[a-z-]++"
    rb"|signature)"
)
_AUTHORITY_FORM = re.compile(rb"https?+://([^/?#]*+)(.*+)", re.IGNORECASE | re.DOTALL)
_DIGITS = re.compile(rb"[0-9]{1,18}")
_ABSENT: tuple[bytes, ...] = ()

REASONS = {status.value: status.phrase.encode() for status in http.HTTPStatus}


class BadRequest(Exception):
    """What arrived cannot be passed on; `status` is the answer, and the connection closes."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


class RequestHead:
    """One checked request head. Shared by every request whose head has the same bytes."""

    __slots__ = (
        "_fields",
        "_lines",
        "_nominated",
        "_passed",
        "_via",
        "accept",
        "body_bytes",
        "expects_continue",
        "forwarded",
        "framing",
        "keep_alive",
        "method",
        "query",
        "recognised",
        "signed",
        "target",
        "upgrading",
        "user_agent",
        "version_10",
        "websocket",
        "written",
        "written_trusted",
    )

    def __init__(
        self, method: bytes, url: bytes, version: str, lines: list[bytes], keep_alive: bool, hop: bytes
    ) -> None:
        """`lines` are the field lines in order; `hop` is the header (lower case) that trusted hops write.

        Raises BadRequest.
        """
        if version not in ("1.1", "1.0"):
            raise BadRequest(400, f"version {version}")  # not 505: whatever arrives, the fault is not ours
        if len(lines) > MAX_FIELDS:
            raise BadRequest(431, "too many fields")
        young = _fields.young
        self._lines = lines
        self.recognised: Recognised | None = None  # whose it is, from one peer
        fields: list[Field] = []
        passed: list[bytes] = []
        self._fields, self._passed = fields, passed
        self.method = method.decode("ascii")
        self.version_10 = version == "1.0"
        hosts = agents = accepts = connection = upgrade = expect = via = _ABSENT
        keys = 0
        self.framing, self.body_bytes = NO_BODY, 0
        self.signed = False
        for line in lines:
            field = young.get(line) or _read_field(line)
            fields.append(field)
            meaning = field[0]
            if meaning == _PLAIN:
                passed.append(line)
                continue
            if meaning <= _SIGNED:
                passed.append(line)
            value = field[2]
            if meaning == _HOST:
                hosts += (value,)
            elif meaning == _AGENT:
                agents += (value,)
            elif meaning == _ACCEPT:
                accepts += (value,)
            elif meaning == _CONNECTION:
                connection += (value,)
            elif meaning == _UPGRADE:
                upgrade += (value,)
            elif meaning == _EXPECT:
                expect += (value,)
            elif meaning == _VIA:
                via += (value,)
            elif meaning == _KEY:
                keys += 1
            elif meaning == _SIGNED:
                self.signed = True
            elif meaning in (_CODED, _COUNTING):
                self._frame(meaning, value)
        if len(hosts) != 1 or (hosts[0] not in _hosts.young and not _is_known_host(hosts[0])):
            raise BadRequest(400, "needs exactly one well-formed Host")
        self.target, self.query = _origin_form(url, hosts[0])
        tokens = _TOKENS.get(connection) or _connection_tokens(connection)
        self._nominated = tokens - _CONNECTION_TOKENS
        if b"upgrade" not in tokens:
            upgrade = _ABSENT
        self.websocket = (
            len(upgrade) == 1
            and upgrade[0].lower() == b"websocket"
            and keys == 1
            and method == b"GET"
            and self.framing == NO_BODY
            and not self.version_10
        )
        self.upgrading = bool(upgrade)
        self.keep_alive = (
            keep_alive
            and b"close" not in tokens
            and (self.websocket or not upgrade)  # else what follows might be of the other protocol
            and (self.framing == NO_BODY or method not in _BODILESS)  # else somebody may not have seen the body as one
        )
        if expect and (len(expect) != 1 or expect[0].lower() != b"100-continue"):
            raise BadRequest(417, "unknown expectation")
        self.expects_continue = bool(expect) and not self.version_10
        self._via = via
        self.user_agent = agents[0] if len(agents) == 1 else b"\n".join(agents)
        self.accept = accepts[0] if len(accepts) == 1 else b",".join(accepts)
        self.forwarded = tuple([value for _, name, value in fields if name == hop]) if hop else _ABSENT
        self.written: bytes | None = None
        self.written_trusted: bytes | None = None

    def _frame(self, meaning: int, value: bytes) -> None:
        """One framing field (RFC 9112 6.3). A second one, of either kind, is one too many."""
        if self.framing != NO_BODY:
            raise BadRequest(400, "ambiguous framing")
        if meaning == _CODED:
            if self.version_10 or value.lower() != b"chunked":
                raise BadRequest(400, "ambiguous framing")
            self.framing = CHUNKED
        else:
            if not _DIGITS.fullmatch(value):
                raise BadRequest(400, "ambiguous length")
            self.framing, self.body_bytes = COUNTED, int(value)

    @property
    def headers(self) -> Headers:
        """All fields, names in lower case."""
        return tuple([(name, value) for _, name, value in self._fields])

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The fields by name, in their order; of several the last, cookies joined."""
        return by_name([(name, value) for _, name, value in self._fields])

    def for_upstream(self, trusted: bool) -> bytes:
        """The head as it goes on, up to the forwarding fields that depend on the connection (no empty line yet).

        A trusted hop's words about others stay in it, anybody else's do not, so each of the two is kept by itself.
        """
        if trusted:
            if self.written_trusted is None:
                pairs = zip(self._lines, self._fields, strict=True)
                self.written_trusted = self._write([line for line, field in pairs if field[0] <= _FROM_HOP])
            return self.written_trusted
        if self.written is None:
            self.written = self._write(self._passed)
        return self.written

    def _write(self, passed: list[bytes]) -> bytes:
        """Request line, the lines that go on, our own framing and Via."""
        if self._nominated:
            passed = [line for line in passed if _read_field(line)[1] not in self._nominated]
        end = b"Via: 1.0 guard\r\n" if self.version_10 else b"Via: 1.1 guard\r\n"
        if self._via:
            end = b"Via: %b, %b" % (b", ".join(self._via), end[5:])
        if self.framing == COUNTED:
            end = b"Content-Length: %d\r\n%b" % (self.body_bytes, end)
        elif self.framing == CHUNKED:
            end = b"Transfer-Encoding: chunked\r\n" + end
        if self.websocket:
            end = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + end
        start = b"%b %b%b HTTP/1.1" % (self.method.encode("ascii"), self.target, self.query)
        return b"\r\n".join([start, *passed, end])

    def forwarded_for(self) -> list[bytes]:
        """The X-Forwarded-For lines as they came."""
        return [value for meaning, _, value in self._fields if meaning == _CHAIN]


class _Silent:
    """Wants to hear nothing from llhttp but whether the bytes are HTTP."""


class HeadReader:
    """Reads what most requests are: one whole head and nothing else, with no body and no upgrade.

    llhttp checks every byte; that the lines are then what splitting at line ends gives, it has made sure of.
    """

    __slots__ = ("_checker", "hop")

    def __init__(self, hop: bytes) -> None:
        self.hop = hop
        self._checker = httptools.HttpRequestParser(_Silent())

    def read(self, data: bytes) -> RequestHead | None:
        """The head, or None when `data` is anything else: then it is to be parsed in full. Raises BadRequest."""
        if not data.endswith(b"\r\n\r\n") or data.count(b"\r\n\r\n") != 1 or len(data) > MAX_HEAD_BYTES:
            return None
        lines = data[:-4].split(b"\r\n")
        parts = lines[0].split(b" ")
        if len(parts) != 3 or parts[2] != b"HTTP/1.1" or not parts[0].isascii() or len(lines) > MAX_FIELDS:
            return None
        del lines[0]
        head = RequestHead(parts[0], parts[1], "1.1", lines, True, self.hop)
        if head.framing != NO_BODY or head.upgrading or head.expects_continue:
            return None
        try:
            self._checker.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._checker = httptools.HttpRequestParser(_Silent())  # after an error a parser reads nothing more
            return None
        if not head.keep_alive:
            self._checker = httptools.HttpRequestParser(_Silent())  # nor after a last message
        return head


def forwarding_fields(head: RequestHead, peer: str, scheme: bytes, trusted: bool) -> bytes:
    """The last request fields and the empty line. What an unnamed peer said about others has been dropped."""
    chain = [*head.forwarded_for(), peer.encode("latin-1")] if trusted else [peer.encode("latin-1")]
    fields = b"X-Forwarded-For: %b\r\n" % b", ".join(chain) if peer else b""
    if not trusted:
        fields += b"X-Forwarded-Proto: %b\r\n" % scheme
    return fields + b"\r\n"


def hop_header(trusted: TrustedHops) -> bytes:
    """The header to read client addresses from; b"" when no hop is trusted."""
    return trusted.header if trusted.networks or trusted.trust_unix else b""


_hosts: Memo[bytes, bool] = Memo(256)


def _is_known_host(host: bytes) -> bool:
    """A well-formed Host; the good ones are remembered."""
    if not is_host(host):
        return False
    _hosts.keep(host, True)
    return True


def _origin_form(url: bytes, host: bytes) -> tuple[bytes, bytes]:
    """Path and query (with its `?`) of the request target; an absolute form must name the Host (RFC 9112 3.2.2)."""
    if len(url) > MAX_TARGET_BYTES:
        raise BadRequest(414, "target too long")
    if not url.startswith(b"/"):
        absolute = _AUTHORITY_FORM.fullmatch(url)
        if absolute is None or absolute[1].lower() != host.lower():
            raise BadRequest(400, "target is not a path on this host")
        url = absolute[2] or b"/"
        if not url.startswith(b"/"):
            url = b"/" + url
    path, mark, query = url.partition(b"?")
    return path, mark + query


_TOKENS: dict[tuple[bytes, ...], frozenset[bytes]] = {
    (): frozenset((b"",)),
    (b"keep-alive",): frozenset((b"keep-alive",)),
    (b"Keep-Alive",): frozenset((b"keep-alive",)),
    (b"close",): frozenset((b"close",)),
}
"""What nearly everybody sends. The empty one holds an empty token, so that it is not taken for absent."""


def _connection_tokens(lines: tuple[bytes, ...]) -> frozenset[bytes]:
    """What Connection names (RFC 9110 7.6.1). Raises BadRequest when it names a field that others rely on."""
    tokens = {token.strip(b" \t").lower() for line in lines for token in line.split(b",")}
    for token in tokens - _CONNECTION_TOKENS:
        if _NOT_NOMINABLE.fullmatch(token):
            raise BadRequest(400, "Connection names an end-to-end field")
    return frozenset(tokens)


# -- answers -----------------------------------------------------------------------------------------------


class ResponseHead:
    """One answer's head as the upstream sent it, checked by llhttp.

    `raw` is the head whole, its empty line included; `special` are those of its fields that do not simply go on.
    `written` keeps what was last made of it for a client that stays, with the statement it was made with.
    """

    __slots__ = ("body_bytes", "framing", "keep_alive", "raw", "special", "status", "taken", "written")

    def __init__(self, status: int, raw: bytes, special: list[Special], keep_alive: bool, head_only: bool) -> None:
        """`head_only`: the answer to HEAD, which ends with its head. Raises ValueError on doubtful framing."""
        if status < 100 or not raw.startswith((b"HTTP/1.1 ", b"HTTP/1.0 ")):
            raise ValueError("status line of the answer")
        self.status = status
        self.raw = raw
        self.special = special
        for kind, name, value in special:
            if kind == _HOP and value.lower() not in _USUAL_CONNECTION and name.lower() == b"connection":
                self.special = [*special, *_nominated(raw, special)]
                break
        self.written: tuple[Statement, bytes] | None = None
        self.taken: dict[bytes, bytes | None] = {}
        framing, self.body_bytes = UNTIL_CLOSE, 0
        for kind, _, value in special:
            if kind == _LENGTH:
                if framing != UNTIL_CLOSE or not value.isdigit() or len(value) > 18:
                    raise ValueError("length of the answer")
                framing, self.body_bytes = COUNTED, int(value)
            elif kind == _CODING:
                if framing != UNTIL_CLOSE or value.strip(b" \t").lower() != b"chunked":
                    raise ValueError("framing of the answer")
                framing = CHUNKED
        if head_only or status < 200 or status == 204 or status == 304:
            framing = NO_BODY
        self.framing = framing
        self.keep_alive = keep_alive and framing != UNTIL_CLOSE

    def take(self, name: bytes) -> bytes | None:
        """The values of a field (name in lower case), which is cut out of the head; None when it was not there.

        Heads of the same bytes are one object, and hosts and versions of the policy may each ask for another name: what
        was taken once is remembered for all of them.
        """
        try:
            return self.taken[name]
        except KeyError:
            pass
        found = None
        if b"\r\n%b:" % name in self.raw.lower():
            kept, values = [], []
            for line in self.raw[:-4].split(b"\r\n"):
                field, colon, value = line.partition(b":")
                if colon and field.lower() == name:
                    values.append(value.strip(b" \t"))
                else:
                    kept.append(line)
            self.raw = b"\r\n".join(kept) + b"\r\n\r\n"
            self.special = [special for special in self.special if special[1].lower() != name]
            self.written = None
            found = b",".join(values)
        self.taken[name] = found
        return found


_USUAL_CONNECTION = frozenset((b"keep-alive", b"close"))


def _nominated(raw: bytes, special: list[Special]) -> list[Special]:
    """The further fields that the answer's Connection names (RFC 9110 7.6.1), as they are spelled."""
    lines = [value for kind, name, value in special if kind == _HOP and name.lower() == b"connection"]
    tokens = {token.strip(b" \t").lower() for line in lines for token in line.split(b",")} - _KIND_OF.keys()
    tokens -= {b"", b"close", b"keep-alive"}
    names = [name for token in sorted(tokens) for name in re.findall(rb"(?i)\r\n(%b):" % re.escape(token), raw)]
    return [(_HOP, name, b"") for name in names]


_KEPT, _HOP, _LENGTH, _CODING, _STATED, _USAGE, _SIGNAL, _REPLACED = range(8)
"""Kinds of answer fields: pass on, leave behind, the two that frame, and those that our statements replace."""

_NO_LENGTH = frozenset((*range(100, 200), 204))
"""Statuses that must not have a Content-Length (RFC 9110 8.6)."""

Special = tuple[int, bytes, bytes]
"""Kind, name as spelled, value."""

_KIND_OF = {
    **dict.fromkeys(_HOP_BY_HOP, _HOP),
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"tdm-reservation": _STATED,
    b"tdm-policy": _REPLACED,
    b"content-usage": _USAGE,
    b"content-signal": _SIGNAL,
}
plain: set[bytes] = set()
"""Spellings of field names that are known to go on as they are; bounded."""


def field_kind(name: bytes) -> int:
    """The kind of a field by its name in any case."""
    kind = _KIND_OF.get(name.lower(), _KEPT)
    if kind == _KEPT and len(plain) < 1024:
        plain.add(name)
    return kind


class Statement:
    """The directive fields, ready to be written on every answer."""

    __slots__ = ("block", "replaced", "signal", "usage")

    def __init__(self, headers: Headers) -> None:
        self.block = b"".join([b"%b: %b\r\n" % header for header in headers])
        self.usage = next((value.decode() for name, value in headers if name == b"content-usage"), "")
        self.signal = next((value.decode() for name, value in headers if name == b"content-signal"), "")
        self.replaced = frozenset(kind for name, _ in headers if (kind := _KIND_OF.get(name, _KEPT)) != _KEPT)


def write_statement(said: Said) -> Statement:
    """What is said, as the sidecar writes it; kept with it."""
    statement = said.wire = Statement(said.headers)
    return statement


def write_answer(head: ResponseHead, framing: int, closing: bool, version_10: bool, statement: Statement) -> bytes:
    """The answer's head for the client, with `framing` towards it. Statements take the place of the upstream's.

    Everything that goes on goes on as the very lines that came: only whole lines are cut out.
    """
    plainly = not closing and not version_10 and framing == head.framing
    if plainly and head.written is not None and head.written[0] is statement:
        return head.written[1]
    written = _write_answer(head, framing, closing, version_10, statement)
    if plainly:
        head.written = (statement, written)
    return written


def _write_answer(head: ResponseHead, framing: int, closing: bool, version_10: bool, statement: Statement) -> bytes:
    raw = head.raw
    block = statement.block
    if head.special:
        theirs: list[str] = []
        signals: list[str] = []
        reserved = False
        for kind, name, value in head.special:
            if kind == _LENGTH:
                if framing == COUNTED or (framing == NO_BODY and head.status not in _NO_LENGTH):
                    continue
            elif kind >= _STATED and kind not in statement.replaced:
                continue
            elif kind == _USAGE:
                theirs.append(value.decode("latin-1"))
            elif kind == _SIGNAL:
                signals.append(value.decode("latin-1"))
            elif kind == _STATED:
                reserved = reserved or value == b"1"
            raw = _cut_line(raw, name)
        if theirs:
            combined = content_usage.combine(statement.usage, theirs).encode("latin-1")
            block = block.replace(statement.usage.encode(), combined, 1)
        if signals:
            combined = content_signal.combine(statement.signal, signals).encode("latin-1")
            block = block.replace(b"content-signal: " + statement.signal.encode(), b"content-signal: " + combined, 1)
        if reserved:  # a reservation that came with the work is never loosened
            block = block.replace(b"tdm-reservation: 0", b"tdm-reservation: 1", 1)
    if not raw.startswith(b"HTTP/1.1"):
        raw = b"HTTP/1.1" + raw[8:]
    if framing == CHUNKED:
        block += b"Transfer-Encoding: chunked\r\n"
    if head.status == 101:
        block += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    elif closing:
        block += b"Connection: close\r\n"
    elif version_10:
        block += b"Connection: keep-alive\r\n"
    return b"%b%b\r\n" % (raw[:-2], block)


def _cut_line(raw: bytes, name: bytes) -> bytes:
    """`raw` without its first line of that name. llhttp has made sure that lines are whole and never folded."""
    start = raw.index(b"\r\n%b:" % name)
    return raw[:start] + raw[raw.index(b"\r\n", start + 2) :]


def write_reply(reply: Reply, head_only: bool, closing: bool, version_10: bool) -> bytes:
    """One of our own answers, whole."""
    out = [b"HTTP/1.1 %d %b\r\n" % (reply.status, REASONS.get(reply.status, b""))]
    out += [b"%b: %b\r\n" % header for header in reply.headers]
    if reply.status != 304:
        out.append(b"Content-Length: %d\r\n" % len(reply.body))
    if closing:
        out.append(b"Connection: close\r\n")
    elif version_10:
        out.append(b"Connection: keep-alive\r\n")
    out.append(b"\r\n")
    if not head_only:
        out.append(reply.body)
    return b"".join(out)
