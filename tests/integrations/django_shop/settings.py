"""The settings of the project. It knows nothing of telemetry, unless it is asked to."""

import os
import tempfile
from pathlib import Path

FOLDER = Path(os.environ.get("DJANGO_SHOP") or tempfile.mkdtemp())

SECRET_KEY = "not a secret, and long enough for every signature in the tests"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.integrations.django_shop.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "shop.sqlite3",
        "OPTIONS": {"timeout": 60},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "tests.integrations.django_shop.urls.count_queries",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
if os.environ.get("DJANGO_SHOP_EXPLICIT"):
    MIDDLEWARE.insert(0, "cxtrace.integrations.django.CXMiddleware")
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGGING_CONFIG = None
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
USE_TZ = True
