"""A spider as its documentation's first page has it: every link of the site, and the audio that pages name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import scrapy  # type: ignore[import-not-found]


class Spider(scrapy.Spider):  # type: ignore[misc]
    name = "tracks"
    custom_settings: ClassVar[dict[str, Any]] = {"CLOSESPIDER_PAGECOUNT": 500, "LOG_LEVEL": "WARNING"}

    def __init__(self, start: str, **options: Any) -> None:
        super().__init__(**options)
        self.start_urls = [start]

    def parse(self, response: Any) -> Iterator[Any]:
        yield from response.follow_all(css='main a[href^="/"]', callback=self.parse)
        for audio in response.css('meta[property="og:audio"]::attr(content)').getall():
            yield response.follow(audio, callback=self.take)

    def take(self, response: Any) -> Iterator[dict[str, Any]]:
        yield {"url": response.url, "bytes": len(response.body)}
