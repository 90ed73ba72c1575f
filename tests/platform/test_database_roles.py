"""The two database roles, in the database that the migrations of every app made."""

from __future__ import annotations

import pytest
from django.contrib.contenttypes.models import ContentType
from django.db import ProgrammingError, connection, transaction


@pytest.mark.django_db
def test_application_role_works_with_rows(application_role: None) -> None:
    ContentType.objects.create(app_label="tests", model="row")
    assert ContentType.objects.filter(app_label="tests").delete()[0] == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement", ["CREATE TABLE intruder (id int)", "DROP TABLE django_session", "TRUNCATE django_session"]
)
def test_application_role_cannot_touch_the_schema(application_role: None, statement: str) -> None:
    with pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
