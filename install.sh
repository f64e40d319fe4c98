#!/bin/sh
# Install or upgrade Edgewatch as a systemd service: sh install.sh [--uninstall | --purge]
# An upgrade and --uninstall keep configuration and state; --purge removes them, too. See docs/service.md.
set -eu
umask 022
cd "$(dirname "$0")"
me=install
. tools/python.sh

# DESTDIR is an alternative root folder, for images and tests.
to=${DESTDIR:-}
home=$to/opt/edgewatch
config=$to/etc/edgewatch
unit=$to/etc/systemd/system/edgewatch.service
sysctl=$to/etc/sysctl.d/50-edgewatch.conf
command=$to/usr/local/bin/edgewatch
state=$to/var/lib/edgewatch
private_state=$to/var/lib/private/edgewatch
# The system's Python: the service cannot read home directories, so the Python must not lie in one.
PYTHON=${PYTHON:-/usr/bin/python3}

systemd_runs() { [ -d "$to/run/systemd/system" ]; }

# put SOURCE TARGET: copy, then rename, so that TARGET is never incomplete.
put() {
    mkdir -p "$(dirname "$2")"
    cp "$1" "$2.new"
    mv "$2.new" "$2"
}

# build DIR: create an environment with the agent, its unit and its sysctl file.
build() {
    make_venv "$1"
    case $(readlink -f "$1/bin/python") in
        /home/* | /root/*) fail "$PYTHON lies in a home directory, which the service cannot read" "set another: PYTHON=/usr/bin/python3" ;;
    esac
    echo "$me: installing the agent and its dependencies (about 150 MB, a minute or more)"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check . ||
        fail "pip could not install the packages (see above); nothing was changed" "check the network and the package index"
    "$1/bin/edgewatch" model verify >/dev/null || fail "the models do not run on this machine (see above); nothing was changed"
    cp systemd/edgewatch.service systemd/50-edgewatch.conf "$1"
}

# activate NAME: switch to the environment NAME and start it; fails if it does not start.
activate() {
    put "$home/$1/edgewatch.service" "$unit" && put "$home/$1/50-edgewatch.conf" "$sysctl" || return 1
    ln -sfn "$1" "$home/current.new" && mv -T "$home/current.new" "$home/current" || return 1
    ! command -v systemctl >/dev/null 2>&1 || systemctl ${to:+--root="$to"} --quiet enable edgewatch || return 1
    systemd_runs || return 0
    sysctl -q -p "$sysctl" || echo "$me: the kernel refused $sysctl: latency probes by ICMP may not be permitted"
    systemctl daemon-reload && systemctl restart edgewatch
}

install() {
    mkdir -p "$home" "$config"
    previous=$(readlink "$home/current" || true)
    new=$(mktemp -d "$home/env.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    trap 'exit 130' INT TERM HUP
    build "$new"
    trap - EXIT INT TERM HUP
    [ -e "$config/config.yaml" ] || put config.yaml "$config/config.yaml"
    [ -d "$config/credentials" ] || mkdir -m 700 "$config/credentials"
    if [ ! -e "$command" ]; then
        mkdir -p "$(dirname "$command")"
        ln -sfn /opt/edgewatch/current/bin/edgewatch "$command"
    fi
    if ! activate "${new##*/}"; then
        journalctl -u edgewatch -n 5 -o cat --no-pager >&2 || true
        if [ -n "$previous" ] && activate "$previous"; then
            rm -rf "$new"
            fail "the new version does not start (see above); the previous version is running again"
        fi
        fail "Edgewatch does not start (see above)" "correct $config/config.yaml; systemd retries every ten seconds"
    fi
    find "$home" -mindepth 1 -maxdepth 1 -name 'env.*' ! -name "${new##*/}" -exec rm -rf {} +
    version=$("$new/bin/edgewatch" --version)
    if systemd_runs; then
        echo "$me: $version is running and starts at boot"
    else
        echo "$me: $version is installed; systemd is not running, so start it yourself: edgewatch run --config $config/config.yaml"
    fi
    echo "$me: to configure it, edit $config/config.yaml, then run: edgewatch check --config $config/config.yaml && systemctl reload edgewatch"
}

uninstall() {
    if systemd_runs && [ -e "$unit" ]; then
        systemctl --quiet disable --now edgewatch
    fi
    rm -f "$to/etc/systemd/system/multi-user.target.wants/edgewatch.service" "$unit" "$sysctl"
    rm -rf "$home"
    case $(readlink "$command" || true) in /opt/edgewatch/*) rm -f "$command" ;; esac
    if systemd_runs; then
        systemctl daemon-reload
        systemctl --quiet reset-failed edgewatch 2>/dev/null || true
    fi
    echo "$me: Edgewatch is removed"
}

case ${1:-} in
    '' | --uninstall | --purge) ;;
    *) echo "usage: sh install.sh [--uninstall | --purge]" >&2; exit 2 ;;
esac
if [ "$(id -u)" != 0 ]; then
    echo "$me: installation writes to /opt and /etc; run it as root: sudo sh install.sh $*" >&2
    exit 2
fi
case ${1:-} in
    '') install ;;
    --uninstall)
        uninstall
        for kept in "$config" "$unit.d" "$state"; do
            [ ! -e "$kept" ] || echo "$me: kept: $kept"
        done
        ;;
    --purge)
        uninstall
        rm -rf "$config" "$unit.d" "$state" "$private_state"
        ;;
esac
