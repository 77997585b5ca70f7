#!/bin/sh
# Serves one page that says who serves it. As the first process of a container this shell gets no default action for
# SIGTERM, and httpd has no handler of its own, so the signal is passed on here.
set -eu
root=/tmp/www
device="${FLEET_DEVICE:-$(hostname)}"

sleep "${START_SECONDS:-0}" &
starting=$!
trap 'kill "$starting"; exit 0' TERM INT
wait "$starting"

[ -d "$root" ] || busybox mkdir "$root"
cat > "$root/index.html" <<PAGE
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>sample-web $SAMPLE_VERSION on $device</title>
<style>body{font:1.2rem/1.5 system-ui;max-width:34rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}</style>
<h1>sample-web $SAMPLE_VERSION</h1>
<p>Served by <strong>$device</strong>, started $(date -u +%Y-%m-%dT%H:%M:%SZ).</p>
PAGE

httpd -f -p 8080 -h "$root" &
server=$!
trap 'kill "$server"; exit 0' TERM INT
echo "sample-web $SAMPLE_VERSION on $device serves port 8080"
wait "$server"
