"""The applications that are guarded, without any guard. Imports neither our `guard` nor fastapi-guard's."""

from __future__ import annotations

_BODY = b'{"id":4711,"title":"Slow Water","artist":"Ada Quell","seconds":214,"licence":"all rights reserved"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]
_START = {"type": "http.response.start", "status": 200}
_END = {"type": "http.response.body", "body": _BODY}


async def hello(scope, receive, send):
    """The least an ASGI application can do: one small answer, whatever is asked."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({**_START, "headers": list(_HEADERS)})
    await send(_END)


def make_fastapi():
    """A few routes of a music platform; what they answer depends on the path."""
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)

    @app.get("/track/{number}")
    async def page(number: int):
        return {"page": "track", "id": number, "title": "Slow Water", "artist": "Ada Quell"}

    @app.get("/api/v1/tracks/{number}")
    async def track(number: int):
        return {"id": number, "title": "Slow Water", "artist": "Ada Quell", "seconds": 214}

    @app.get("/media/{name}")
    async def media(name: str):
        return {"name": name, "url": f"https://cdn.example/{name}"}

    @app.get("/{rest:path}")
    async def anything(rest: str):
        return {"path": rest}

    return app


def fastapi_app():
    """Factory for `uvicorn --factory`."""
    return make_fastapi()
