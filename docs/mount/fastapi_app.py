"""The guard in a FastAPI application. Run: uvicorn --no-proxy-headers fastapi_app:app"""

from fastapi import FastAPI

from guard import Guard, GuardMiddleware, load_policy, shipped_policy

site = FastAPI()


@site.get("/track/{number}")
async def track(number: int) -> dict[str, int]:
    return {"track": number}


app = GuardMiddleware(site, Guard(load_policy(shipped_policy("no-ai"))))
