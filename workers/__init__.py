"""Celery's door: tasks of a few lines that call a service of the platform."""
