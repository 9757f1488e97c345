"""The guard in a Starlette application. Run: uvicorn --no-proxy-headers starlette_app:app"""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from guard import Guard, GuardMiddleware, load_policy, shipped_policy


async def track(request):
    return PlainTextResponse(f"track {request.path_params['number']}")


site = Starlette(routes=[Route("/track/{number}", track)])

app = GuardMiddleware(site, Guard(load_policy(shipped_policy("no-ai"))))
