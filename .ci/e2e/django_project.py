"""django_project.py DATABASE BACKEND CLIENT_ID CLIENT_SECRET: what Podero looks like from outside, a Django
service whose access tokens are django-oauth-toolkit's. BACKEND is the toolkit's class that reads token
requests. It prints its URL once it listens."""

import json
import sys

import django
from django.conf import settings

database, backend, client_id, client_secret = sys.argv[1:]
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database, "OPTIONS": {"timeout": 20}}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "oauth2_provider"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    OAUTH2_PROVIDER={"OAUTH2_BACKEND_CLASS": f"oauth2_provider.oauth2_backends.{backend}"},
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a check that listens on loopback",
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import include, path
from oauth2_provider.models import Application
from oauth2_provider.oauth2_backends import get_oauthlib_core

USER = {
    "id": "3c90c3cc-0d44-4b50-8888-8dd25736052a",
    "organization_id": "016b78a7-0c7c-4241-a277-015c3ad3cb90",
    "role": "admin",
    "email": "peter.schmidt@example.com",
    "num_inverters": 1,
    "num_heat_pumps": 2,
    "num_electric_vehicles": 3,
    "num_wallboxes": 4,
    "external_user_id": "134681893870",
    "first_name": "Peter",
    "last_name": "Schmidt",
    "is_onboarded": True,
    "street_and_number": "Platz der Republik 1",
    "street_add_info": "Apt 4B",
    "zip_code": "11011",
    "town": "Berlin",
    "country": "DEU",
    "latitude": 52.5186,
    "longitude": 13.3762,
    "last_login": "2023-11-07T05:31:56Z",
    "joined_at": "2023-07-15T19:34:29.123Z",
}


def user(request, org_id, external_id):
    valid, _ = get_oauthlib_core().verify_request(request, scopes=[])
    if not valid:
        return JsonResponse({"detail": "Unauthorized"}, status=401)
    if (str(org_id), external_id) != (USER["organization_id"], USER["external_user_id"]):
        return JsonResponse({"detail": "Not Found"}, status=404)
    return JsonResponse(USER)


urlpatterns = [
    path("oauth2/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    path("api/partners/v2.0/org/<uuid:org_id>/users/by-ext-id/<str:external_id>", user),
]

call_command("migrate", verbosity=0)
Application.objects.get_or_create(
    client_id=client_id,
    client_secret=client_secret,
    client_type=Application.CLIENT_CONFIDENTIAL,
    authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
)
server = ThreadedWSGIServer(("127.0.0.1", 0), WSGIRequestHandler)
server.set_app(get_wsgi_application())
print(json.dumps({"url": f"http://127.0.0.1:{server.server_port}", "user": USER}), flush=True)
server.serve_forever()
