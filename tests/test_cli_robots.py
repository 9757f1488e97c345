"""What a robots.txt asks of crawlers becomes rules: as strict as it says, for nobody who listens, line by line."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.classify import BROWSER_AGENT
from guard.cli import main
from guard.cli.robots import fetch
from guard.fragment import Fragment, adopt, allowed, disallowed, write
from guard.load import load_policy, read_policy, shipped_catalogue
from guard.model import UNKNOWN_AGENT, Agent, Identity
from guard.patterns import PathPatterns
from guard.policy import Policy, decide
from guard.robotstxt import MAX_BYTES, pattern_matches, read_robots

AGENTS = shipped_catalogue()
CRAWLERS = [agent for agent in AGENTS.agents if agent.robots_token]
LISTENERS = [
    *(agent for agent in AGENTS.agents if agent.category in ("player", "device", "browser", "library")),
    BROWSER_AGENT,
    UNKNOWN_AGENT,
]


def adopted(text: str, **options: object) -> Fragment:
    return adopt(read_robots(text), AGENTS, **options)  # type: ignore[arg-type]


def policy_of(fragment: Fragment) -> Policy:
    return read_policy(write(fragment, "robots.txt") + "\nsite: {name: x, case_sensitive: true}\ndefault: allow\n")


def refused(policy: Policy, agent: Agent, path: str) -> bool:
    return decide(policy, policy.evidence(agent, Identity.UNVERIFIED, path, "GET", ())).action == "block"


def notes(fragment: Fragment) -> str:
    return "\n".join(map(str, fragment.notes))


# -- one pattern -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "to_refuse", "to_except"),
    [
        ("/", ("/**",), ("/**",)),
        ("/*", ("/**",), ("/**",)),
        ("/media/", ("/media/**",), ("/media/*/**",)),
        ("/media/*", ("/media/**",), ("/media/*/**",)),
        ("/media", ("/media*/**",), ("/media*/**",)),
        ("/x$", ("/x",), ("/x",)),
        ("/$", ("/",), ("/",)),
        ("/x/$", ("/x",), ()),
        ("/*.mp3$", ("/**/*.mp3",), ("/**/*.mp3",)),
        ("*.mp3", ("/**/*.mp3*/**",), ("/**/*.mp3*/**",)),
        ("/hls/*.ts$", ("/hls/**/*.ts",), ("/hls/**/*.ts",)),
        ("/a*b$", ("/a*b", "/a*/**/*b"), ("/a*b", "/a*/**/*b")),
        ("/u/*/inbox$", ("/u/*/**/inbox",), ("/u/*/**/inbox",)),
        ("/caf%C3%A9/", ("/café/**",), ("/café/*/**",)),
        ("/search?q=", ("/search",), ()),
        ("/*?sort=", ("/**",), ()),
        ("/a%3Fb$", ("/a*b", "/a*/**/*b"), ()),
        ("/a%2Fb$", ("/a/b",), ()),
        ("/a//b$", ("/a/b",), ()),
        ("/a/./b/../c$", ("/a/c",), ()),
        ("/.", ("/.*/**",), ("/.*/**",)),
        ("/.well-known/.", ("/.well-known/.*/**",), ("/.well-known/.*/**",)),
        ("/a/.$", ("/a",), ()),
        ("//", ("/**",), ()),
        ("media/", (), ()),
        ("$", (), ()),
    ],
)
def test_a_robots_pattern_in_our_words(pattern: str, to_refuse: tuple[str, ...], to_except: tuple[str, ...]) -> None:
    assert disallowed(pattern).patterns == to_refuse
    assert allowed(pattern).patterns == to_except


def test_a_pattern_of_nothing_but_stars_stays_small() -> None:
    pattern = "/" + "a*b" * 40
    assert len(disallowed(pattern).patterns) <= 8
    assert disallowed(pattern).why == "too many stars"
    assert allowed(pattern).patterns == ()


BODIES = st.text(alphabet="ab/*.?", max_size=7)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab", "b.a", "a.b"]), max_size=4).map(
    lambda p: "/" + "/".join(p)
)


def holds(globs: tuple[str, ...], path: str) -> bool:
    return bool(PathPatterns(globs, case_sensitive=True).match(path))


@settings(max_examples=500)
@given(BODIES, st.booleans(), PATHS)
def test_what_refuses_holds_all_that_the_robots_pattern_does_and_no_more_where_that_can_be_said(
    body: str, ends: bool, path: str
) -> None:
    pattern = "/" + body + "$" * ends
    meant = pattern_matches(pattern, path) or (path != "/" and pattern_matches(pattern, path + "/"))
    globs = disallowed(pattern)
    if meant or not globs.why:
        assert holds(globs.patterns, path) is meant


@settings(max_examples=500)
@given(BODIES, st.booleans(), PATHS)
def test_what_excepts_holds_nothing_that_the_robots_pattern_does_not(body: str, ends: bool, path: str) -> None:
    pattern = "/" + body + "$" * ends
    meant, globs = pattern_matches(pattern, path), allowed(pattern)
    if not meant or not globs.why:
        assert holds(globs.patterns, path) is meant


# -- a whole file ----------------------------------------------------------------------------------------------

SITES = {
    "a small label": "User-agent: *\nDisallow: /api/\nDisallow: /download/\nAllow: /api/oembed\nSitemap: https://x/s.xml\n",
    "a streaming service": """\
