#!/bin/sh
# Create or reuse the virtual environment for a target of the Makefile: tools/setup.sh run|train|test|newest|service|arm|docs
# Install the versions that requirements/ locks; `newest` installs the newest that pyproject.toml allows, into .venv-newest.
# On failure, print what is missing and how to install it.
set -eu
cd "$(dirname "$0")/.."

purpose=${1:-run}
venv=.venv
case $purpose in
    run) lock=run extras=tools size="about 300 MB" ;;
    train) lock=train extras=tools,training size="about 2 GB" ;;
    docs) lock=docs extras=docs size="about 150 MB" ;;
    test | service | arm) lock=test extras=tools,training,test size="about 2 GB" ;;
    newest) venv=.venv-newest lock='' extras=tools,training,test size="about 2 GB" ;;
    *) echo "setup: unknown purpose '$purpose'" >&2; exit 2 ;;
esac

me=setup
. tools/python.sh

# pip_install PYTHON ARGUMENT…: run pip quietly.
pip_install() {
    python=$1
    shift
    "$python" -m pip install --quiet --disable-pip-version-check "$@"
}

# is_locked PYTHON: whether requirements/ has wheels for this machine and Python; elsewhere its lines would install nothing.
is_locked() {
    "$1" -c 'import platform, sys
libc, version = platform.libc_ver()
glibc = libc == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 28)
machine = platform.machine() in ("x86_64", "aarch64") and sys.maxsize > 2**32
python = platform.python_implementation() == "CPython" and (3, 10) <= sys.version_info[:2] <= (3, 13)
sys.exit(not (glibc and machine and python))'
}

# say_unlocked PYTHON: print the machine and what is installed instead.
say_unlocked() {
    machine=$("$1" -c 'import platform; print(platform.machine(), platform.python_implementation(), platform.python_version())')
    echo "setup: requirements/ has no wheels for this machine ($machine): installing the newest versions that pyproject.toml allows, which are not the tested ones"
}

# install_packages PYTHON: install the dependencies of the purpose, then Edgewatch, built with the locked build tools.
install_packages() {
    if [ -z "$lock" ]; then
        pip_install "$1" --upgrade --upgrade-strategy eager --editable ".[$extras]"
    elif is_locked "$1"; then
        pip_install "$1" --require-hashes --only-binary :all: --requirement "requirements/$lock.txt" &&
            pip_install "$1" --no-deps --no-build-isolation --editable .
    else
        say_unlocked "$1"
        pip_install "$1" --editable ".[$extras]"
    fi
}

# A stamp file records the installed extras and the metadata, so that a second run starts at once. Entries of other metadata are
# dropped: their versions may have been replaced.
stamp=$venv/.edgewatch-setup
metadata=$(cat pyproject.toml agent/__init__.py requirements/*.txt | cksum)
wanted="$extras $metadata"
if [ -z "$lock" ] || ! { [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp" && $venv/bin/python -c '' 2>/dev/null; }; then
    if ! $venv/bin/python -c 'import pip' >/dev/null 2>&1; then
        make_venv $venv
    fi
    echo "setup: installing Edgewatch and its dependencies into $venv ($size, a minute or more)"
    if ! install_packages $venv/bin/python 2>$venv/pip.log; then
        tail -n 5 $venv/pip.log >&2
        fail "pip could not install the packages (see above)" "check the network and the package index; running 'make' again continues from here"
    fi
    grep -qF " $metadata" "$stamp" 2>/dev/null || : >"$stamp"
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

case $purpose in test | newest) ;; *) exit 0 ;; esac

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
install_older_runtime() {
    "$1" -m venv .venv-tflite || return 1
    if is_locked "$1"; then
        pip_install .venv-tflite/bin/python --require-hashes --only-binary :all: --requirement requirements/tflite.txt
    else
        say_unlocked "$1"
        pip_install .venv-tflite/bin/python "numpy<2" msgspec tflite-runtime==2.14.0
    fi
}

older=$(cksum <requirements/tflite.txt)
if ! grep -qxF "$older" .venv-tflite/.done 2>/dev/null; then
    for candidate in python3 python3.11 python3.10; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 11))' >/dev/null 2>&1; then
            echo "setup: creating .venv-tflite with $("$candidate" --version) for tflite-runtime"
            if install_older_runtime "$candidate" 2>.venv-tflite.log; then
                echo "$older" >.venv-tflite/.done
                rm -f .venv-tflite.log
            else
                echo "setup: tflite-runtime cannot be installed (see .venv-tflite.log); its tests are skipped"
            fi
            break
        fi
    done
fi
