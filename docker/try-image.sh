#!/usr/bin/env bash
# Tests the image without a container engine: builds it with Debian's buildah, starts it as its user with its volume,
# checks its health, runs one job on a simulated backend, and stops it.
#
# It needs root, buildah, debootstrap, curl, the installed Rust toolchain, and about 10 minutes. Without buildah it says
# so and exits with 0. A fresh Debian with the Rust toolchain replaces the base image of the build.
#
#   docker/try-image.sh                 the image as it is published
#   PROFILE=dev docker/try-image.sh     faster, with a much larger image: to test this script
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null

profile=${PROFILE:-dist}
cache=${TRY_IMAGE_CACHE:-${CARGO_TARGET_DIR:-$PWD/target}/try-image}
most_mb=40
port=18080
base=$(sed -n 's/^FROM \(rust:[^ ]*\) AS build$/\1/p' Dockerfile)
release=${base##*-}
image=comfy-gateway-trial
program=/usr/local/bin/comfy-gateway

for tool in buildah debootstrap; do
  if ! command -v "$tool" >/dev/null; then
    echo "skipped: $tool is not installed"
    exit 0
  fi
done
if [[ $(id -u) != 0 ]]; then
  echo "skipped: only root can make the base image"
  exit 0
fi

export BUILDAH_ISOLATION=chroot
mkdir -p "$cache"
scratch=$(mktemp -d)
started=()
containers=()

step() { printf '\n== [%4ds] %s\n' "$SECONDS" "$*"; }
fail() { echo "$*" >&2; tail -n 20 "$scratch"/*.log >&2 || true; exit 1; }
buildah() { command buildah --root "$cache/storage" --runroot "$cache/run" --storage-driver vfs "$@"; }

clean_up() {
  for pid in "${started[@]}"; do stop "$pid" KILL; done
  for container in "${containers[@]}"; do buildah rm "$container" >/dev/null || true; done
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# program_of PID: prints the pid of the gateway among the descendants of the buildah process PID.
program_of() {
  local child
  for child in $(pgrep -P "$1" || true); do
    if [[ $(readlink "/proc/$child/exe" || true) == *"$program" ]]; then echo "$child"; else program_of "$child"; fi
  done
}

# stop PID [SIGNAL]: sends a signal to the gateway that the buildah process PID runs.
stop() {
  local pid
  for pid in $(program_of "$1"); do kill -s "${2:-TERM}" "$pid" 2>/dev/null || true; done
}

# start NAME ARGUMENT…: runs the program in the container in the background, with its output in NAME.log.
start() {
  local name=$1
  shift
  buildah run "$container" -- "$program" "$@" >"$scratch/$name.log" 2>&1 &
  started+=("$!")
}

# within SECONDS COMMAND…: repeats the command until it succeeds.
within() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "not ready in time: $*"
    sleep 0.2
  done
}

if ! buildah images --quiet "$base" 2>/dev/null | grep -q .; then
  step "base image: a stand-in for $base"
  debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev "$release" "$scratch/root" >"$scratch/base.log" 2>&1 \
    || fail "debootstrap failed"
  # The certificates of the host, in case it reaches the network through a proxy with its own certificate.
  cp -L /etc/ssl/certs/ca-certificates.crt "$scratch/root/etc/ssl/certs/ca-certificates.crt"
  mkdir -p "$scratch/root/usr/local/toolchain"
  tar -C "$(rustc --print sysroot)" --exclude=share -cf - . | tar -C "$scratch/root/usr/local/toolchain" -xf -
  container=$(buildah from scratch)
  containers+=("$container")
  buildah add --quiet "$container" "$scratch/root" / >/dev/null
  buildah config --env PATH=/usr/local/toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    --env CARGO_HOME=/usr/local/cargo "$container"
  buildah commit --quiet "$container" "$base" >/dev/null
  rm -rf "$scratch/root"
fi

step "build, with the profile $profile"
registry=${CARGO_HOME:-$HOME/.cargo}/registry
mkdir -p "$registry"
buildah bud --pull-never --format docker --build-arg "PROFILE=$profile" --volume "$registry:/usr/local/cargo/registry" \
  --tag "$image" . >"$scratch/build.log" 2>&1 || fail "the build failed"
grep -iE '^(warning|useradd)' "$scratch/build.log" || true
container=$(buildah from --pull-never "$image")
containers+=("$container")
root=$(buildah mount "$container")
size=$(($(du -s --apparent-size --block-size=1000 "$root" | cut -f1) / 1000))
echo "the image has $size MB:"
(cd "$root" && find . -type f -size +100k -printf '%10s %P\n' | sort -rn)
if [[ $profile == dist ]] && ((size > most_mb)); then fail "it must have at most $most_mb MB"; fi

step "settings"
buildah inspect --type image --format '{{.Docker.Config}}' "$image"
buildah inspect --type image "$image" | grep -A 6 '"Healthcheck"' | grep -q '"health"' || fail "it has no health check"

step "start, as its user and on its volume"
start simulator simulate --port 0 --exec-ms 20
within 20 grep -Eo 'http://[0-9.:]+' "$scratch/simulator.log"
comfy=$(grep -Eo 'http://[0-9.:]+' "$scratch/simulator.log" | tail -n 1)
start gateway --listen "0.0.0.0:$port" --backend "$comfy"
gateway=${started[-1]}
health() { buildah run "$container" -- "$program" health --listen "0.0.0.0:$port"; }
within 20 health
within 20 curl --noproxy '*' -fsS "http://127.0.0.1:$port/readyz"
user=$(stat -c %u "/proc/$(program_of "$gateway")")
[[ $user == 10001 ]] || fail "it runs as user $user"
echo "alive, ready, and run as user $user"

step "one job"
body="{\"workflow\": $(cat examples/workflows/model-free.json), \"params\": {\"prompt\": \"hello\"}}"
curl --noproxy '*' -fsS "http://127.0.0.1:$port/execute" -H 'Content-Type: application/json' -H 'Prefer: wait=30' -d "$body" \
  -o "$scratch/result.json"
grep -q '"status":"completed"' "$scratch/result.json" || fail "the job did not complete: $(cat "$scratch/result.json")"
picture=$(grep -Eo "http://[^\"]+\.png" "$scratch/result.json" | head -n 1)
curl --noproxy '*' -fsS "$picture" -o "$scratch/picture"
head -c 4 "$scratch/picture" | grep -q PNG || fail "$picture is not an image"
echo "completed: $picture"

step "SIGTERM"
stop "$gateway"
code=0
wait "$gateway" || code=$?
[[ $code == 0 ]] || fail "it exited with $code"
if health 2>"$scratch/health.log"; then fail "it is still alive"; fi
echo "the gateway exited with 0; then $(grep -o 'the gateway at .*' "$scratch/health.log")"

step "all is well: $size MB"
