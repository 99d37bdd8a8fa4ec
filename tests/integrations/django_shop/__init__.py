"""A small Django project: with sessions, logins, Django REST framework, streams and errors."""
