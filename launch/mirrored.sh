#!/usr/bin/env bash
# Runs a command on one host, and keeps its folder in a bucket, too:
#   bash launch/mirrored.sh FOLDER gs://BUCKET/FOLDER COMMAND...
# Fetches first what the bucket has, then copies the folder there every MIRROR_S seconds
# (300) and at the end; exits with the command's code. SIGTERM goes to the command. If
# the machine goes in the midst of a copy, kdjax goes on from the last whole checkpoint.
set -euo pipefail
if [ $# -lt 3 ]; then
  echo "mirrored.sh: expected FOLDER gs://BUCKET/FOLDER COMMAND..., found $*" >&2
  exit 2
fi
folder=$1 bucket=$2
shift 2

copy() {
  gcloud storage rsync --recursive --delete-unmatched-destination-objects "$@"
}

mkdir -p "$folder"
if gcloud storage ls "$bucket" >/dev/null 2>&1; then
  copy "$bucket" "$folder"
fi
"$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null || true' TERM INT

code=0
since=$SECONDS
while kill -0 "$child" 2>/dev/null; do
  sleep 1 &
  wait $! || true # a signal ends this wait
  if ((SECONDS - since >= ${MIRROR_S:-300})); then
    copy "$folder" "$bucket" || echo "mirrored.sh: not copied; tried again later" >&2
    since=$SECONDS
  fi
done
wait "$child" || code=$?
copy "$folder" "$bucket" || echo "mirrored.sh: $folder is not copied to $bucket" >&2
exit "$code"
