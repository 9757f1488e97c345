"""The guard in a Django application (asgi.py). Run: uvicorn --no-proxy-headers --lifespan off django_app:application"""

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.urls import path

from guard import Guard, GuardMiddleware, load_policy, shipped_policy


def track(request, number):
    return HttpResponse(f"track {number}")


urlpatterns = [path("track/<int:number>", track)]
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="only for this example", ALLOWED_HOSTS=["*"])
site = get_asgi_application()

application = GuardMiddleware(site, Guard(load_policy(shipped_policy("no-ai"))))
