#!/bin/sh
# The browser tests need a Chromium: an installed one, else Playwright's, else the distribution's.
set -eu

installed() {
    [ -z "${CHROMIUM:-}" ] || return 0
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" >/dev/null && return 0
    done
    .venv/bin/python - <<'PYTHON'
import sys
from pathlib import Path
from playwright.sync_api import sync_playwright
with sync_playwright() as playwright:
    sys.exit(not Path(playwright.chromium.executable_path).exists())
PYTHON
}

installed && exit 0
echo "Installing a Chromium for the browser tests (downloads about 180 MB)"
if .venv/bin/python -m playwright install chromium >.setup/chromium.log 2>&1; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >>.setup/chromium.log 2>&1 || true
fi
installed && exit 0
echo "The browser tests need Chromium or Google Chrome: install one (on Debian: apt-get install chromium fonts-noto-cjk)." >&2
exit 1
