#!/bin/sh
# Fails at once, with a reason that must reach the operator.
echo "sample-crash: DATABASE_URL is not set" >&2
exit 3
