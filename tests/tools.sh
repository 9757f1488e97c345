#!/bin/sh
# Installs Debian packages whose command is missing: sh tests/tools.sh COMMAND:PACKAGE ... Says so and stops if it cannot.
set -eu
PATH="$PATH:/usr/sbin"
missing=""
for pair in "$@"; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -z "$missing" ] && exit 0
echo "installing what this needs:$missing"
if ! command -v apt-get >/dev/null 2>&1; then
    echo "please install them with your system's package manager, then run make again" >&2
    exit 1
fi
run=""
[ "$(id -u)" = 0 ] || run="sudo"
export DEBIAN_FRONTEND=noninteractive
$run apt-get update -qq
# shellcheck disable=SC2086
$run apt-get install -y -qq --no-install-recommends $missing >/dev/null
