#!/bin/sh
# Only SIGKILL ends this one.
trap '' TERM INT
echo "sample-ignores-term runs"
while :; do
    sleep 3600
done
