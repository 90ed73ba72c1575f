#!/bin/bash
# Runs once, when the database's volume is new: the two roles of docs/decisions/0002.
# Passwords are read by psql itself, so they stand in no command line.
set -euo pipefail
psql -v ON_ERROR_STOP=1 --username postgres --dbname strongroom <<'SQL'
\set owner_password `cat /run/secrets/database_owner_password`
\set app_password `cat /run/secrets/database_app_password`
CREATE ROLE strongroom_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE strongroom_app LOGIN PASSWORD :'app_password';
GRANT strongroom_app TO strongroom_owner;
ALTER DATABASE strongroom OWNER TO strongroom_owner;
ALTER SCHEMA public OWNER TO strongroom_owner;
REVOKE ALL ON DATABASE strongroom FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE strongroom TO strongroom_app;
SQL
