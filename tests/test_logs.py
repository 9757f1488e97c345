"""Access logs of the usual servers become entries: as written by them, damaged, endless, and by real servers."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.logs import FORMATS, Entry, NoRequest, detect, find_reader
from guard.logs.source import CHUNK_BYTES, MAX_LINE_BYTES, Source
from tests.conftest import SHARED
from tests.processes import free_port, run

TEN_FIVE = 1431857103.0  # 17 May 2015, 10:05:03 UTC
FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
COMBINED = (
    b'203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/1.1" 200 512 "https://music.example/" "'
    + FIREFOX
    + b'"'
)
CADDY = json.dumps(
    {
        "level": "info",
        "ts": TEN_FIVE,
        "logger": "http.log.access.log0",
        "msg": "handled request",
        "request": {
            "remote_ip": "10.0.0.1",
            "remote_port": "40000",
            "client_ip": "203.0.113.9",
            "proto": "HTTP/2.0",
            "method": "GET",
            "host": "music.example",
            "uri": "/a?b=c",
            "headers": {"User-Agent": [FIREFOX.decode()], "Accept": ["*/*"]},
        },
        "bytes_read": 0,
        "duration": 0.001,
        "size": 512,
        "status": 200,
        "resp_headers": {},
    }
).encode()
NGINX = json.dumps(
    {
        "time_iso8601": "2015-05-17T12:05:03+02:00",
        "remote_addr": "203.0.113.9",
        "request": "GET /a?b=c HTTP/1.1",
        "status": "200",
        "body_bytes_sent": "512",
        "host": "music.example",
        "http_user_agent": FIREFOX.decode(),
    }
).encode()
TRAEFIK = (
    b'203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a?b=c HTTP/2.0" 200 512 "-" "'
    + FIREFOX
    + b'" 17 "web@docker" "http://10.0.0.2:80" 3ms'
)
TRAEFIK_JSON = json.dumps(
    {
        "ClientHost": "203.0.113.9",
        "DownstreamContentSize": 512,
        "DownstreamStatus": 200,
        "RequestHost": "music.example",
        "RequestMethod": "GET",
        "RequestPath": "/a?b=c",
        "StartUTC": "2015-05-17T10:05:03.000000000Z",
        "request_User-Agent": FIREFOX.decode(),
        "level": "info",
        "msg": "",
        "time": "2015-05-17T10:05:04Z",
    }
).encode()
HAPROXY = (
    b"May 17 10:05:03 edge haproxy[14389]: 203.0.113.9:33317 [17/May/2015:10:05:03.000] http-in~ static/srv1 "
    b"10/0/30/69/109 200 512 - - ---- 1/1/1/1/0 0/0 {music.example|" + FIREFOX + b'} {} "GET /a?b=c HTTP/1.1"'
)
TRACE = json.dumps(
    {
        "i": 7,
        "t": TEN_FIVE,
        "ip": "203.0.113.9",
        "method": "GET",
        "path": "/a?b=c",
        "headers": [["Host", "music.example"], ["user-agent", FIREFOX.decode()]],
        "status": 200,
        "bytes": 512,
    }
).encode()
OURS = json.dumps(
    {
        "time": TEN_FIVE,
        "id": "1a9779837bb2",
        "action": "block",
        "mode": "observe",
        "rule": "no AI",
        "agent": "GPTBot",
        "identity": "unverified",
        "route": "page",
        "client": "203.0.113.0/24",
        "method": "GET",
        "path": "/a",
        "status": 200,
        "bytes": 512,
        "seconds": 0.001,
    }
).encode()
LINES = {
    "combined": COMBINED,
    "caddy": CADDY,
    "nginx": NGINX,
    "traefik": TRAEFIK,
    "traefik, JSON": TRAEFIK_JSON,
    "haproxy": HAPROXY,
    "trace": TRACE,
    "guard": OURS,
}


def read(form: str, line: bytes) -> Entry:
    return find_reader(form.partition(",")[0])(line, 0)


# -- what each server writes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", sorted(set(LINES) - {"guard"}))
def test_the_same_request_is_the_same_entry_in_every_format(form: str) -> None:
    entry = read(form, LINES[form])
    assert entry.time_s == TEN_FIVE
    assert (entry.ip, entry.method, entry.target, entry.query) == ("203.0.113.9", "GET", b"/a", b"b=c")
    assert (entry.user_agent, entry.status, entry.body_bytes) == (FIREFOX, 200, 512)
    assert entry.host == (None if form in ("combined", "traefik") else "music.example")
    assert entry.number == (7 if form == "trace" else 0)


@pytest.mark.parametrize("form", sorted(LINES))
def test_a_format_is_told_by_its_lines(form: str) -> None:
    garbage = b"Started the server, all is well"
    assert detect([garbage, LINES[form], LINES[form]]) == form.partition(",")[0]


def test_no_format_is_told_from_what_is_none() -> None:
    assert detect([b"", b"hello", b'{"a": 1}', b"[]"]) is None
    assert detect([]) is None


def test_an_unknown_format_is_named_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"unknown format 'iis'.*combined"):
        find_reader("iis")
    with pytest.raises(ValueError, match="unknown format"):
        find_reader("nginx:host")


def test_apache_with_virtual_hosts_in_front() -> None:
    entry = read("combined", b"music.example:443 " + COMBINED)
    assert (entry.host, entry.ip, entry.target) == ("music.example:443", "203.0.113.9", b"/a")


def test_a_user_with_spaces_in_the_name_moves_nothing() -> None:
    entry = read("combined", COMBINED.replace(b" - - ", b" - Ada von L "))
    assert (entry.ip, entry.target, entry.time_s) == ("203.0.113.9", b"/a", TEN_FIVE)


def test_common_has_no_user_agent_and_a_dash_is_an_empty_one() -> None:
    common = COMBINED[: COMBINED.index(b' "https')]
    assert read("combined", common).user_agent is None
    assert read("combined", common + b' "-" "-"').user_agent == b""


def test_the_stock_main_format_of_nginx_carries_the_forwarded_addresses() -> None:
    entry = read("combined", COMBINED + b' "198.51.100.7, 10.0.0.1"')
    assert dict(entry.headers) == {
        "referer": b"https://music.example/",
        "x-forwarded-for": b"198.51.100.7, 10.0.0.1",
    }
    assert dict(read("combined", COMBINED + b' "-"').headers) == {"referer": b"https://music.example/"}


@pytest.mark.parametrize(
    "request_line",
    [b"-", b"", b"\\x16\\x03\\x01\\x02\\x00", b"\\x05\\x01\\x00", b"GET", b'\\"'],
)
def test_a_handshake_that_went_wrong_is_no_request(request_line: bytes) -> None:
    with pytest.raises(NoRequest):
        read("combined", COMBINED.replace(b"GET /a?b=c HTTP/1.1", request_line))


def test_a_request_line_in_absolute_form_names_the_host() -> None:
    entry = read("combined", COMBINED.replace(b"GET /a?b=c", b"GET http://radio.example:81/x/y?z"))
    assert (entry.host, entry.target, entry.query) == ("radio.example:81", b"/x/y", b"z")
    assert read("combined", COMBINED.replace(b"GET /a?b=c", b"GET HTTP://radio.example")).target == b"/"


def test_a_path_with_spaces_and_an_old_protocol_are_kept_as_they_came() -> None:
    assert read("combined", COMBINED.replace(b"/a?b=c", b"/a b")).target == b"/a b"
    assert read("combined", COMBINED.replace(b"GET /a?b=c HTTP/1.1", b"GET /a")).target == b"/a"


def test_times_with_zones_and_fractions() -> None:
    two_east = COMBINED.replace(b"10:05:03 +0000", b"12:05:03 +0200")
    half_west = COMBINED.replace(b"10:05:03 +0000", b"06:35:03 -0330")
    assert read("combined", two_east).time_s == read("combined", half_west).time_s == TEN_FIVE
    assert read("haproxy", HAPROXY.replace(b"03.000]", b"03.250]")).time_s == TEN_FIVE + 0.25
    for spelling in (
        "1431857103",
        "1431857103.000",
        1431857103000,
        "2015-05-17 10:05:03",
        "17/May/2015:10:05:03 +0000",
    ):
        assert read("nginx", json.dumps({**json.loads(NGINX), "time_iso8601": spelling}).encode()).time_s == TEN_FIVE


@pytest.mark.parametrize("time", [b"17/Foo/2015:10:05:03 +0000", b"32/May/2015:10:05:03 +0000", b"-", b"17/May/2015"])
def test_a_line_without_a_time_is_unreadable(time: bytes) -> None:
    with pytest.raises(ValueError, match="no time"):
        read("combined", COMBINED.replace(b"17/May/2015:10:05:03 +0000", time))


@pytest.mark.parametrize("time", ["1e400", "-1", "NaN", "Infinity", "true", "null", "[]", "9" * 30, '"later"', '"+"'])
def test_no_moment_outside_of_the_calendar_is_a_time(time: str) -> None:
    with pytest.raises(ValueError, match=r"no time|no address, time"):
        read("nginx", NGINX.replace(b'"2015-05-17T12:05:03+02:00"', time.encode()))


def test_caddy_says_other_things_in_the_same_file() -> None:
    with pytest.raises(NoRequest):
        read("caddy", b'{"level":"info","ts":1431857103.1,"msg":"serving initial configuration"}')
    error = {**json.loads(CADDY), "logger": "http.log.error", "msg": "dial tcp: refused"}
    with pytest.raises(NoRequest):
        read("caddy", json.dumps(error).encode())


def test_a_request_without_user_agent_in_caddys_log_sent_none() -> None:
    line = json.loads(CADDY)
    del line["request"]["headers"]["User-Agent"]
    assert read("caddy", json.dumps(line).encode()).user_agent == b""
    del line["request"]["headers"]
    assert read("caddy", json.dumps(line).encode()).user_agent is None


def test_nginx_without_escape_json_is_read_too() -> None:
    raw = FIREFOX + b" \\x22quoted\\x22 \\xC3\\xA9"
    entry = read("nginx", NGINX.replace(FIREFOX, raw))
    assert entry.user_agent == FIREFOX + ' "quoted" é'.encode()
    assert read("nginx", NGINX.replace(b'"GET /a?b=c HTTP/1.1"', b'"GET /\\xE4\\x5C HTTP/1.1"')).target == b"/\xe4\\"


def test_other_names_for_nginxs_variables() -> None:
    line = {
        "msec": "1431857103.000",
        "client": "203.0.113.9",
        "method": "GET",
        "uri": "/a",
        "args": "b=c",
        "status": 200,
        "size": 512,
        "server_name": "music.example",
        "user_agent": "",
        "http_x_forwarded_for": "198.51.100.7",
    }
    entry = read("nginx", json.dumps(line).encode())
    assert (entry.target, entry.query, entry.user_agent, entry.host) == (b"/a", b"b=c", b"", "music.example")
    assert entry.headers == (("x-forwarded-for", b"198.51.100.7"),)
    del line["user_agent"]
    assert read("nginx", json.dumps(line).encode()).user_agent is None


def test_traefik_tells_the_user_agent_only_where_its_headers_are_kept() -> None:
    line = json.loads(TRAEFIK_JSON)
    del line["request_User-Agent"]
    assert read("traefik", json.dumps(line).encode()).user_agent is None
    line["request_Accept"] = "*/*"
    assert read("traefik", json.dumps(line).encode()).user_agent == b""


def test_traefik_does_not_escape_quotes_and_is_read_all_the_same() -> None:
    entry = read("traefik", TRAEFIK.replace(FIREFOX, b'a "quoted" thing/1'))
    assert entry.user_agent == b'a "quoted" thing/1'
    assert read("traefik", TRAEFIK.replace(b'"-" "', b'"a" "b" "')).user_agent == FIREFOX
    assert read("traefik", TRAEFIK.replace(b'"' + FIREFOX + b'"', b'"-"')).user_agent == b""


def test_haproxy_names_no_captured_headers_so_they_are_named_for_it() -> None:
    named = find_reader("haproxy:user-agent,x-forwarded-for")
    line = HAPROXY.replace(b"{music.example|" + FIREFOX + b"}", b"{|198.51.100.7}")
    entry = named(line, 0)
    assert (entry.user_agent, entry.host) == (b"", None)
    assert dict(entry.headers)["x-forwarded-for"] == b"198.51.100.7"
    assert read("haproxy", line).user_agent is None
    assert named(HAPROXY.replace(b"{music.example|" + FIREFOX + b"} {} ", b""), 0).user_agent is None
    with pytest.raises(ValueError, match="commas"):
        find_reader("haproxy:host,,")


def test_haproxy_without_syslog_in_front_with_escapes_and_cut_off() -> None:
    line = HAPROXY[HAPROXY.index(b"203.0.113.9:") :].replace(b"Linux", b"#22Linux#7D")
    assert read("haproxy", line).user_agent == FIREFOX.replace(b"Linux", b'"Linux}')
    assert read("haproxy", line[:-10]).target == b"/a"
    assert read("haproxy", line.replace(b"203.0.113.9:33317", b"2001:db8::1:33317")).ip == "2001:db8::1"
    with pytest.raises(NoRequest):
        read("haproxy", line.replace(b"GET /a?b=c HTTP/1.1", b"<BADREQ>"))


def test_our_own_log_has_the_agents_name_in_place_of_the_user_agent() -> None:
    entry = read("guard", OURS)
    assert (entry.ip, entry.target, entry.user_agent, entry.agent) == ("203.0.113.0", b"/a", None, "GPTBot")
    told = {**json.loads(OURS), "user_agent": "x\xe9/1", "path": "/\xff"}
    entry = read("guard", json.dumps(told).encode())
    assert (entry.user_agent, entry.target) == (b"x\xe9/1", b"/\xff")


# -- whatever comes ------------------------------------------------------------------------------------------


def apache_escape(text: bytes) -> bytes:
    named = {0x08: b"\\b", 0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t", 0x0B: b"\\v", 0x22: b'\\"', 0x5C: b"\\\\"}
    return b"".join(named.get(byte) or (bytes((byte,)) if 0x20 <= byte < 0x7F else b"\\x%02x" % byte) for byte in text)


def nginx_escape(text: bytes) -> bytes:
    return b"".join(
        b"\\x%02X" % byte if byte < 0x20 or byte > 0x7E or byte in b'"\\' else bytes((byte,)) for byte in text
    )


def haproxy_escape(text: bytes) -> bytes:
    return b"".join(b"#%02X" % byte if byte < 32 or byte > 126 or byte in b'"#{|}' else bytes((byte,)) for byte in text)


def json_escape(text: bytes) -> bytes:
    """What nginx writes with escape=json: bytes above ASCII as they are."""
    return json.dumps(text.decode("latin-1"), ensure_ascii=False)[1:-1].encode("latin-1")


SENT = st.binary(min_size=1, max_size=60).filter(lambda text: text != b"-" and b"\n" not in text)


@given(SENT)
def test_what_a_client_sent_comes_back_from_every_writers_escapes(sent: bytes) -> None:
    for escape in (apache_escape, nginx_escape):
        assert read("combined", COMBINED.replace(FIREFOX, escape(sent))).user_agent == sent
    assert find_reader("haproxy:host,user-agent")(HAPROXY.replace(FIREFOX, haproxy_escape(sent)), 0).user_agent == sent
    for escape in (nginx_escape, json_escape):
        assert read("nginx", NGINX.replace(FIREFOX, escape(sent))).user_agent == sent


@given(st.text(max_size=40).filter(lambda text: text != "-"))
def test_text_comes_back_from_every_writer_of_json(sent: str) -> None:
    for form in ("caddy", "nginx", "trace", "traefik, JSON"):
        line = json.loads(LINES[form])
        spelt = json.dumps(line).replace(json.dumps(FIREFOX.decode()), json.dumps(sent)).encode()
        expected = sent.encode()
        assert read(form, spelt).user_agent == expected


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sound line of some format with some bytes cut out, put in or doubled."""
    line = draw(st.sampled_from(sorted(LINES.values())))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(line)))
        end = draw(st.integers(start, min(len(line), start + 20)))
        line = (
            line[:start]
            + draw(st.binary(max_size=6) | st.sampled_from([b'"', b"\\", b"{", b"[", b"\\x", b"-"]))
            + line[end:]
        )
    return line


