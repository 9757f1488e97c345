"""The demo platform is a real one: its pages, audio, feeds and sockets work before any guard stands in front."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import re
import struct
import zlib
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree as Xml

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from guard.demo import audio, names
from guard.demo.addresses import artist_path, cover_path, genre_path, media_path, track_path
from guard.demo.audio import PIECES
from guard.demo.catalogue import Catalogue, Track, compose_catalogue
from guard.demo.collection import Collection
from guard.demo.platform import build_platform, prepare

av = pytest.importorskip("av")


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = tmp_path_factory.mktemp("demo")
    prepare(chosen)
    return chosen


@pytest.fixture(scope="session")
def app(directory: Path) -> Starlette:
    return build_platform(directory)


@pytest.fixture(scope="session")
def collection(app: Starlette) -> Collection:
    return app.state.collection


@pytest.fixture(scope="session")
def catalogue(collection: Collection) -> Catalogue:
    return collection.catalogue


@pytest.fixture
def client(app: Starlette) -> TestClient:
    return TestClient(app)


@pytest.fixture
def track(catalogue: Catalogue) -> Track:
    return catalogue.tracks[40]


def decode(sound: bytes) -> tuple[float, int]:
    """Seconds heard and the loudest sample, out of 32768."""
    with av.open(io.BytesIO(sound)) as container:
        stream = container.streams.audio[0]
        rate, samples, peak = stream.rate, 0, 0
        resample = av.AudioResampler(format="s16", layout="stereo")
        for frame in container.decode(stream):
            samples += frame.samples
            for part in resample.resample(frame):
                peak = max(peak, *map(abs, memoryview(bytes(part.planes[0])).cast("h")))
        return samples / rate, peak


# -- the catalogue


def test_the_same_seed_gives_the_same_catalogue_and_another_seed_another():
    assert compose_catalogue(7) == compose_catalogue(7) != compose_catalogue(8)


@pytest.mark.parametrize("seed", range(20))
def test_a_catalogue_has_the_size_of_a_small_platform(seed: int):
    made = compose_catalogue(seed)
    assert len(made.artists) == 40 == len({artist.slug for artist in made.artists})
    assert 80 <= len(made.albums) <= 130
    assert 500 <= len(made.tracks) <= 950
    assert len(made.episodes) == 8
    assert len({track.title for track in made.tracks}) > len(made.tracks) // 3
    for _, tracks in itertools.groupby(made.tracks, key=lambda each: each.album.id):
        ids = [each.id for each in tracks]
        assert 3 <= len(ids) <= 14
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_every_awkward_name_is_in_the_catalogue(catalogue: Catalogue):
    assert {*names.AWKWARD_TITLES} <= {track.title for track in catalogue.tracks}
    assert {*names.AWKWARD_ALBUMS} <= {album.title for album in catalogue.albums}
    assert {*names.AWKWARD_ARTISTS} <= {artist.name for artist in catalogue.artists}


def test_the_address_of_an_awkward_name_is_one_segment_of_plain_ascii(catalogue: Catalogue):
    for path in [*map(artist_path, catalogue.artists), *map(genre_path, names.GENRES)]:
        assert re.fullmatch(r"/(artist|genre)/[A-Za-z0-9%._~-]+", path)
    assert "/artist/Low%2FHigh" in map(artist_path, catalogue.artists)


# -- pages


def test_every_page_of_every_kind_answers(client: TestClient, catalogue: Catalogue):
    paths = ["/", "/search?q=rain", "/embed/1001"]
    paths += [f"/album/{album.id}" for album in catalogue.albums]
    paths += [f"/playlist/{playlist.id}" for playlist in catalogue.playlists]
    paths += [artist_path(artist) for artist in catalogue.artists]
    paths += [genre_path(name) for name in names.GENRES]
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")
        assert "<tangle>" not in answer.text
        assert "style=" not in answer.text
        assert not re.search(r"<script(?! src=)", answer.text)


def test_a_track_page_has_a_player_and_what_others_need_to_know_of_it(client: TestClient, track: Track):
    text = client.get(f"/track/{track.id}").text
    for part in (
        f'<audio controls preload="metadata" src="/media/{track.id}.mp3">',
        f'data-waveform="/waveform/{track.id}.json"',
        '<script src="/static/player.js" defer></script>',
        '<link rel="stylesheet" href="/static/site.css">',
        f'<img src="/img/cover/{track.album.id}.png"',
        f'<meta property="og:audio" content="http://testserver/media/{track.id}.mp3">',
        'type="application/json+oembed"',
        'type="application/rss+xml"',
        f'<link rel="canonical" href="http://testserver/track/{track.id}">',
    ):
        assert part in text


def test_a_track_page_asked_for_hls_offers_it_first_and_the_file_after(client: TestClient, track: Track):
    text = client.get(f"/track/{track.id}?hls=1").text
    assert text.index(f'<source src="/hls/{track.id}/index.m3u8"') < text.index(f'<source src="/media/{track.id}.mp3"')


def test_everything_a_page_links_to_is_there(client: TestClient, catalogue: Catalogue):
    seen: set[str] = set()
    for page in ("/", "/album/101", "/playlist/1", "/track/1001", "/embed/1002", "/search?q=%25"):
        for path in re.findall(r'(?:href|src)="(/[^"]*)"', client.get(page).text):
            if path not in seen:
                seen.add(path)
                assert client.head(path.replace("&amp;", "&")).status_code == 200, path
    assert len(seen) > 80


@pytest.mark.parametrize(
    "name", ["Low/High", "100% Wool", "R.E.S.T.", "#9 Lantern", "Who Asked?", "葦の橋", "<tangle>"]
)
def test_an_artist_with_an_awkward_name_is_reached_by_the_name_encoded(client: TestClient, name: str):
    answer = client.get(f"/artist/{quote(name, safe='')}")
    assert answer.status_code == 200
    assert f"<h1>{name.replace('<', '&lt;').replace('>', '&gt;')}</h1>" in answer.text


def test_every_track_title_is_shown_as_text(client: TestClient, catalogue: Catalogue):
    for track in catalogue.tracks:
        if track.title in names.AWKWARD_TITLES:
            text = client.get(track_path(track)).text
            assert f"<h1>{track.title}</h1>" in text or re.search(r"<h1>[^<]*&(lt|amp|quot|#x27);[^<]*</h1>", text)
            assert "<h1><3" not in text


@pytest.mark.parametrize(
    "path", ["/track/1", "/album/1", "/artist/Nobody", "/playlist/99", "/genre/x", "/embed/1", "/nowhere"]
)
def test_what_is_not_there_is_404_as_a_page(client: TestClient, path: str):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "Not here" in answer.text


def test_a_page_gives_a_session_cookie_once(client: TestClient):
    assert "reed_session" in client.get("/").cookies
    assert "set-cookie" not in client.get("/").headers


def test_search_finds_awkward_names_and_takes_wildcards_literally(client: TestClient):
    assert "100%" in [track["title"] for track in client.get("/api/v1/search?q=100%25").json()["tracks"]]
    found = client.get("/api/v1/search", params={"q": "_"}).json()
    assert found["tracks"] == found["albums"] == found["artists"] == []
    assert client.get("/api/v1/search?q=low/HIGH").json()["artists"][0]["name"] == "Low/High"
    assert client.get("/api/v1/search?q=ПОСЛЕДНИЙ").json()["tracks"][0]["title"] == "Последний паром"
    assert "&lt;script&gt;" in client.get("/search?q=<script>").text


# -- the JSON API


def test_the_api_describes_a_track_and_all_its_addresses_answer(client: TestClient, track: Track):
    told = client.get(f"/api/v1/tracks/{track.id}").json()
    assert (told["title"], told["duration_s"]) == (track.title, track.seconds)
    for name in ("cover", "media", "hls", "waveform", "page"):
        assert client.get(told[name]).status_code == 200
    assert client.get(told["artist"]["page"]).status_code == 200


def test_the_api_lists_an_album_in_order_and_all_artists_page_by_page(client: TestClient, catalogue: Catalogue):
    album = client.get("/api/v1/albums/101").json()
    assert [track["number"] for track in album["tracks"]] == list(range(1, len(album["tracks"]) + 1))
    first, second = (client.get(f"/api/v1/artists?page={page}").json() for page in (1, 2))
    told = [artist["name"] for artist in first["artists"] + second["artists"]]
    assert told == [artist.name for artist in catalogue.artists]
    assert client.get("/api/v1/artists?page=3").status_code == 404


def test_the_api_answers_404_in_json(client: TestClient):
    assert client.get("/api/v1/tracks/1").json() == {"error": "Not Found"}


def test_a_heartbeat_is_stored(client: TestClient, collection: Collection, track: Track):
    beat = {"track": track.id, "position_s": 3.5, "session": "stored"}
    assert client.post("/api/v1/heartbeat", json=beat).status_code == 204
    kept = collection.heartbeats_of("stored")
    assert [(each.track, each.position_s) for each in kept] == [(track.id, 3.5)]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"track": 1, "position_s": 1, "session": "x"}',
        '{"track": 1001, "position_s": -1, "session": "x"}',
        '{"track": 1001, "position_s": NaN, "session": "x"}',
        '{"track": 1001, "position_s": 1, "session": ""}',
        '{"track": true, "position_s": 1, "session": "x"}',
        '{"track": [1001], "position_s": 1, "session": "x"}',
        '{"track": 1001, "position_s": 1, "session": "x"}' + " " * 2000,
    ],
)
def test_a_heartbeat_that_says_nothing_is_400(client: TestClient, body: str):
    assert client.post("/api/v1/heartbeat", content=body).status_code == 400


def test_the_socket_speaks_at_once_answers_ping_and_tells_of_a_heartbeat(
    app: Starlette, track: Track, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("guard.demo.api.TELL_S", 60)
    with TestClient(app) as client, client.websocket_connect("/ws/now-playing") as socket:
        assert "track" in socket.receive_json()
        socket.send_text("ping")
        assert socket.receive_text() == "pong"
        client.post("/api/v1/heartbeat", json={"track": track.id, "position_s": 1, "session": "told"})
        told = socket.receive_json()
    assert (told["track"], told["title"], told["artist"]) == (track.id, track.title, track.album.artist.name)


def test_the_socket_speaks_again_when_nothing_happens(app: Starlette, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("guard.demo.api.TELL_S", 0.05)
    with TestClient(app) as client, client.websocket_connect("/ws/now-playing") as socket:
        assert socket.receive_json() == socket.receive_json()


def test_there_is_no_other_socket(client: TestClient):
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws/other"):
        pass


# -- audio


@pytest.mark.parametrize("n", range(len(PIECES)))
def test_a_track_decodes_to_the_length_it_states(client: TestClient, catalogue: Catalogue, n: int):
    track = catalogue.tracks[n]
    answer = client.get(media_path(track))
    assert answer.headers["content-type"] == "audio/mpeg"
    seconds, peak = decode(answer.content)
    assert 12 <= track.seconds <= 20
    assert abs(seconds - track.seconds) < 0.05
    assert 16_000 < peak <= 32_768


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-1", 0, 2), ("bytes=1000-1999", 1000, 2000), ("bytes=5-", 5, None), ("bytes=-7", -7, None)],
)
def test_a_range_brings_exactly_the_bytes_asked_for(client: TestClient, track: Track, asked: str, start: int, end: int):
    whole = client.get(media_path(track)).content
    part = client.get(media_path(track), headers={"Range": asked})
    expected = whole[start:end]
    first = start % len(whole)
    assert part.status_code == 206
    assert part.content == expected
    assert part.headers["content-range"] == f"bytes {first}-{first + len(expected) - 1}/{len(whole)}"
    assert part.headers["content-length"] == str(len(expected))


def test_a_range_past_the_end_is_416(client: TestClient, track: Track):
    size = len(client.get(media_path(track)).content)
    answer = client.get(media_path(track), headers={"Range": f"bytes={size}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_if_range_with_another_etag_brings_the_whole(client: TestClient, track: Track):
    etag = client.head(media_path(track)).headers["etag"]
    for held, status in ((etag, 206), ('"other"', 200)):
        answer = client.get(media_path(track), headers={"Range": "bytes=0-9", "If-Range": held})
        assert answer.status_code == status


@pytest.mark.parametrize(
    "path", ["/media/1001.mp3", "/hls/1001/seg0.ts", "/img/cover/101.png", "/podcast/1.mp3", "/podcast/feed.xml"]
)
def test_head_has_the_length_and_a_client_that_has_it_gets_304(client: TestClient, path: str):
    whole, head = client.get(path), client.head(path)
    assert head.content == b""
    assert head.headers["content-length"] == str(len(whole.content))
    again = client.get(path, headers={"If-None-Match": f'"x", W/{whole.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == whole.headers["etag"]
    if "last-modified" in whole.headers:
        assert client.get(path, headers={"If-Modified-Since": whole.headers["last-modified"]}).status_code == 304
    assert client.get(path, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize("n", range(len(PIECES)))
def test_an_hls_playlist_states_its_segments_and_they_all_decode(client: TestClient, catalogue: Catalogue, n: int):
    track = catalogue.tracks[n]
    answer = client.get(f"/hls/{track.id}/index.m3u8")
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    lines = answer.text.splitlines()
    assert lines[0] == "#EXTM3U" and lines[-1] == "#EXT-X-ENDLIST"
    stated = [float(line[8:].rstrip(",")) for line in lines if line.startswith("#EXTINF:")]
    segments = [line for line in lines if not line.startswith("#")]
    assert len(stated) == len(segments) >= 3
    assert max(stated) < 10 and min(stated) > 1
    assert abs(sum(stated) - track.seconds) < 0.1
    for seconds, name in zip(stated, segments, strict=True):
        segment = client.get(f"/hls/{track.id}/{name}")
        assert segment.headers["content-type"] == "video/mp2t"
        heard, peak = decode(segment.content)
        assert abs(heard - seconds) < 0.1
        assert peak > 5_000
    assert client.get(f"/hls/{track.id}/seg{len(segments)}.ts").status_code == 404


def test_a_waveform_is_drawn_from_the_audio_itself(client: TestClient, catalogue: Catalogue):
    told = client.get(f"/waveform/{catalogue.tracks[0].id}.json").json()
    assert len(told["peaks"]) == 240
    assert 0.5 < max(told["peaks"]) <= 1
    assert told["peaks"][-1] < 0.1 < min(told["peaks"][:200])
    assert told["seconds"] == catalogue.tracks[0].seconds


def test_tracks_do_not_all_sound_the_same(client: TestClient, catalogue: Catalogue):
    assert len({client.head(media_path(track)).headers["etag"] for track in catalogue.tracks[:12]}) == 6


@pytest.mark.parametrize("path", ["/media/1.mp3", "/hls/1/index.m3u8", "/hls/1/seg0.ts", "/waveform/1.json"])
def test_there_is_no_audio_without_a_track(client: TestClient, path: str):
    assert client.get(path).status_code == 404


def test_audio_is_made_once(directory: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audio, "keep", None)
    assert prepare(directory).is_dir()


def test_a_start_that_lost_the_race_uses_the_winners_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def keep(piece: audio.Piece, folder: Path) -> None:
        folder.mkdir()
        (tmp_path / audio.EDITION).mkdir(exist_ok=True)
        (tmp_path / audio.EDITION / "winner").touch()

    monkeypatch.setattr(audio, "keep", keep)
    steps: list[tuple[int, int]] = []
    folder = prepare(tmp_path, lambda done, total: steps.append((done, total)))
    assert [path.name for path in folder.iterdir()] == ["winner"]
    assert [path.name for path in tmp_path.iterdir()] == [audio.EDITION]
    assert steps == [(n, 7) for n in range(8)]


def test_without_pyav_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'noai-guard\[demo\]'"):
        prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- pictures


def test_a_cover_is_a_valid_png_and_albums_differ(client: TestClient, catalogue: Catalogue):
    first, second = (client.get(cover_path(album)) for album in catalogue.albums[:2])
    assert first.headers["content-type"] == "image/png"
    assert first.content != second.content
    png, at, kinds, pixels = first.content, 8, [], b""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    while at < len(png):
        (size,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        body = png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size]) == (zlib.crc32(kind + body),)
        kinds.append(kind)
        if kind == b"IHDR":
            assert struct.unpack(">II", body[:8]) == (300, 300)
        if kind == b"PLTE":
            colours = size // 3
        if kind == b"IDAT":
            pixels = zlib.decompress(body)
        at += 12 + size
    assert kinds == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert len(pixels) == 300 * 301
    assert max(pixels) < colours
    frame = next(av.open(io.BytesIO(png)).decode(video=0))
    assert (frame.width, frame.height) == (300, 300)


def test_the_icon_and_the_static_files_are_there(client: TestClient):
    icon = client.get("/favicon.ico")
    assert icon.headers["content-type"] == "image/x-icon"
    assert icon.content[:4] == b"\0\0\1\0" and icon.content[22:26] == b"\x89PNG"
    assert "text/css" in client.get("/static/site.css").headers["content-type"]
    assert "javascript" in client.get("/static/player.js").headers["content-type"]


# -- what programs read


def test_the_podcast_parses_and_its_enclosures_have_the_length_they_state(client: TestClient):
    answer = client.get("/podcast/feed.xml")
    assert answer.headers["content-type"].startswith("application/rss+xml")
    items = Xml.fromstring(answer.content).findall("channel/item")
    assert len(items) == 8 == len({item.findtext("guid") for item in items})
    for item in items:
        enclosure = item.find("enclosure")
        assert enclosure is not None
        episode = client.get(enclosure.get("url", ""))
        assert len(episode.content) == int(enclosure.get("length", ""))
        assert episode.headers["content-type"] == enclosure.get("type") == "audio/mpeg"
    assert abs(decode(episode.content)[0] - 60) < 0.05
    assert client.get("/podcast/9.mp3").status_code == 404


def test_oembed_describes_a_track_page_and_its_frame_answers(client: TestClient, track: Track):
    page = client.get(f"/track/{track.id}").text
    link = re.search(r'type="application/json\+oembed"[^>]* href="([^"]+)"', page)
    assert link
    told = client.get(link[1].replace("&amp;", "&")).json()
    assert (told["version"], told["type"], told["title"]) == ("1.0", "rich", track.title)
    frame = re.search(r'src="([^"]+)"', told["html"])
    assert frame and client.get(frame[1]).status_code == 200
    assert client.get("/oembed", params={"url": "http://x/track/1001", "maxwidth": "200"}).json()["width"] == 200


def test_an_embed_may_be_framed_by_anyone_and_a_page_may_not(client: TestClient):
    assert "frame-ancestors *" in client.get("/embed/1001").headers["content-security-policy"]
    assert "frame-ancestors 'self'" in client.get("/track/1001").headers["content-security-policy"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("url=http://x/album/101", 404),
        ("url=http://x/track/1", 404),
        ("", 404),
        ("url=http://[x", 404),
        ("url=http://x/track/1001&format=xml", 501),
    ],
)
def test_oembed_refuses_what_it_cannot_describe(client: TestClient, asked: str, status: int):
    assert client.get(f"/oembed?{asked}").status_code == status


def test_the_sitemap_lists_every_page(client: TestClient, catalogue: Catalogue):
    root = Xml.fromstring(client.get("/sitemap.xml").content)
    locations = {element.text for element in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    for track in catalogue.tracks:
        assert f"http://testserver/track/{track.id}" in locations
    for album in catalogue.albums:
        assert f"http://testserver/album/{album.id}" in locations
    assert {artist.name for artist in catalogue.artists} == {
        unquote(location.split("/artist/")[1]) for location in locations if location and "/artist/" in location
    }


def test_the_platforms_own_robots_txt_allows_all(client: TestClient):
    assert client.get("/robots.txt").text == "User-agent: *\nAllow: /\n"


# -- Subsonic


def salted(password: str = "reed", **more: str) -> dict[str, str]:
    token = hashlib.md5((password + "pepper").encode()).hexdigest()
    return {"u": "demo", "t": token, "s": "pepper", "v": "1.16.1", "c": "test", "f": "json", **more}


def ask(client: TestClient, call: str, **more: str) -> dict[str, object]:
    answer = client.get(f"/rest/{call}.view", params=salted(**more))
    assert answer.status_code == 200
    return answer.json()["subsonic-response"]


def test_subsonic_lets_in_who_knows_the_password(client: TestClient):
    assert ask(client, "ping")["status"] == "ok"
    assert client.post("/rest/ping", data=salted()).json()["subsonic-response"]["status"] == "ok"


def test_subsonic_refuses_inside_a_200(client: TestClient):
    told = ask(client, "ping", password="wrong")
    assert (told["status"], told["error"]["code"]) == ("failed", 40)
    assert ask(client, "stream", password="wrong", id="1001")["error"]["code"] == 40
    assert client.get("/rest/ping.view?f=json").json()["subsonic-response"]["error"]["code"] == 10
    assert ask(client, "getAlbum", id="1")["error"]["code"] == 70
    assert ask(client, "stream", id="x")["error"]["code"] == 70
    assert ask(client, "getCoverArt", id="1")["error"]["code"] == 70


def test_a_subsonic_session_goes_from_the_list_to_the_sound(client: TestClient):
    albums = ask(client, "getAlbumList2", type="newest", size="3")["albumList2"]["album"]
    assert len(albums) == 3
    album = ask(client, "getAlbum", id=albums[1]["id"])["album"]
    song = album["song"][0]
    assert len(album["song"]) == album["songCount"]
    assert client.get("/rest/getCoverArt", params=salted(id=song["coverArt"])).headers["content-type"] == "image/png"
    whole = client.get("/rest/stream.view", params=salted(id=song["id"]))
    assert len(whole.content) == song["size"]
    assert whole.content == client.get(f"/media/{song['id']}.mp3").content
    part = client.get("/rest/stream.view", params=salted(id=song["id"]), headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])


def test_subsonic_speaks_xml_unless_asked_for_json(client: TestClient):
    asked = {key: value for key, value in salted(id="101").items() if key != "f"}
    root = Xml.fromstring(client.get("/rest/getAlbum.view", params=asked).content)
    space = "{http://subsonic.org/restapi}"
    assert root.get("status") == "ok"
    assert len(root.findall(f"{space}album/{space}song")) >= 3


def test_json_and_pages_agree_on_names(client: TestClient, catalogue: Catalogue):
    for track in catalogue.tracks[::60]:
        told = json.loads(client.get(f"/api/v1/tracks/{track.id}").content)
        assert (told["title"], told["artist"]["name"]) == (track.title, track.album.artist.name)
