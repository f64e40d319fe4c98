#!/bin/sh
# Writes requirements/*.txt from the ranges in pyproject.toml: tools/lock.sh [UV-OPTION…], as --upgrade.
# Versions that are locked already and still allowed stay, unless --upgrade or --upgrade-package NAME is given.
set -eu
cd "$(dirname "$0")/.."
me=lock
. tools/python.sh

if ! .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt 2>/dev/null; then
    make_venv .venv-lock
    .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lock.txt ||
        fail "pip could not install uv (see above)"
fi

# compile NAME OPTION…: one file; neither an index nor a path of this machine gets into it.
compile() {
    name=$1
    shift
    echo "$me: requirements/$name.txt"
    UV_PYTHON_DOWNLOADS=never .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
        --only-binary :all: --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
        --constraint requirements/constraints.in \
        --output-file "requirements/$name.txt" "$@" >/dev/null
}

# The largest first: the others take its versions, so that one environment can be installed from several of them.
compile test pyproject.toml --extra tools --extra training --extra test --group build "$@"
tested="pyproject.toml --constraint requirements/test.txt"
# shellcheck disable=SC2086 # words
{
    compile run $tested --extra tools --group build "$@"
    compile train $tested --extra tools --extra training --group build "$@"
    compile docs $tested --extra docs --group build "$@"
    compile device $tested --extra prometheus --extra modbus --extra serial --extra signed --extra watch --group build "$@"
}
compile tflite --group tflite "$@"
compile lock --group lock "$@"

# Each locked package must have a wheel for every machine and Python that the README names. uv takes no notice of upper
# bounds of the Python that a package wants; where pip then refuses a version, requirements/constraints.in keeps it away.
for machine in x86_64 aarch64; do
    for version in 3.10 3.11 3.12 3.13; do
        for name in test docs device; do
            .venv-lock/bin/uv pip install --quiet --dry-run --require-hashes --only-binary :all: --target .venv-lock/none \
                --python-platform "$machine-manylinux_2_28" --python-version "$version" --requirement "requirements/$name.txt" ||
                fail "requirements/$name.txt cannot be installed on $machine with Python $version (see above)"
        done
    done
done
echo "$me: each package has a wheel for x86-64 and aarch64 with Python 3.10 to 3.13"
