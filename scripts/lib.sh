# shellcheck shell=bash
# Shared by the scripts here; sourced, not run.

# What is fetched or built once and outlives a clone: tools, and (if the folder was made) build artifacts.
EKITEI_CACHE="${EKITEI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ekitei}"

say() { printf '%s\n' "$*" >&2; }

# A check that could not be made, by name and reason. `scripts/test` prints the file at its end.
report_skip() {
    say "SKIPPED $1: $2"
    if [ -n "${EKITEI_SKIP_REPORT:-}" ]; then printf 'SKIPPED %s: %s\n' "$1" "$2" >>"$EKITEI_SKIP_REPORT"; fi
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && [ -e /etc/debian_version ]; }

# Installs Debian packages without starting the services some of them bring, and without ever removing
# a package that is there (a machine's own mail server, for one). Fails if they cannot be had.
apt_install() {
    local policy=/usr/sbin/policy-rc.d made_policy='' status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        made_policy=yes
    fi
    if [ -z "${EKITEI_APT_UPDATED:-}" ]; then
        apt-get update -qq >&2 || say "apt-get update failed; going on with the lists that are here"
        export EKITEI_APT_UPDATED=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove \
        -o Dpkg::Options::=--force-confold "$@" >&2 </dev/null || status=$?
    if [ -n "$made_policy" ]; then rm -f "$policy"; fi
    return "$status"
}

# Rust links with the system's C compiler, and a few dependencies have C in them.
need_cc() {
    command -v cc >/dev/null && return
    can_apt && apt_install gcc libc6-dev && return
    say "A C compiler is missing. Run: sudo apt-get install gcc libc6-dev"
    return 1
}
