#!/bin/sh
# With `prepare`: the step before. Without: the database itself. SIGINT asks PostgreSQL for a fast and orderly end; on SIGTERM it
# would wait for its clients.
case "$1" in
    prepare) exec /steps/prepare ;;
    *) exec postgres -D /data/db -c listen_addresses='*' -k /tmp ;;
esac
