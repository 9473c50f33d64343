#!/bin/sh
# Start Spillway with the kernels that the image carries. numba wants a cache that it can write, and the root file system is
# read-only: they are copied to where NUMBA_CACHE_DIR says. On a CPU that they are not for they are left where they are.
set -eu

home=$(cd "$(dirname "$0")/.." && pwd)
. "$home/cpu.env" # cpu, features, flags

lacks() {
    has=" $(grep -m 1 -E '^(flags|Features)' /proc/cpuinfo || true) "
    for flag in $flags; do
        case $has in
        *" $flag "*) ;;
        *) echo "$flag" && return ;;
        esac
    done
}

missing=$(lacks)
if [ -n "$missing" ]; then
    echo "entrypoint: this CPU has no $missing: kernels are compiled for it now, which takes half a minute" >&2
else
    # Also where nothing can be copied: numba would then compile without a cache, but for the same CPU.
    export NUMBA_CPU_NAME="$cpu" NUMBA_CPU_FEATURES="$features"
    if ! cp -R --no-preserve=mode,ownership "$home/kernels/." "$NUMBA_CACHE_DIR/"; then
        echo "entrypoint: NUMBA_CACHE_DIR=$NUMBA_CACHE_DIR cannot be written: kernels are compiled at each start" >&2
    fi
fi
exec "$home/bin/spillway" "$@"
