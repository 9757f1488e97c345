"""Where the words of holders are kept. The law of this family: `find` never raises and never waits.

    *.yaml *.yml                   a file that people write, for some thousand works
    *.sqlite *.sqlite3 *.db        one SQLite file for millions of works, with their history; also sqlite:///path
    http:// https://               the platform is asked
    redis:// rediss:// unix://     a Redis or Valkey that a whole fleet shares

What each of them promises is in `guard.protocols`; tests/test_registers.py holds all of them to it.
"""

from __future__ import annotations

from difflib import get_close_matches
from urllib.parse import unquote

from guard.protocols import RightsSource

FILES = {".yaml": "yaml", ".yml": "yaml", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".db": "sqlite"}
SCHEMES = ("sqlite://", "http://", "https://", "redis://", "rediss://", "unix://")


def open_register(location: str, *, max_age_s: float = 60.0, lenient: bool = False) -> RightsSource:
    """The register that a path or an address names, not yet opened.

    `max_age_s`: so long an answer of a platform that is asked over HTTP counts. Raises ValueError when the location
    names no register, and RegisterError when it is a YAML file with problems, unless `lenient`: then the problems are
    logged, and the register is away until the file is right.
    """
    scheme, separator, rest = location.partition("://")
    scheme = scheme.lower()
    if separator and scheme in ("http", "https"):
        from guard.registers.http import HttpRegister

        return HttpRegister(location, max_age_s=max_age_s)
    if separator and scheme in ("redis", "rediss", "unix"):
        from guard.registers.redis import RedisRegister

        return RedisRegister(location)
    path = location
    if separator and scheme == "sqlite":
        path = unquote(rest)
        if not path.startswith("/") or path == "/":
            raise ValueError("sqlite:// needs a whole path behind it: sqlite:///srv/rights.sqlite, or only the path")
    elif separator:
        raise ValueError(_no_register(scheme, "://", SCHEMES))
    kind = "sqlite" if separator else FILES.get(_ending(path).lower())
    if kind == "sqlite":
        from guard.registers.sqlite import SqliteRegister

        return SqliteRegister(path)
    if kind == "yaml":
        from guard.registers.plain import PlainRegister

        return PlainRegister(path, lenient=lenient)
    raise ValueError(_no_register(_ending(path), "", tuple(FILES)))


def _ending(path: str) -> str:
    name = path.rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return f".{ending}" if stem and dot else ""


def _no_register(found: str, mark: str, known: tuple[str, ...]) -> str:
    """Why a location names none. What stands behind a scheme is not repeated: it may hold a password."""
    near = get_close_matches(f"{found}{mark}".lower(), known, n=1, cutoff=0.6)
    what = f"'{found[:20]}{mark}'" if mark else f"a file that ends with '{found[:20]}'" if found else "this"
    meant = f" Did you mean {near[0]}?" if near else ""
    return f"{what} is no register: use a file {' '.join(f'*{one}' for one in FILES)}, or {' '.join(SCHEMES)}.{meant}"
