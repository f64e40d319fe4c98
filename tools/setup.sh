#!/bin/sh
# Makes or reuses the virtual environment for a target of the Makefile: tools/setup.sh run|test
# Says clearly what is missing and how to get it when it cannot.
set -eu
cd "$(dirname "$0")/.."

purpose=${1:-run}
case $purpose in
    run) extras=tools; size="about 200 MB" ;;
    train) extras=tools,training; size="about 2 GB" ;;
    test) extras=tools,training,test; size="about 2 GB" ;;
    *) echo "setup: unknown purpose '$purpose'" >&2; exit 2 ;;
esac

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 3
}

as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

apt_install() {
    echo "setup: installing $* with apt-get"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } \
        >.venv-apt.log 2>&1 || fail "apt-get could not install $*; its last words:" "$(tail -n 3 .venv-apt.log)"
    rm -f .venv-apt.log
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

# A stamp beside the environment says what was installed from which metadata, so that a second run starts at once.
stamp=.venv/.edgewatch-setup
wanted="$extras $(cksum <pyproject.toml)"
if ! { [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp" && .venv/bin/python -c '' 2>/dev/null; }; then
    if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        python=$(find_python)
        if [ -z "$python" ] && as_root; then
            apt_install python3 python3-venv
            python=$(find_python)
        fi
        [ -n "$python" ] || fail "no Python 3.10 to 3.13 found" "install one (Debian: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3"
        if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            as_root || fail "$python has no venv module" "install it (Debian: sudo apt install python3-venv), then try again"
            apt_install python3-venv
        fi
        echo "setup: making .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv || fail "$python could not make .venv" "is the disk full, or the folder read-only?"
    fi
    echo "setup: installing Edgewatch and what it needs into .venv ($size, a minute or more)"
    if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" 2>.venv/pip.log; then
        tail -n 5 .venv/pip.log >&2
        fail "pip could not install the packages (see above)" "is there a network, and a package index that this machine reaches? 'make' again goes on from here"
    fi
    echo "$wanted" >>"$stamp"
fi

[ "$purpose" = test ] || exit 0

if ! command -v mosquitto >/dev/null 2>&1 && [ ! -x /usr/sbin/mosquitto ]; then
    if as_root; then
        apt_install mosquitto mosquitto-clients
    else
        echo "setup: no mosquitto here; tests with a real broker are skipped (sudo apt install mosquitto mosquitto-clients)"
    fi
fi

# The older runtime, of 32-bit Pis, has wheels up to Python 3.11 only and wants numpy 1; bundles are tested on both.
if [ ! -f .venv-tflite/.done ]; then
    for candidate in python3 python3.11 python3.10 python3.9; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(not (3, 9) < sys.version_info[:2] < (3, 12))' >/dev/null 2>&1; then
            echo "setup: making .venv-tflite with $("$candidate" --version) for the older runtime"
            if "$candidate" -m venv .venv-tflite && .venv-tflite/bin/python -m pip install --quiet \
                --disable-pip-version-check "numpy<2" msgspec tflite-runtime==2.14.0 2>.venv-tflite/pip.log; then
                touch .venv-tflite/.done
            else
                echo "setup: tflite-runtime cannot be had here; its tests are skipped"
            fi
            break
        fi
    done
fi