# We love search engines. We do not love anything else.
User-agent: *
Content-Signal: search=yes, ai-input=no, ai-train=no
Disallow: /stream/
Disallow: /*/play$
Disallow: /*.m3u8
Disallow: /search
Allow: /search/about
Allow: /stream/previews/

User-agent: GPTBot
User-agent: ClaudeBot
User-agent: CCBot
User-agent: Bytespider
User-agent: Google-Extended
Disallow: /

User-agent: Googlebot
User-agent: bingbot
Disallow: /stream
Allow: /
""",
    "closed but for the press": """\
User-agent: *
Disallow: /
Allow: /$
Allow: /press
Allow: /*.css$
User-agent: Twitterbot
User-agent: facebookexternalhit
Allow: /
Disallow: /media
""",
    "a funny instance of federated audio": """\
User-agent: GPTBot
Disallow: /

User-agent: *
Disallow: /federation/
Disallow: /api/v1/
Disallow: /@*/collections
Allow: /@*/collections/public
Crawl-delay: 10

User-agent: gptbot
Allow: /about
""",
    "a shop from the last century": (
        "user-agent: *\rdisalow: /cgi-bin\rDisallow: /~admin\r\rUser-agent: Scrapy\rdisallow: /\r"
    ),
}
ASKED = [
    "/", "/api/v1/x", "/api/oembed/1", "/download/x", "/stream/1", "/stream/previews/1", "/streams", "/artist/1/play",
    "/artist/play/1", "/hls/1.m3u8", "/hls/1.m3u8/2", "/search", "/search/about", "/searching", "/press", "/press/kit",
    "/pressure", "/a/b.css", "/a/b.css/c", "/media", "/media/1", "/federation/x", "/@me/collections", "/about",
    "/@me/x/collections/public", "/@me/collections/private", "/cgi-bin/x", "/~admin", "/track/4711", "/About",
]  # fmt: skip


@pytest.mark.parametrize("text", SITES.values(), ids=SITES)
def test_every_crawler_is_refused_exactly_where_the_file_says(text: str) -> None:
    robots, policy = read_robots(text), policy_of(adopted(text))
    assert len(CRAWLERS) > 150
    for agent in CRAWLERS:
        for path in ASKED:
            assert refused(policy, agent, path) is not robots.allowed(agent.robots_token, path), (agent.name, path)


EVERYBODY = """\
User-agent: *
User-agent: VLC
User-agent: Chrome
Disallow: /
"""


@pytest.mark.parametrize("text", [EVERYBODY, *SITES.values()], ids=["closed to everybody", *SITES])
def test_nobody_who_listens_is_refused_whatever_the_file_says(text: str) -> None:
    policy = policy_of(adopted(text))
    assert policy.rules
    assert len(LISTENERS) > 150
    assert [agent.name for agent in LISTENERS for path in ASKED if refused(policy, agent, path)] == []


NAMES = ["*", "*", "GPTBot", "Googlebot", "bingbot", "Scrapy"]
FILE = st.lists(
    st.tuples(
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
        st.lists(
            st.tuples(st.sampled_from(["Allow", "Disallow", "Disallow"]), BODIES, st.sampled_from(["", "$"])),
            max_size=5,
        ),
    ),
    max_size=4,
)


@settings(max_examples=200)
@given(FILE, st.lists(PATHS, max_size=5))
def test_never_is_more_allowed_than_the_file_allows(
    groups: list[tuple[list[str], list[tuple[str, str, str]]]], paths: list[str]
) -> None:
    lines: list[str] = []
    for names, rules in groups:
        lines += [f"User-agent: {name}" for name in names]
        lines += [f"{word}: /{body}{dollar}" for word, body, dollar in rules]
    robots = read_robots("\n".join(lines))
    policy = policy_of(adopt(robots, AGENTS))
    for name in ["GPTBot", "Googlebot", "bingbot", "Scrapy", "CCBot", "Twitterbot"]:
        agent = AGENTS.by_name[name.lower()]
        for path in paths:
            assert robots.allowed(agent.robots_token, path) or refused(policy, agent, path), (lines, name, path)


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["User-agent: ", "Disallow: /", "Allow: /", "Content-Usage: ", "x: ", "GPTBot", "*"])
        | st.text(max_size=6)
    )
)
def test_no_text_of_a_stranger_becomes_anything_but_refusals_and_comments(parts: list[str]) -> None:
    fragment = adopted("User-agent: GPTBot\nDisallow: /" + "".join(parts))
    policy = policy_of(fragment)
    assert all(rule.then == "block" for rule in policy.rules)
    assert len(policy.rules) == len(fragment.rules)


def test_a_line_cannot_break_out_of_its_comment() -> None:
    text = "User-agent: x\x85rules: []\u2028default: block\nDisallow: /\x85- {}\nContent-Usage: \x0bmode: observe\n"
    written = write(adopted(text), "a\nversion: 2")
    assert all(line.lstrip()[:1] in ("#", "") or line == "version: 1" for line in written.splitlines())
    assert written.isascii()


def test_what_cannot_be_said_exactly_is_said_more_strictly_and_told() -> None:
    fragment = adopted(
        "User-agent: *\nDisallow: /search?q=\nDisallow: /*?sort=\nAllow: /*?sort=name\nDisallow: audio/\n"
    )
    assert notes(fragment).splitlines() == [
        "line 2: Disallow: /search?q= becomes /search: more than it says (the guard does not look at queries)",
        "line 3: Disallow: /*?sort= becomes /**, which is EVERYTHING: more than it says"
        " (the guard does not look at queries)",
        "line 4: Allow: /*?sort=name is not taken over (the guard does not look at queries)",
        "line 5: Disallow: audio/ is not taken over (no path begins like that: nobody is told anything)",
    ]
    assert "# line 2: Disallow: /search?q=" in write(fragment, "x")


def test_on_trial_what_is_stricter_than_the_file_refuses_nobody_yet() -> None:
    text = "User-agent: *\nDisallow: /api/\nDisallow: /*?sort=\n"
    strict, trying = policy_of(adopted(text)), policy_of(adopted(text, trial=True))
    bot = AGENTS.by_name["googlebot"]
    assert [refused(strict, bot, path) for path in ("/track/1", "/api/1")] == [True, True]
    assert [refused(trying, bot, path) for path in ("/track/1", "/api/1")] == [False, True]


def test_directive_files_stay_open_and_the_fragment_loads() -> None:
    fragment = adopted("User-agent: *\nDisallow: /robots.txt$\nDisallow: /ai.txt\n")
    policy = policy_of(fragment)
    assert len(policy.rules) == 1
    assert "line 2: Disallow: /robots.txt$ is not taken over (directive files are open to everyone" in notes(fragment)


def test_who_is_not_known_or_listens_or_is_a_library_is_told_of() -> None:
    fragment = adopted(
        "User-agent: BrandNewBot\nUser-agent: VLC\nUser-agent: okhttp\nUser-agent: MJ12bot\nDisallow: /\n"
    )
    assert notes(fragment).splitlines() == [
        "line 1: 'BrandNewBot' is not in the catalogue: no rule is made for it",
        "line 2: 'VLC' is how people listen (player): no rule is made for it",
        "line 3: 'okhttp' is an HTTP library: apps of listeners may be built on it",
    ]
    assert fragment.rules[0].agents == ("okhttp", "MJ12bot")


def test_what_may_not_mean_what_its_author_thinks_is_told() -> None:
    text = "Disallow: /a\nUser-agent: *\nContent-Signal: ai-train=no\nUser-agent: CCBot\nCrawl-delay: 5\nHost: x\n"
    text += "Disallow: /\n"
    assert notes(adopted(text)).splitlines() == [
        "line 1: 'disallow' is not taken over: it stands above every User-agent line",
        "line 4: 'CCBot' joins the group above: no Allow or Disallow stands between (RFC 9309 2.2.1)",
        "line 5: Crawl-delay is not taken over: write a limit, if you want one",
        "line 6: 'host' is not taken over: it has no place in a policy",
    ]
    assert "there is no 'User-agent' line" in notes(adopted("<html>"))


@pytest.mark.parametrize("word", ["Allow: /a*{}\nDisallow: /{}\n", "Allow: /x{}\nDisallow: /{}\n", "Disallow: /{}\n"])
def test_a_file_of_too_many_patterns_is_refused_not_written(word: str) -> None:
    lines = "".join(word.format(number, number) for number in range(21_000 if word.count("{") == 1 else 9_000))
    with pytest.raises(ValueError, match="too much for one policy"):
        adopted("User-agent: *\n" + lines)


# -- preferences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no", {"train-ai": "disallow", "search": "allow"}),
        ("User-agent: *\ncontent-signal: AI-Input=NO,use=reference", {"ai-use": "disallow"}),
        ("User-agent: *\nContent-Signal: ai-train: no, search=maybe, =no, ai-input", {}),
        ("User-agent: *\nContent-Usage: train-ai=n, ai-use=y", {"train-ai": "disallow", "ai-use": "allow"}),
        ("User-agent: *\nContent-Usage: / train-ai=n", {"train-ai": "disallow"}),
        ("User-agent: *\nContent-Usage: /open/ train-ai=y", {}),
        ("User-agent: *\nContent-Usage: train-ai=n,", {}),
        ("User-agent: *\nContent-Signal: ai-train=yes\nContent-Usage: train-ai=n", {"train-ai": "disallow"}),
        ("User-agent: GPTBot\nContent-Signal: ai-train=no", {}),
        ("Content-Signal: ai-train=no", {}),
        (
            "User-agent: *\nContent-Signal: ai-train=no, search=yes\nAllow: /\n"
            "User-agent: Googlebot\nContent-Signal: search=no",
            {"train-ai": "disallow"},
        ),
        (
            "User-agent: *\nContent-Signal: ai-train=no\nAllow: /\n"
            "User-agent: CCBot\nContent-Signal: ai-train=no\nDisallow: /",
            {"train-ai": "disallow"},
        ),
    ],
)
def test_preferences_are_taken_over_where_everybody_is_told_the_same(text: str, stated: dict[str, str]) -> None:
    assert dict(policy_of(adopted(text)).preferences) == stated


def test_a_preference_that_is_left_out_is_told() -> None:
    assert notes(adopted("User-agent: GPTBot\nContent-Signal: ai-train=no\nDisallow: /")) == (
        "line 2: 'train-ai' is not taken over: it is stated for agents by name only"
    )
    text = "User-agent: *\nContent-Usage: search=y\nAllow: /\nUser-agent: Googlebot\nContent-Usage: search=n\nAllow: /"
    assert notes(adopted(text)) == "line 5: 'search' is not taken over: another preference is stated for agents by name"


# -- the command -----------------------------------------------------------------------------------------------


def here(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The command in this process: exit code, stdout, stderr."""
    code = main(["robots", "import", *words])
    return code, *capsys.readouterr()


