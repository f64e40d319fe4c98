#!/bin/sh
# Create or reuse the virtual environment for a target of the Makefile: tools/setup.sh run|train|test|service|arm|docs
# On failure, print what is missing and how to install it.
set -eu
cd "$(dirname "$0")/.."

purpose=${1:-run}
case $purpose in
    run) extras=tools; size="about 300 MB" ;;
    train) extras=tools,training; size="about 2 GB" ;;
    docs) extras=docs; size="about 150 MB" ;;
    test | service | arm) extras=tools,training,test; size="about 2 GB" ;;
    *) echo "setup: unknown purpose '$purpose'" >&2; exit 2 ;;
esac

me=setup
. tools/python.sh

# A stamp file records the installed extras and the metadata, so that a second run starts at once.
stamp=.venv/.edgewatch-setup
wanted="$extras $(cksum <pyproject.toml)"
if ! { [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp" && .venv/bin/python -c '' 2>/dev/null; }; then
    if ! .venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        make_venv .venv
    fi
    echo "setup: installing Edgewatch and its dependencies into .venv ($size, a minute or more)"
    if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extras]" 2>.venv/pip.log; then
        tail -n 5 .venv/pip.log >&2
        fail "pip could not install the packages (see above)" "check the network and the package index; running 'make' again continues from here"
    fi
    echo "$wanted" >>"$stamp"
fi

# Tests on a Debian of their own need these packages; without them they are skipped.
case $purpose in
    service) makers="debootstrap systemd-container" ;;
    arm) makers="debootstrap qemu-user-static" ;;
    *) makers= ;;
esac
if [ -n "$makers" ] && as_root; then
    # shellcheck disable=SC2086 # words
    dpkg -s $makers >/dev/null 2>&1 || apt_install $makers
fi

[ "$purpose" = test ] || exit 0

if ! command -v mosquitto >/dev/null 2>&1 && [ ! -x /usr/sbin/mosquitto ]; then
    if as_root; then
        apt_install mosquitto mosquitto-clients
    else
        echo "setup: mosquitto is not installed; tests with a real broker are skipped (sudo apt install mosquitto mosquitto-clients)"
    fi
fi

if ! command -v chromium >/dev/null 2>&1 && ! command -v google-chrome >/dev/null 2>&1; then
    if as_root; then
        apt_install chromium
    else
        echo "setup: Chromium is not installed; tests of the dashboard are skipped (sudo apt install chromium)"
    fi
fi

# The runtime of 32-bit Pis has wheels only up to Python 3.11 and needs numpy 1; bundles are tested on both runtimes.
if [ ! -f .venv-tflite/.done ]; then
    for candidate in python3 python3.11 python3.10 python3.9; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(not (3, 9) < sys.version_info[:2] < (3, 12))' >/dev/null 2>&1; then
            echo "setup: creating .venv-tflite with $("$candidate" --version) for tflite-runtime"
            if "$candidate" -m venv .venv-tflite && .venv-tflite/bin/python -m pip install --quiet \
                --disable-pip-version-check "numpy<2" msgspec tflite-runtime==2.14.0 2>.venv-tflite/pip.log; then
                touch .venv-tflite/.done
            else
                echo "setup: tflite-runtime cannot be installed; its tests are skipped"
            fi
            break
        fi
    done
fi
