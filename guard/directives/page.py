"""The terms for people at /ai-policy, with every change and its dates; the same as JSON, and as an Atom feed. Pure.

The law: the page says what the policy says, whether or not the record of versions has it already, and then tells of
that, too. No script, nothing from elsewhere, one style sheet within; whatever anybody is called, it stays text. The
moment only tells what is coming from what holds: it is not printed, so that the same input makes the same bytes.

Atom: RFC 4287. `versions` are always the newest announcement first, as `guard.ledger.versions.Versions.all` gives them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from math import inf
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from guard.directives.declaration import Declaration
from guard.directives.words import (
    DAY_S,
    KIND_TITLES,
    MEANINGS,
    TITLES,
    VERDICTS,
    WHO,
    Terms,
    Version,
    by_treatment,
    hash_of,
    in_force,
    plain,
    say,
    say_exceptions,
    say_notice,
    say_promise,
    say_purpose,
    say_treatment,
    say_works,
    stated_of,
    terms_of,
    upcoming,
    write_terms,
)
from guard.moments import write_moment
from guard.rights import Rights, Work

PAGE, JSON, FEED = "/ai-policy", "/ai-policy.json", "/ai-policy/feed.xml"
MAX_SHOWN = 100
"""So many versions stand on the page and in the feed; the JSON twin has all."""

_FOR_MACHINES = (
    ("/robots.txt", "robots.txt", "who may fetch what, and what for"),
    ("/.well-known/tdmrep.json", "tdmrep.json", "text and data mining reservations"),
    ("/license.xml", "license.xml", "terms and licences (RSL)"),
    (JSON, "ai-policy.json", "this page as data, with the whole record"),
    (FEED, "feed.xml", "a feed that announces changes"),
)

_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf6;--ink:#211e1a;--soft:#615a50;--line:#ddd7ca;--tint:#f2eee4;
--no:#96301c;--yes:#29603f;--mark:#80600f}
@media(prefers-color-scheme:dark){:root{--paper:#161513;--ink:#e9e4da;--soft:#a9a193;--line:#37332c;--tint:#201e1a;
--no:#f09a85;--yes:#93cba5;--mark:#e2bf68}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);overflow-wrap:break-word;
font:1.0625rem/1.6 Charter,"Bitstream Charter","Iowan Old Style","Source Serif 4",Georgia,"Noto Serif",serif}
header,main,footer{max-width:43rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:clamp(2.5rem,9vw,5.5rem)}
footer{padding-top:1.5rem;padding-bottom:4rem;color:var(--soft);font-size:.9375rem}
a{color:inherit;text-decoration-color:var(--mark);text-decoration-thickness:.08em;text-underline-offset:.2em}
a:hover{text-decoration-thickness:.14em}
:focus-visible{outline:2px solid var(--mark);outline-offset:3px;border-radius:2px}
h1,h2,h3,p,dl,dd,ul,ol{margin:0;padding:0}
ul,ol{list-style:none}
.label,h2,.state,.tag,th{font:600 .8125rem/1.4 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
.label{color:var(--soft)}
h1{font-size:clamp(2.1rem,7vw,3.1rem);line-height:1.1;font-weight:600;letter-spacing:-.015em;margin:.3rem 0 1.4rem}
.lead{font-size:clamp(1.2rem,3.6vw,1.4rem);line-height:1.45;max-width:36rem}
.lead+.lead{margin-top:.6rem}
.status{margin-top:1.5rem;color:var(--soft)}
section{margin-top:3.25rem}
h2{font-size:.9375rem;padding-bottom:.55rem;border-bottom:1px solid var(--line);margin-bottom:1.1rem}
h3{font-size:1.125rem;line-height:1.35;font-weight:600}
.soft{color:var(--soft)}
.coming{border-left:3px solid var(--mark);border-radius:0 4px 4px 0;background:var(--tint);padding:1.3rem 1.4rem}
.coming h2{border:0;padding:0;margin:0 0 .8rem;color:var(--mark)}
.coming article+article{margin-top:1.5rem;padding-top:1.3rem;border-top:1px solid var(--line)}
.coming h3{font-size:1.35rem}
.trial{margin-top:2rem;padding:.9rem 1.1rem;border:1px solid var(--mark);border-radius:4px}
.terms>div{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:.15rem 1.5rem;align-items:baseline;
padding:.95rem 0;border-bottom:1px solid var(--line)}
.terms>div:first-child{padding-top:0}
.terms dt{font-size:1.1875rem;font-weight:600}
.terms dd+dd{grid-column:1/-1;color:var(--soft);max-width:34rem}
.verdict{font-weight:600;white-space:nowrap}
.allow{color:var(--yes)}.disallow{color:var(--no)}.unsaid{color:var(--soft);font-weight:400}
.scroll{overflow-x:auto;margin-top:1.6rem}
table{border-collapse:collapse;width:100%}
caption{text-align:left;padding-bottom:.6rem}
th{text-align:left;color:var(--soft);vertical-align:bottom}
th,td{padding:.5rem 1.25rem .5rem 0;border-bottom:1px solid var(--line)}
tbody th{font:inherit;color:var(--ink);vertical-align:baseline}
td{vertical-align:baseline;font-size:1rem}
.who>div{padding:.8rem 0;border-bottom:1px solid var(--line)}
.who>div:first-child{padding-top:0}
.who dt{font-weight:600}
.log{margin-top:1.5rem}
.files li{display:flex;flex-wrap:wrap;gap:0 .9rem;padding:.3rem 0}
.files a{min-width:9.5rem}
.log>li{padding:1.4rem 0 1.5rem;border-bottom:1px solid var(--line)}
.log>li:first-child{padding-top:.2rem}
.log>li:target{background:var(--tint);margin:0 -1rem;padding-left:1rem;padding-right:1rem;border-radius:4px}
.log h3{display:flex;flex-wrap:wrap;gap:.1rem .8rem;align-items:baseline}
.log h3 a{text-decoration:none}.log h3 a:hover{text-decoration:underline}
.state{color:var(--soft)}.state.now{color:var(--yes)}.state.soon{color:var(--mark)}
.log .gone h3 time{text-decoration:line-through}
.changes{margin-top:.6rem}
.changes li{display:grid;grid-template-columns:4.6rem minmax(0,1fr);gap:.6rem;padding:.18rem 0}
.tag{line-height:1.7rem;color:var(--soft)}.tag.looser{color:var(--mark)}.tag.tighter{color:var(--yes)}
.dates{margin-top:.7rem;color:var(--soft);font-size:.9375rem}
code{font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
.hash{display:block;margin-top:.35rem;color:var(--soft)}
@media(max-width:30rem){.changes li{grid-template-columns:1fr;gap:0}.tag{line-height:1.5}
th,td{padding-right:.7rem}td{font-size:.9375rem}td .verdict{white-space:normal}
.coming{padding-left:1.1rem;padding-right:1.1rem}}
@media print{body{background:#fff;color:#000}section{break-inside:avoid-page}}
"""

