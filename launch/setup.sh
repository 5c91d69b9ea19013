# shellcheck shell=bash
# Sourced by the scripts beside it: `setup EXTRAS` makes .venv on first use, and is
# instant when neither pyproject.toml nor launch/constraints.txt has changed since.

fail() {
  echo "kdjax: error: $1" >&2
  exit 2
}

# The first Python on the PATH that is 3.11 or newer; PYTHON names another one.
find_python() {
  local candidate found=""
  for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
    found+="$("$candidate" --version 2>/dev/null | tr '\n' ' ')"
  done
  fail "needs Python 3.11 or newer; found ${found:-none} (set PYTHON=/path/to/python3.11)"
}

setup() {
  local extras="$1" stamp=".venv/installed$1" log=".venv/install.log" python want
  want="$(cat pyproject.toml launch/constraints.txt | cksum) $PWD"
  [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
  python="$(find_python)" || exit 2
  echo "kdjax: installing into .venv (once, a minute or two)" >&2
  "$python" -m venv .venv >/dev/null 2>&1 ||
    fail "$python cannot make a virtual environment (on Debian: apt-get install python3-venv)"
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    -c launch/constraints.txt -e ".$extras" >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    fail "installation failed; the whole log is $log"
  }
  echo "$want" >"$stamp"
}

# What `kdjax export` needs, which no resolver would install: once, after `setup`. Where
# it is not to be had, the tests that need it say so.
setup_export() {
  local list="kdjax/export/requirements.txt" stamp=".venv/installed_export" want
  want="$(cksum <"$list") $PWD"
  [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
  if .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --no-deps -r "$list" >>.venv/install.log 2>&1; then
    echo "$want" >"$stamp"
  else
    echo "kdjax: $list cannot be installed here; its tests are skipped" >&2
  fi
}
