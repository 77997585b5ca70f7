#!/bin/sh
# Makes the database where there is none, and brings its tables to SAMPLE_VERSION. Idempotent: it runs before every fresh
# main container, and can be killed anywhere.
set -e
if [ ! -s /data/db/PG_VERSION ]; then
    rm -rf /data/new
    initdb --pgdata=/data/new --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-instructions
    mv /data/new /data/db
fi
# Reached by nobody else, since nothing listens but a socket in this container.
pg_ctl --pgdata=/data/db --wait --timeout=240 --options='-c listen_addresses= -k /tmp' start
psql --no-psqlrc --quiet --username=postgres --set=ON_ERROR_STOP=1 --set=version="$SAMPLE_VERSION" <<'SQL'
CREATE TABLE IF NOT EXISTS visits (id bigint PRIMARY KEY, note text NOT NULL);
CREATE TABLE IF NOT EXISTS migrations (version text PRIMARY KEY, runs int NOT NULL);
INSERT INTO migrations VALUES (:'version', 1) ON CONFLICT (version) DO UPDATE SET runs = migrations.runs + 1;
SQL
if [ "$SAMPLE_VERSION" != 1 ]; then
    psql --no-psqlrc --quiet --username=postgres --set=ON_ERROR_STOP=1 \
        --command='ALTER TABLE visits ADD COLUMN IF NOT EXISTS stars int NOT NULL DEFAULT 5'
fi
pg_ctl --pgdata=/data/db --wait --timeout=240 stop
echo "the database is ready for version $SAMPLE_VERSION"