@given(damaged() | st.binary(max_size=200) | st.from_regex(rb'\{"[a-z]+": .*\}', fullmatch=True))
def test_no_line_makes_a_reader_fail(line: bytes) -> None:
    for form in (*FORMATS, "haproxy:host,user-agent"):
        try:
            entry = find_reader(form)(line, 3)
        except ValueError as error:
            assert str(error)
        else:
            assert isinstance(entry.target, bytes)
            assert 0 <= entry.time_s < 253_402_300_800
            assert entry.status >= 0
            assert entry.body_bytes >= 0


HOSTILE = [
    COMBINED[:-1] + b"\\" * MAX_LINE_BYTES,
    b" " * MAX_LINE_BYTES,
    b"a" * MAX_LINE_BYTES,
    b'"' * MAX_LINE_BYTES,
    b'" "' * (MAX_LINE_BYTES // 3),
    b"- [" * (MAX_LINE_BYTES // 3),
    b"a [17/May/2015:10:05:03.000] " * (MAX_LINE_BYTES // 29),
    b"{" * MAX_LINE_BYTES,
    b'{"a":' * (MAX_LINE_BYTES // 5),
    b"[" * MAX_LINE_BYTES,
    b'{"a": "' + b"\\x" * (MAX_LINE_BYTES // 2),
    HAPROXY.replace(FIREFOX, b"|" * MAX_LINE_BYTES),
    TRAEFIK.replace(FIREFOX, b'" 200 5 "' * (MAX_LINE_BYTES // 9)),
    b'{"time": ' + b"9" * (MAX_LINE_BYTES - 20) + b"}",
]


@pytest.mark.parametrize("line", HOSTILE, ids=lambda line: repr(line[-12:]))
def test_long_lines_made_to_be_slow_are_not(line: bytes) -> None:
    line = line[:MAX_LINE_BYTES]
    for form in FORMATS:
        start = time.process_time()
        with contextlib.suppress(ValueError):
            find_reader(form)(line, 0)
        assert time.process_time() - start < 0.25, form


# -- where lines come from -----------------------------------------------------------------------------------


def lines_of(path: Path) -> list[bytes | None]:
    source = Source(str(path))
    try:
        return list(source.lines())
    finally:
        source.close()


@given(st.lists(st.binary(max_size=50).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.booleans())
def test_lines_come_whole_from_plain_and_compressed_files(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ends: bool
) -> None:
    tmp = tmp_path_factory.mktemp("lines")
    text = b"\n".join(lines) + (b"\n" if ends else b"")
    expected = text.split(b"\n")
    if not expected[-1]:
        expected.pop()
    (tmp / "plain").write_bytes(text)
    if not text.startswith(b"\x1f\x8b"):
        assert lines_of(tmp / "plain") == expected
    (tmp / "two.log").write_bytes(gzip.compress(text[:30]) + gzip.compress(text[30:]))  # rotated by appending
    assert lines_of(tmp / "two.log") == expected


def test_lines_longer_than_the_limit_are_passed_over_and_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "long"
    exact = b"a" * MAX_LINE_BYTES
    path.write_bytes(exact + b"\n" + exact + b"b\nshort\n" + b"c" * (3 * CHUNK_BYTES) + b"\nlast\n" + exact + exact)
    assert lines_of(path) == [exact, None, b"short", None, b"last", None]


def test_a_compressed_log_that_is_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    numbers = random.Random(7)
    whole = gzip.compress(b"".join(b"line %d %s\n" % (n, numbers.randbytes(20).hex().encode()) for n in range(9000)))
    path.write_bytes(whole[: len(whole) // 2])
    source = Source(str(path))
    lines = list(source.lines())
    source.close()
    assert 3000 < len(lines) < 9000
    assert "cut off" in source.cut_short
    path.write_bytes(whole[:5000] + b"\0" * 50 + whole[5050:])
    source = Source(str(path))
    assert len(list(source.lines())) > 100
    source.close()
    assert "damaged" in source.cut_short


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """A gigabyte of one endless line and of many lines, compressed to a file of a megabyte."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        for _ in range(64):
            out.write(b"x" * (4 << 20))
        for _ in range(64):
            out.write(b"y\n" * (2 << 18))
    code = (
        "import resource, sys; from guard.logs.source import Source\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "count = sum(1 for _ in Source(sys.argv[1]).lines())\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    count, grown_kib = map(int, said.split())
    assert count == 64 * (2 << 18)  # the endless line ends where the first "y" does
    assert grown_kib < 64 * 1024


# -- real servers and real logs ------------------------------------------------------------------------------

ODD = [b'odd "quoted" \\ back/1.0', b"caf\xc3\xa9/2.0", b"bad\xff\xfeutf8/3", b"tab\there/4", b"-", b"#7B{|}/5"]


def ask(port: int, path: bytes, user_agent: bytes | None) -> None:
    """One request, byte for byte."""
    header = b"" if user_agent is None else b"User-Agent: " + user_agent + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            b"GET " + path + b" HTTP/1.1\r\nHost: music.example\r\n" + header + b"Connection: close\r\n\r\n"
        )
        while connection.recv(4096):
            pass


def requests_with_odd_texts(port: int) -> None:
    for user_agent in ODD:
        ask(port, b"/track/%2e%2e/a%20b?q=%22x%22", user_agent)
    ask(port, b'/quote"and\\back', b"plain/1")
    ask(port, b"/none", None)


def check_odd_texts(entries: list[Entry]) -> None:
    assert [entry.user_agent for entry in entries[:6]] == [b"" if sent == b"-" else sent for sent in ODD]
    assert {entry.target for entry in entries[:6]} == {b"/track/%2e%2e/a%20b"}
    assert {entry.query for entry in entries[:6]} == {b"q=%22x%22"}
    assert [entry.target for entry in entries[6:]] == [b'/quote"and\\back', b"/none"]
    assert entries[7].user_agent == b""
    assert all(abs(entry.time_s - time.time()) < 120 for entry in entries)
    assert all(entry.ip == "127.0.0.1" and entry.method == "GET" and entry.status for entry in entries)


NGINX_CONFIGURATION = """\
daemon off; pid {tmp}/pid; error_log {tmp}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {tmp}/body; proxy_temp_path {tmp}/proxy; fastcgi_temp_path {tmp}/fastcgi;
  uwsgi_temp_path {tmp}/uwsgi; scgi_temp_path {tmp}/scgi;
  log_format escaped escape=json '{{"time": "$time_iso8601", "remote_addr": "$remote_addr", "request": "$request", '
    '"status": $status, "body_bytes_sent": $body_bytes_sent, "host": "$host", "http_user_agent": "$http_user_agent"}}';
  log_format plain '{{"msec": "$msec", "remote_addr": "$remote_addr", "request_method": "$request_method", '
    '"request_uri": "$request_uri", "status": "$status", "body_bytes_sent": "$body_bytes_sent", "host": "$host", '
    '"http_user_agent": "$http_user_agent"}}';
  access_log {tmp}/combined.log combined; access_log {tmp}/escaped.log escaped; access_log {tmp}/plain.log plain;
  server {{ listen 127.0.0.1:{port}; return 200 "hello"; }}
}}
"""


def test_what_a_real_nginx_writes_is_what_was_sent(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not on this machine")
    port = free_port()
    configuration = tmp_path / "nginx.conf"
    user = "user root;" if os.getuid() == 0 else ""
    configuration.write_text(NGINX_CONFIGURATION.format(tmp=tmp_path, port=port, user=user))
    with run([nginx, "-c", str(configuration), "-p", str(tmp_path)], port, tmp_path):
        requests_with_odd_texts(port)
    for name, form in (("combined", "combined"), ("escaped", "nginx"), ("plain", "nginx")):
        lines = [line for line in lines_of(tmp_path / f"{name}.log") if line is not None]
        assert detect(lines) == form, name
        entries = []
        for line in lines:
            try:
                entries.append(read(form, line))
            except NoRequest:
                assert b'"-"' in line or b'""' in line or b'" 400 ' in line  # waiting for the port opens and closes one
        check_odd_texts(entries)
        assert {entry.body_bytes for entry in entries} == {5}
        assert {entry.host for entry in entries} == ({None} if name == "combined" else {"music.example"})


def test_what_a_real_caddy_writes_is_what_was_sent(tmp_path: Path) -> None:
    caddy = shutil.which("caddy", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if caddy is None:
        pytest.skip("Caddy is not on this machine")
    port, log = free_port(), tmp_path / "access.log"
    configuration = tmp_path / "Caddyfile"
    configuration.write_text(
        f"{{\n admin off\n auto_https off\n}}\nhttp://:{port} {{\n bind 127.0.0.1\n log {{\n  output file {log}\n }}\n"
        " respond hello\n}\n"
    )
    home = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    with run([caddy, "run", "--config", str(configuration), "--adapter", "caddyfile"], port, tmp_path, home):
        requests_with_odd_texts(port)
    lines = [line for line in lines_of(log) if line is not None]
    assert detect(lines) == "caddy"
    entries = [read("caddy", line) for line in lines]
    replaced = "bad\ufffd\ufffdutf8/3".encode()  # Caddy's log is UTF-8: what is not, is lost in it
    assert [entry.user_agent for entry in entries] == [ODD[0], ODD[1], replaced, ODD[3], b"-", ODD[5], b"plain/1", b""]
    assert {entry.host for entry in entries} == {"music.example"}
    assert [entry.body_bytes for entry in entries] == [5] * 8
    assert entries[0].target == b"/track/%2e%2e/a%20b"
    assert entries[6].target == b'/quote"and\\back'


def test_a_real_log_of_ten_thousand_lines_is_read_but_for_the_broken_one() -> None:
    path = SHARED / "logs" / "apache_combined_2015.log"
    if not path.exists():
        pytest.skip("../shared is not here")
    lines = [line for line in lines_of(path) if line is not None]
    assert detect(lines[:300]) == "combined"
    unreadable = []
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(read("combined", line))
        except ValueError as error:
            unreadable.append((number, str(error)))
    assert unreadable == [(8899, "a quoted field is cut off")]
    assert len(entries) == 9999
    assert all(entry.user_agent is not None and entry.status and entry.target.startswith(b"/") for entry in entries)


def test_a_day_of_traffic_is_read_whole() -> None:
    path = SHARED / "traffic" / "A_dev.jsonl.gz"
    if not path.exists():
        pytest.skip("../shared is not here")
    lines = [line for line in lines_of(path) if line is not None]
    assert detect(lines[:300]) == "trace"
    entries = [read("trace", line) for line in lines]
    assert [entry.number for entry in entries] == list(range(len(entries)))
    assert all(entry.target.startswith(b"/") and entry.ip for entry in entries)
