#!/bin/sh
# Does its work once and ends: notes the run where the volume is, takes JOB_SECONDS, ends with JOB_STATUS.
echo "run $(cat /proc/sys/kernel/random/uuid)" >> /data/runs
sleep "${JOB_SECONDS:-0}"
echo "sample-job is done"
exit "${JOB_STATUS:-0}"
