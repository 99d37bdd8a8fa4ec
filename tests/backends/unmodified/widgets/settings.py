"""The settings of Celery's Django example, with a broker for which no server is needed."""

from proj.settings import *  # noqa: F403

CELERY_BROKER_URL = "filesystem://"
CELERY_BROKER_TRANSPORT_OPTIONS = {"data_folder_in": "queue", "data_folder_out": "queue"}
