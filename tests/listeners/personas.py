"""Everybody whom the suite knows: name, what they do, on which platforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.listeners import crowds, machines, people, playing, servers
from tests.listeners.lines import Line, merged
from tests.listeners.platform import (
    AZURACAST,
    CASTOPOD,
    FUNKWHALE,
    GENERIC,
    JELLYFIN,
    NAVIDROME,
    NEXTCLOUD,
    ONE_PAGE,
    SHARING,
    SITES,
    SUBSONIC,
    Platform,
)

Play = Callable[[Random, float, Platform], list[Line]]

WITH_CROWDS = tuple(site for site in SITES if site not in (ONE_PAGE, CASTOPOD, AZURACAST))
"""The platforms of shipped policies: on the others people are many, but the same rules wait for them."""

WITH_SUBSONIC = (GENERIC, FUNKWHALE, NAVIDROME, SUBSONIC)


@dataclass(frozen=True)
class Persona:
    """One kind of people, or of machines that serve them. `large` ones are tried with fewer seeds.

    `can_js`: behind each of their clients is something that runs scripts. `verified`: they come from a network by which
    a policy that names it knows them.
    """

    name: str
    play: Play
    sites: tuple[Platform, ...]
    truth: str = "human"
    can_js: bool = False
    large: bool = False
    verified: bool = False

    def lines(self, seed: int, site: Platform, start_s: float = 0.0) -> list[Line]:
        """What they ask of `site`, in the order of time; the same for the same seed."""
        found = merged(self.play(Random(f"{self.name}/{site.name}/{seed}"), start_s, site))
        early = start_s - found[0]["t"] if found else 0.0
        if early > 0:
            for line in found:
                line["t"] = round(line["t"] + early, 3)
        return found


def _named(plays: tuple[Play, ...], sites: tuple[Platform, ...], **more: bool | str) -> Iterator[Persona]:
    for play in plays:
        yield Persona(play.__name__.replace("_", " "), play, sites, **more)  # type: ignore[arg-type]


def _signed_in(
    plays: tuple[Callable[..., list[Line]], ...], sites: tuple[Platform, ...], **more: object
) -> Iterator[Persona]:
    large = bool(more.pop("large", False))
    can_js = bool(more.pop("can_js", False))
    for play in plays:
        name = play.__name__.replace("_", " ")
        for word, version in zip(("account known", "account unknown"), servers.both(play, **more), strict=True):
            yield Persona(f"{name}, {word}", version, sites, can_js=can_js, large=large)


PERSONAS: tuple[Persona, ...] = (
    *_named(
        (
            people.chrome_on_a_desktop,
            people.firefox_on_a_desktop,
            people.safari_on_a_mac,
            people.safari_on_an_iphone,
            people.chrome_on_android,
            people.browsers_of_other_makes,
            people.old_browsers,
            people.old_tablets,
            people.televisions,
            people.browsers_inside_apps,
            people.pale_moon_on_linux,
            people.skips_without_an_account,
            people.skips_through_files_without_an_account,
            people.dj_who_is_signed_in,
            people.hears_albums_in_order,
            people.audiobook_of_a_hundred_ranges,
            people.files_that_wait_for_the_listener,
            people.pages_with_twelve_players,
            people.clicks_to_download_an_album,
            people.web_player_with_a_token,
            people.browser_over_plain_http,
            people.images_off,
            people.screen_reader,
            people.collector_who_compares_sixty_albums,
            people.reads_many_pages_with_a_warm_cache,
            people.returns_with_a_warm_cache_and_no_cookie,
            people.returns_and_plays_at_once,
            people.bounces,
            people.opens_things_by_hand,
            people.only_opens_a_sound_file,
            people.link_prefetch,
            people.service_worker,
            people.tabs_restored_after_a_crash,
            people.developer_who_reloads,
            people.searches_while_typing,
            people.privacy_browser,
            people.no_cookies_and_no_referer,
            people.proxy_that_strips_and_says_so,
            people.proxy_that_strips_in_silence,
            people.proxy_that_only_downgrades,
            people.reads_behind_a_stripping_proxy,
            people.relay_of_a_phone,
            people.both_kinds_of_addresses,
        ),
        SITES,
        can_js=True,
    ),
    *_named(
        (people.text_browser, people.text_browser_that_plays, people.opera_mini, people.scripts_and_pictures_off), SITES
    ),
    *_named((people.radio_in_an_office_tab, people.cafe_tab_without_an_account), SITES, can_js=True, large=True),
    *_named((people.radio_stream_of_eight_hours,), (GENERIC, SHARING, AZURACAST), can_js=True, large=True),
    *_named(
        (
            playing.mpv_with_files,
            playing.mpv_with_segments,
            playing.vlc_with_a_list,
            playing.vlc_with_segments,
            playing.other_desktop_players,
            playing.gapless_player_that_fetches_ahead,
            playing.app_on_an_iphone,
            playing.app_on_android,
            playing.apps_of_guests,
            playing.offline_download_that_was_paid_for,
            playing.car_with_forty_resumes,
            playing.sonos_that_plays_albums,
            playing.family_of_speakers,
            playing.podcast_backlog,
            playing.podcast_app_with_many_subscriptions,
            playing.podcast_while_walking,
        ),
        SITES,
    ),
    *_named(
        (
            crowds.campus_behind_one_address,
            crowds.commuters_of_a_carrier,
            crowds.thirty_behind_one_vpn_exit,
            crowds.exit_of_tor,
            crowds.school_class,
            crowds.school_class_that_plays_segments,
            crowds.household_of_five,
            crowds.flash_crowd_on_one_track,
            crowds.embed_on_a_popular_blog,
            crowds.links_in_a_newsletter,
            crowds.office_of_one_company,
            crowds.readers_of_one_prefix,
        ),
        WITH_CROWDS,
        can_js=True,
        large=True,
    ),
    *_named(
        (
            machines.feed_readers_that_ask_well,
            machines.private_readers_that_ask_badly,
            machines.podcast_directories,
            machines.uptime_monitors,
            machines.link_previews,
            machines.fediverse_after_a_post,
            machines.home_automation,
        ),
        SITES,
        truth="good_bot",
        large=True,
    ),
    *_named((machines.search_engine_that_is_verified,), SITES, truth="good_bot", large=True, verified=True),
    *_signed_in(
        (
            servers.dsub,
            servers.feishin,
            servers.app_on_a_plain_library,
            servers.several_subsonic_apps_of_a_family,
            servers.subsonic_on_the_way,
        ),
        WITH_SUBSONIC,
    ),
    *_signed_in((servers.symfonium_first_sync, servers.supersonic_with_many_covers), WITH_SUBSONIC, large=True),
    *_signed_in((servers.navidrome_in_the_browser,), (NAVIDROME,), can_js=True),
    *_named(
        (servers.navidrome_share_with_missing_covers, servers.navidrome_share_sent_to_a_group),
        (NAVIDROME,),
        can_js=True,
    ),
    *_signed_in((servers.jellyfin_home,), (JELLYFIN,), can_js=True),
    *_signed_in((servers.jellyfin_first_sync, servers.jellyfin_on_an_iphone), (JELLYFIN,)),
    *_signed_in((servers.jellyfin_first_sync, servers.jellyfin_on_an_iphone), (NAVIDROME,), under="/jellyfin"),
    *_signed_in((servers.nextcloud_covers_without_extension,), (NEXTCLOUD, GENERIC), can_js=True),
    *_named((servers.funkwhale_pods,), (FUNKWHALE,), truth="good_bot"),
)


def personas_of(site: Platform) -> tuple[Persona, ...]:
    """Who comes to this platform."""
    return tuple(persona for persona in PERSONAS if site in persona.sites)