CSP = (
    "default-src 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy under which the page looks as it is meant: nothing but its own style sheet."""


# -- the page ------------------------------------------------------------------------------------------------


def render_page(declaration: Declaration, versions: Sequence[Version], now_s: float) -> str:
    """The page, HTML with LF line ends. `now_s`: seconds since 1970, see the law of this file."""
    policy = declaration.policy
    terms = terms_of(policy, declaration.catalogue, now_s)
    name = _text(policy.site.name)
    leads = [say_purpose(terms, purpose) for purpose in ("train-ai", "ai-use")]
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>AI policy · {name}</title>",
        f'<meta name="description" content="{_text(" ".join(leads))}">',
        f'<link rel="alternate" type="application/atom+xml" title="Changes of the AI policy" href="{FEED}">',
        f'<link rel="alternate" type="application/json" href="{JSON}">',
        *([f'<link rel="canonical" href="{_text(declaration.address(PAGE))}">'] if policy.site.url else []),
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<header>",
        f'<p class="label">{name}</p>',
        "<h1>AI policy</h1>",
        *(f'<p class="lead">{_text(lead)}</p>' for lead in leads),
        f'<p class="status">{_status(terms, versions, now_s)}</p>',
        "</header>",
        "<main>",
        *_trial(terms),
        *_coming(upcoming(versions, now_s)),
        *_purposes(terms),
        *_who(terms),
        *_works(declaration, terms),
        *_reach(terms),
        *_machines(),
        *_log(terms, versions, now_s),
        "</main>",
        "<footer><p>Times are in UTC.</p></footer>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def render_work(declaration: Declaration, work: Work, rights: Rights) -> str:
    """The page of one work: what its holders allow, in the same words. Who holds a licence is not told."""
    policy = declaration.policy
    general = terms_of(policy, declaration.catalogue, declaration.at_s)
    terms = replace(
        general,
        stated=stated_of(policy, rights),
        contact=rights.contact or general.contact,
        licence=rights.licence_url or general.licence,
    )
    name, title = _text(policy.site.name), _text(f"{work.layer} {work.id}")
    leads = [say_purpose(terms, purpose, of=f"this {work.layer}") for purpose in ("train-ai", "ai-use")]
    if rights.licences:
        count = len(rights.licences)
        leads.append(f"{count} licence{'' if count == 1 else 's'} for it {'has' if count == 1 else 'have'} been given.")
    address = quote(str(work), safe="")
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>AI policy · {title} · {name}</title>",
        f'<meta name="description" content="{_text(" ".join(leads))}">',
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<header>",
        f'<p class="label">{name}</p>',
        f"<h1>{_capital(title)}</h1>",
        *(f'<p class="lead">{_text(lead)}</p>' for lead in leads),
        f'<p class="status">What holds for this {work.layer} alone. '
        f'<a href="{PAGE}">What holds for all works here</a></p>',
        "</header>",
        "<main>",
        *_purposes(terms),
        *_reach(terms),
        '<section aria-labelledby="machines">',
        '<h2 id="machines">The same for machines</h2>',
        '<ul class="files">',
        f'<li><a href="/license.xml?work={address}">license.xml</a><span class="soft">RSL 1.0</span></li>',
        f'<li><a href="/.well-known/tdm-policy.json?work={address}">tdm-policy.json</a>'
        '<span class="soft">TDMRep, ODRL</span></li>',
        "</ul>",
        "</section>",
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _status(terms: Terms, versions: Sequence[Version], now_s: float) -> str:
    current = in_force(versions, now_s)
    if current is None:
        return "These terms are in force. No record of earlier terms is kept here."
    if current.terms_hash != hash_of(terms):
        return "These terms are in force, and are not in the record below yet."
    return f'Version <a href="#{_text(current.id)}">{_text(current.id)}</a>, in force since {_time(current.start_s)}.'


def _trial(terms: Terms) -> list[str]:
    if terms.enforced:
        return []
    return [
        '<p class="trial"><strong>On trial.</strong> These terms are stated to everybody. Who does not heed them is '
        "noted, and not refused yet.</p>"
    ]


def _coming(ahead: Sequence[Version]) -> list[str]:
    if not ahead:
        return []
    out = ['<section class="coming" aria-labelledby="coming">', '<h2 id="coming">This will change</h2>']
    for version in ahead[:MAX_SHOWN]:
        out += [
            "<article>",
            f"<h3>From {_time(version.start_s)}</h3>",
            *_changes(version.changes),
            f'<p class="dates">Announced {_time(version.announced_s)}, {_text(say_notice(version))}. '
            f'<a href="#{_text(version.id)}">{_text(version.id)} in the record</a></p>',
            "</article>",
        ]
    return [*out, "</section>"]


def _purposes(terms: Terms) -> list[str]:
    out = ['<section aria-labelledby="terms">', '<h2 id="terms">What may be done</h2>', '<dl class="terms">']
    for purpose in terms.purposes():
        out.append(
            f"<div><dt>{_text(TITLES[purpose])}</dt><dd>{_verdict(terms.word('', purpose))}</dd>"
            f"<dd>{_text(MEANINGS[purpose])}</dd></div>"
        )
    out.append("</dl>")
    kinds = [kind for kind in KIND_TITLES if kind in terms.kinds()]
    if kinds:
        columns = "".join(f'<th scope="col">{_text(TITLES[purpose])}</th>' for purpose in terms.purposes())
        out += [
            '<div class="scroll" role="region" aria-labelledby="kinds" tabindex="0"><table>',
            '<caption id="kinds">For some works it is otherwise:</caption>',
            f'<thead><tr><th scope="col">What</th>{columns}</tr></thead>',
            "<tbody>",
        ]
        for kind in (*kinds, ""):
            cells = "".join(f"<td>{_verdict(terms.word(kind, purpose))}</td>" for purpose in terms.purposes())
            out.append(f'<tr><th scope="row">{_text(KIND_TITLES[kind])}</th>{cells}</tr>')
        out += ["</tbody>", "</table></div>"]
    return [*out, "</section>"]


def _verdict(word: str) -> str:
    return f'<span class="verdict {word or "unsaid"}">{_capital(VERDICTS[word])}</span>'


def _who(terms: Terms) -> list[str]:
    if not terms.dealt:
        return []
    out = ['<section aria-labelledby="who">', '<h2 id="who">Who is let in</h2>', '<dl class="who">']
    for treatment, group in by_treatment(terms):
        names = []
        for one in group:
            but = f' <span class="soft">({_text(say_exceptions(one))})</span>' if one.exceptions else ""
            names.append(f"{_text(WHO[one.category])}{but}")
        out.append(f"<div><dt>{_capital(say_treatment(treatment))}</dt><dd>{_capital('; '.join(names))}.</dd></div>")
    return [*out, "</dl>", "</section>"]


def _works(declaration: Declaration, terms: Terms) -> list[str]:
    if not terms.works:
        return []
    total, named = declaration.total, declaration.named
    return [
        '<section aria-labelledby="works">',
        '<h2 id="works">Works with rights of their own</h2>',
        f"<p>{_text(say_works(terms))}</p>",
        f'<p class="dates">Works with rights of their own: {total:,}; {named:,} of them are named in '
        '<a href="/robots.txt">robots.txt</a>. Each answer states what holds for its own work.</p>',
        "</section>",
    ]


def _reach(terms: Terms) -> list[str]:
    rows = [("Contact", terms.contact), ("Licences", terms.licence)]
    said = [f"<div><dt>{title}</dt><dd>{_link(text)}</dd></div>" for title, text in rows if text]
    if not said:
        return []
    return [
        '<section aria-labelledby="reach">',
        '<h2 id="reach">Ask us</h2>',
        '<dl class="who">',
        *said,
        "</dl>",
        "</section>",
    ]


def _machines() -> list[str]:
    rows = [
        f'<li><a href="{path}">{name}</a><span class="soft">{what}</span></li>' for path, name, what in _FOR_MACHINES
    ]
    return [
        '<section aria-labelledby="machines">',
        '<h2 id="machines">The same for machines</h2>',
        '<ul class="files">',
        *rows,
        "</ul>",
        "</section>",
    ]


def _log(terms: Terms, versions: Sequence[Version], now_s: float) -> list[str]:
    if not versions and not terms.notice_days:
        return []
    out = ['<section aria-labelledby="record">', '<h2 id="record">Every change, with its dates</h2>']
    if terms.notice_days:
        out.append(f"<p>{_text(say_promise(terms.notice_days))}</p>")
    if versions:
        out.append(
            '<p class="dates">Nothing is taken out of this record. The number under each entry is the SHA-256 of its '
            f'terms. <a href="{FEED}">The feed</a> announces what comes next.</p>'
        )
        out.append('<ol class="log">')
    for version in versions[:MAX_SHOWN]:
        state, look = _state(version, now_s), _LOOKS[_state(version, now_s)]
        name = _text(version.id)
        out += [
            f'<li id="{name}" class="{look}">',
            f'<h3><a href="#{name}">{name}</a> {_time(version.start_s)} <span class="state {look}">{state}</span></h3>',
            *(_changes(version.changes) or ['<p class="changes">The first terms in this record.</p>']),
            f'<p class="dates">{_dates(version)}</p>',
            f'<code class="hash" title="SHA-256 of the terms">{_text(version.terms_hash)}</code>',
            "</li>",
        ]
    if versions:
        out.append("</ol>")
    if len(versions) > MAX_SHOWN:
        out.append(
            f'<p class="dates">{len(versions) - MAX_SHOWN:,} older versions are in <a href="{JSON}">the data</a>.</p>'
        )
    return [*out, "</section>"]


_LOOKS = {"withdrawn": "gone", "announced": "soon", "in force": "now", "ended": "then"}


def _state(version: Version, now_s: float) -> str:
    if version.withdrawn:
        return "withdrawn"
    if version.start_s > now_s:
        return "announced"
    return "in force" if now_s < version.end_s else "ended"


def _dates(version: Version) -> str:
    until = f" until {_time(version.end_s)}" if version.end_s < inf else ""
    if version.notice_s <= 0:  # what was there before there was a record needed no notice
        return f"In force from {_time(version.start_s)}{until}{', without notice' if version.changes else ''}."
    said = f"Announced {_time(version.announced_s)}, {_text(say_notice(version))}."
    if version.withdrawn:
        return f"{said} Withdrawn {_time(version.withdrawn_s)}, before it began."
    return f"{said} In force from {_time(version.start_s)}{until}."


def _changes(changes: Iterable[str]) -> list[str]:
    rows = []
    for mark, text in map(plain, changes):
        word = {"neutral": "other"}.get(mark, mark)
        rows.append(f'<li><span class="tag {mark}">{_capital(word)}</span><span>{_text(text)}</span></li>')
    return ['<ul class="changes">', *rows, "</ul>"] if rows else []


# -- data and feed -------------------------------------------------------------------------------------------


def render_json(declaration: Declaration, versions: Sequence[Version], now_s: float) -> str:
    """The page as JSON. Times are RFC 3339 in UTC; `end` null = until another version follows."""
    policy = declaration.policy
    terms = terms_of(policy, declaration.catalogue, now_s)
    current = in_force(versions, now_s)
    recorded = current is not None and current.terms_hash == hash_of(terms)
    said: dict[str, Any] = {
        "site": policy.site.name,
        "page": declaration.address(PAGE),
        "feed": declaration.address(FEED),
        "version": current.id if current is not None and recorded else None,
        "terms_hash": hash_of(terms),
        "terms": write_terms(terms),
        "sentences": say(terms),
    }
    if terms.works:
        said["works"] = {"total": declaration.total, "named_in_robots_txt": declaration.named}
    said["versions"] = [_as_json(version, now_s, number < MAX_SHOWN) for number, version in enumerate(versions)]
    return json.dumps(said, indent=1) + "\n"


def _as_json(version: Version, now_s: float, whole: bool) -> dict[str, Any]:
    """Of older versions the terms themselves are left out; their hash is there."""
    changes = [(change, *plain(change)) for change in version.changes]
    return {
        "id": version.id,
        "state": _state(version, now_s),
        "policy": version.policy_version,
        "announced": write_moment(version.announced_s),
        "start": write_moment(version.start_s),
        "end": write_moment(version.end_s) if version.end_s < inf and not version.withdrawn else None,
        "withdrawn": write_moment(version.withdrawn_s) if version.withdrawn else None,
        "notice_days": int(version.notice_s // DAY_S),
        "changes": [
            {"direction": mark, "text": text, "opens": change in version.loosened} for change, mark, text in changes
        ],
        "loosened": bool(version.loosened),
        "terms_hash": version.terms_hash,
        "record": version.record,
        **({"terms": write_terms(version.terms)} if whole else {}),
    }


def render_feed(declaration: Declaration, versions: Sequence[Version], now_s: float) -> str:
    """The changes as an Atom feed (RFC 4287): an entry for each version from its announcement on."""
    site = declaration.policy.site
    name = _text(site.name)
    updated_s = max((_updated(version) for version in versions), default=0.0)
    out = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="en">',
        f"<id>{_text(_identify(declaration, ''))}</id>",
        f"<title>AI policy of {name}: changes</title>",
        f"<updated>{write_moment(updated_s)}</updated>",
        f"<author><name>{name}</name></author>",
        f'<link rel="self" type="application/atom+xml" href="{_text(declaration.address(FEED))}"/>',
        f'<link rel="alternate" type="text/html" href="{_text(declaration.address(PAGE))}"/>',
    ]
    for version in versions[:MAX_SHOWN]:
        out += [
            "<entry>",
            f"<id>{_text(_identify(declaration, version.id))}</id>",
            f"<title>{_text(_headline(version))}</title>",
            f"<published>{write_moment(version.announced_s)}</published>",
            f"<updated>{write_moment(_updated(version))}</updated>",
            f'<link rel="alternate" type="text/html" href="{_text(declaration.address(PAGE))}#{_text(version.id)}"/>',
            f'<content type="html">{escape(_entry(version))}</content>',
            "</entry>",
        ]
    return "\n".join([*out, "</feed>"]) + "\n"


def _identify(declaration: Declaration, version: str) -> str:
    """A name for a feed or an entry that stays: the site's own address, or a URN made from its name."""
    if declaration.policy.site.url:
        return declaration.address(PAGE) + (f"#{version}" if version else "")
    return f"urn:uuid:{uuid5(NAMESPACE_URL, _clean(f'ai-policy:{declaration.policy.site.name}#{version}'))}"


def _updated(version: Version) -> float:
    return version.withdrawn_s if version.withdrawn else version.announced_s


def _headline(version: Version) -> str:
    if version.withdrawn:
        return f"{version.id} is withdrawn and will not begin on {_day(version.start_s)}"
    opened = " Something reserved is opened." if version.loosened else ""
    return f"{version.id}, in force from {_day(version.start_s)} ({say_notice(version)}).{opened}"


def _entry(version: Version) -> str:
    """The HTML of an entry."""
    rows = "".join(f"<li>{_capital(_text(change))}</li>" for change in version.changes)
    said = f"<ul>{rows}</ul>" if rows else "<p>The first terms in this record.</p>"
    return f"{said}<p>{_dates(version)}</p><p><code>{_text(version.terms_hash)}</code></p>"


# -- text ----------------------------------------------------------------------------------------------------

_NO_TEXT = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_MAIL = re.compile(r"[^\s@<>\"']{1,64}@[A-Za-z0-9.-]{1,255}")
_URL = re.compile(r"(?:https?://|mailto:)[^\s<>\"'\\^`{|}]{1,2000}", re.IGNORECASE)


def _clean(text: str) -> str:
    """Without what no XML may hold (1.0, 2.2), and without what turns the direction of writing."""
    return _NO_TEXT.sub("\ufffd", text)


def _text(text: str) -> str:
    return escape(_clean(text))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _link(text: str) -> str:
    """A link, where the text is an address that a browser may safely follow."""
    shown = text[len("mailto:") :] if text.lower().startswith("mailto:") else text
    if _URL.fullmatch(text):
        return f'<a href="{_text(text)}" rel="noreferrer">{_text(shown)}</a>'
    if _MAIL.fullmatch(text):
        return f'<a href="mailto:{_text(text)}">{_text(text)}</a>'
    return _text(text)


def _time(moment_s: float) -> str:
    return f'<time datetime="{write_moment(moment_s)}">{_day(moment_s)}</time>'


def _day(moment_s: float) -> str:
    """`1 December 2026`, with the time of day where it is not midnight (UTC)."""
    moment = datetime.fromtimestamp(moment_s, UTC)
    day = f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}"
    return day if (moment.hour, moment.minute) == (0, 0) else f"{day}, {moment:%H:%M}"
