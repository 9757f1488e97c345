"""The shipped policies, and the platforms that stand behind each of them in this suite."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import yaml

from guard import Policy, load_policy, shipped_policy
from guard.load import read_policy
from guard.model import Mode
from guard.sources import shipped_folder
from tests.listeners.platform import (
    AZURACAST,
    CASTOPOD,
    FUNKWHALE,
    GENERIC,
    JELLYFIN,
    NAVIDROME,
    NEXTCLOUD,
    NO_COOKIES,
    ONE_PAGE,
    PAGES_ONLY,
    SHARING,
    SHOP,
    STATIC_ELSEWHERE,
    SUBSONIC,
    Platform,
)

SHIPPED = tuple(sorted(path.stem for path in shipped_folder().glob("*.yaml")))
PRESETS_OF_ROUTES = tuple(sorted(path.stem for path in (shipped_folder() / "routes").glob("*.yaml")))

SITES_OF: dict[str, tuple[Platform, ...]] = {
    "artists-choice": (GENERIC,),
    "bandcamp-like": (SHOP,),
    "funkwhale": (FUNKWHALE,),
    "licensed": (GENERIC,),
    "navidrome": (NAVIDROME,),
    "no-ai": (GENERIC, STATIC_ELSEWHERE, NEXTCLOUD),
    "observe": (GENERIC,),
    "soundcloud-like": (SHARING,),
    "strict": (GENERIC, NO_COOKIES, PAGES_ONLY, NEXTCLOUD),
    "no-ai with the routes of azuracast": (AZURACAST,),
    "no-ai with the routes of castopod": (CASTOPOD,),
    "no-ai with the routes of jellyfin": (JELLYFIN,),
    "no-ai with the routes of spa": (ONE_PAGE,),
    "no-ai with the routes of subsonic": (SUBSONIC,),
}
"""By policy: a shipped one, or `no-ai` with a preset of routes that no shipped policy uses."""


def sites_of(policy: str) -> tuple[Platform, ...]:
    return SITES_OF[policy]


@cache
def policy_of(name: str) -> Policy:
    """The policy as it ships, but enforced whatever mode it ships in."""
    base, with_routes, preset = name.partition(" with the routes of ")
    if not with_routes:
        return replace(load_policy(shipped_policy(base)), mode=Mode.ENFORCE)
    written = yaml.safe_load(shipped_policy(base).read_text("utf-8"))
    directives = next(entry for entry in written["routes"] if entry["class"] == "directive")
    written["routes"] = [directives, {"preset": preset}]
    written.pop("examples", None)
    return replace(read_policy(yaml.safe_dump(written, sort_keys=False), name), mode=Mode.ENFORCE)
