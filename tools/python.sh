# shellcheck shell=sh
# Find a Python and create virtual environments, for set-up and installation; sourced, with $me as prefix of messages.

fail() {
    printf "$me: %s\n" "$@" >&2
    exit 3
}

as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

apt_install() {
    echo "$me: installing $* with apt-get"
    if ! words=$({ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } 2>&1); then
        fail "apt-get could not install $*; its last lines:" "$(printf '%s\n' "$words" | tail -n 3)"
    fi
}

good_python() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10; do
        if good_python "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

# make_venv DIR: create an empty virtual environment with pip.
make_venv() {
    python=$(find_python)
    if [ -z "$python" ] && as_root; then
        apt_install python3 python3-venv
        python=$(find_python)
    fi
    [ -n "$python" ] || fail "no Python 3.10 to 3.13 found" "install one (Debian: apt install python3 python3-venv), or set PYTHON=/path/to/python3"
    if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        as_root || fail "$python has no venv module" "install it (Debian: sudo apt install python3-venv), then try again"
        apt_install python3-venv
    fi
    echo "$me: creating $1 with $("$python" --version)"
    rm -rf "$1"
    "$python" -m venv "$1" || fail "$python could not create $1" "is the disk full, or the folder read-only?"
}
