#!/bin/sh
# numba needs a cache it can write, and the root file system is read-only: copy the image's to where it can.
set -eu
home=${SPILLWAY_HOME:-/opt/spillway}
. "$home/cpu.env"
if [ -d "$home/kernels" ] && [ -w "${NUMBA_CACHE_DIR:-/nonexistent}" ]; then
    cp -R -p "$home/kernels/." "$NUMBA_CACHE_DIR/"
fi
exec "$home/bin/spillway" "$@"