def guard(*words: str, **options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "guard", *words], capture_output=True, text=True, timeout=60, **options
    )


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def site(answer: Answer) -> Iterator[str]:
    """A web server on a free port of the loopback that answers every GET so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answering(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in ({"Content_Type": "text/plain"} | headers).items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_site_becomes_a_fragment_that_a_policy_includes(tmp_path: Path) -> None:
    with site(answering(200, SITES["a streaming service"].encode())) as url:
        said = guard("robots", "import", url)
    assert said.returncode == 0
    assert said.stderr == (
        "guard robots: line 9: Allow: /stream/previews/ is taken for what is below it, not for the place itself\n"
    )
    assert f"# What {url}/robots.txt asks of crawlers" in said.stdout
    assert '        - "/stream/**"  # line 4: Disallow: /stream/\n' in said.stdout
    assert '          - "/stream/previews/*/**"  # line 9: Allow: /stream/previews/\n' in said.stdout
    assert "never of browsers, players, devices" in said.stdout
    (tmp_path / "from-robots.yaml").write_text(said.stdout)
    (tmp_path / "policy.yaml").write_text("version: 1\nsite: {name: x}\ndefault: allow\ninclude: [from-robots.yaml]\n")
    policy = load_policy(tmp_path / "policy.yaml")
    assert policy.preferences["train-ai"] == "disallow"
    assert refused(policy, AGENTS.by_name["gptbot"], "/track/1")
    assert refused(policy, AGENTS.by_name["yandexbot"], "/stream/1")
    assert not refused(policy, AGENTS.by_name["yandexbot"], "/stream/previews/1")
    assert not refused(policy, BROWSER_AGENT, "/stream/1")


def test_own_rules_of_the_policy_come_first_and_nothing_is_let_past_the_others(tmp_path: Path) -> None:
    """A fragment never says allow: what the file allows, the policy may still refuse."""
    (tmp_path / "f.yaml").write_text(write(adopted("User-agent: *\nAllow: /\nDisallow: /x\n"), "robots.txt"))
    rows = "version: 1\nsite: {name: x}\ndefault: allow\ninclude: [f.yaml]\nagents: {ai-*: block}\n"
    (tmp_path / "p.yaml").write_text(rows)
    policy = load_policy(tmp_path / "p.yaml")
    assert [refused(policy, AGENTS.by_name["gptbot"], path) for path in ("/x", "/y")] == [True, True]
    assert [refused(policy, AGENTS.by_name["googlebot"], path) for path in ("/x", "/y")] == [True, False]
    (tmp_path / "p.yaml").write_text(rows + "rules: [{name: ours, when: {agent: Googlebot}, then: allow}]\n")
    assert not refused(load_policy(tmp_path / "p.yaml"), AGENTS.by_name["googlebot"], "/x")


def test_only_some_agents(tmp_path: Path) -> None:
    file = tmp_path / "robots.txt"
    file.write_text(SITES["a streaming service"])
    said = guard("robots", "import", str(file), "--agent", "gptbot", "--agent", "Applebot", "--json")
    answer = json.loads(said.stdout)
    assert [rule["agents"] for rule in answer["rules"]] == [["GPTBot"], ["Applebot"], ["Applebot"], ["Applebot"]]
    assert all(rule["categories"] == [] for rule in answer["rules"])
    assert answer["preferences"] == {"train-ai": "disallow", "ai-use": "disallow", "search": "allow"}
    assert answer["fragment"].startswith("# What ")
    wrong = guard("robots", "import", str(file), "--agent", "GPTBt")
    assert (wrong.returncode, wrong.stderr) == (2, "guard robots: unknown agent 'GPTBt', did you mean 'GPTBot'?\n")


def test_what_to_look_at_stands_on_stderr() -> None:
    said = guard("robots", "import", "-", input="User-agent: *\nDisallow: /*?q=\n")
    assert said.returncode == 0
    assert said.stderr.startswith("guard robots: line 2: Disallow: /*?q= becomes /**, which is EVERYTHING")
    assert (
        "mode: observe"
        not in guard("robots", "import", "-", "--strict", input="User-agent: *\nDisallow: /*?q=\n").stdout
    )
    assert "mode: observe" in guard("robots", "import", "-", input="User-agent: *\nDisallow: /*?q=\n").stdout


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_site_without_the_file_allows_everything(status: int, capsys: pytest.CaptureFixture[str]) -> None:
    with site(answering(status, b"User-agent: *\nDisallow: /")) as url:
        code, out, _ = here(capsys, url)
    assert code == 0
    assert f"the answer was {status}: to a crawler everything is allowed then" in out
    assert "rules:" not in out
    assert read_policy(out + "site: {name: x}\ndefault: allow\n").rules == ()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answering(500), "the answer was 500"),
        (answering(503), "the answer was 503"),
        (answering(429), "the answer was 429"),
        (answering(304), "the answer was 304"),
        (answering(301), "the answer was 301"),
        (answering(302, Location="/again"), "more than 5 redirects"),
        (answering(302, Location="file:///etc/hostname"), "only http:// and https://"),
        (answering(302, Location="ftp://127.0.0.1/robots.txt"), "only http:// and https://"),
        (answering(200, b"\x1f\x8b", Content_Encoding="gzip"), "came compressed"),
        (lambda handler: handler.wfile.write(b"HTTP/9 nonsense\r\n\r\n") and None, "HTTP/9 nonsense"),
        (lambda handler: None, "Remote end closed connection"),
    ],
)  # fmt: skip
def test_what_could_not_be_had_is_one_line_and_no_fragment(
    answer: Answer, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with site(answer) as url:
        code, out, said = here(capsys, url)
    assert (code, out) == (2, "")
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    "source",
    [
        "ftp://x/robots.txt",
        "file:///etc/hostname",
        "http://",
        "http://u:p@x/",
        "http://x.invalid/",
        "/nowhere",
        "http://[x/",
    ],
)
def test_what_is_no_address_or_file_is_refused(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, said = here(capsys, source)
    assert (code, out) == (2, "")
    assert len(said.splitlines()) == 1
    assert "urlopen" not in said
    assert "u:p" not in said


def test_five_redirects_are_followed_and_not_one_more() -> None:
    def after(redirects: int) -> Answer:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            hops = handler.path.count("hop")
            if hops < redirects:
                answering(302, Location="/hop" * (hops + 1))(handler)
            else:
                answering(200, b"User-agent: *\nDisallow: /deep\n")(handler)

        return answer

    with site(after(5)) as url:
        assert fetch(url).body.endswith(b"/deep\n")
    with site(after(6)) as url, pytest.raises(ValueError, match="more than 5 redirects"):
        fetch(url)


def test_no_more_than_the_bound_is_read_of_an_endless_file() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/plain")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"Disallow: /\n" * 4096)
        except OSError:
            pass  # the client had enough

    with site(answer) as url:
        assert len(fetch(url).body) == MAX_BYTES + 1


def test_who_answers_too_slowly_is_not_waited_for() -> None:
    done = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not done.wait(0.02):  # a header line now and then: no single read is late
            try:
                handler.wfile.write(b"X: y\r\n")
            except OSError:
                return

    with site(answer) as url:
        with pytest.raises(ValueError, match=r"no answer within 0\.3 s"):
            fetch(url, deadline_s=0.3)
        done.set()


def test_a_page_in_place_of_the_file_is_told_of() -> None:
    with site(answering(200, b"<!doctype html>", Content_Type="text/html; charset=utf-8")) as url:
        said = guard("robots", "import", url)
    assert said.returncode == 2
    assert "this is no robots.txt" in said.stderr
    assert "it came as text/html, not as text/plain" in said.stderr


def test_a_file_that_is_no_robots_txt_and_a_host_without_its_scheme_are_told_of(tmp_path: Path) -> None:
    file = tmp_path / "robots.txt"
    file.write_text("version: 1\n")
    said = guard("robots", "import", str(file))
    assert (said.returncode, said.stdout) == (2, "")
    assert "this is no robots.txt" in said.stderr
    for text in ("", "# nothing\n", "Sitemap: https://music.example/map.xml\n"):
        file.write_text(text)
        assert guard("robots", "import", str(file)).returncode == 0
    assert "did you mean https://music.example?" in guard("robots", "import", "music.example").stderr


def test_a_disallow_with_a_query_leaves_the_others_of_its_group_enforced(tmp_path: Path) -> None:
    file = tmp_path / "robots.txt"
    file.write_text("User-agent: GPTBot\nDisallow: /search?q=\nDisallow: /private\n")
    rules = json.loads(guard("robots", "import", str(file), "--json").stdout)["rules"]
    modes = {path["path"]: rule["mode"] for rule in rules for path in rule["paths"]}
    assert {mode for path, mode in modes.items() if path.startswith("/private")} == {"enforce"}
    assert {mode for path, mode in modes.items() if path.startswith("/search")} == {"observe"}
