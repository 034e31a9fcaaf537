# shellcheck shell=bash disable=SC2034
# SPDX-License-Identifier: Apache-2.0
# Sourced by tools/quickstart and tools/check: packages, by Debian's names, and the build.

build_packages="gcc libc6-dev meson ninja-build pkg-config libhwloc-dev libjemalloc-dev libjansson-dev libpcre2-dev
libutf8proc-dev libxxhash-dev libedit-dev"
test_packages="g++ python3 libcriterion-dev"

say() { printf '==> %s\n' "$*"; }

# Installs what is missing of the packages named, or says what is missing and fails.
need_packages() {
    local missing="" package
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    if [ -z "$missing" ]; then
        say "packages: all there"
        return 0
    fi
    local as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
            as_root="sudo -n"
        else
            printf '%s: missing packages:%s\nInstall them as root: apt-get install%s\n' "$0" "$missing" "$missing" >&2
            return 1
        fi
    fi
    say "packages: installing$missing"
    $as_root apt-get update -q >/dev/null
    # shellcheck disable=SC2086 # the list is words
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -q -y --no-install-recommends $missing >/dev/null
}

# build FOLDER OPTION...: configures FOLDER where it is new, and builds it, or of it what $build_targets names.
build() {
    local folder=$1
    shift
    if [ -f "$folder/build.ninja" ]; then
        say "build: $folder"
    else
        say "build: configuring $folder"
        meson setup "$folder" "$@" >"$folder.log" 2>&1 || { cat "$folder.log" >&2; return 1; }
        rm -f "$folder.log"
    fi
    # shellcheck disable=SC2086 # the list is words
    ninja -C "$folder" --quiet ${build_targets:-}
}
