# shellcheck shell=bash
# Sourced by the scripts beside it: `setup EXTRAS` makes .venv (KDJAX_VENV names another)
# on first use, and is instant when nothing it depends on has changed since: pyproject.toml,
# the pins and the Python, which is the one in .venv unless PYTHON asks for another.
venv="${KDJAX_VENV:-.venv}"

fail() {
  echo "kdjax: error: $1" >&2
  exit 2
}

# Its version, as 3.11, where $1 is a Python that is new enough.
version_of() {
  "$1" -c 'import sys
print("%d.%d" % sys.version_info[:2])
sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# The first Python on the PATH, or of pyenv, that is 3.11 or newer; PYTHON names another.
find_python() {
  local name candidate found=""
  for name in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    for candidate in "$name" "$HOME/.pyenv/versions/${name#python}".*/bin/python; do
      if version_of "$candidate" >/dev/null; then
        echo "$candidate"
        return
      fi
      found+="$("$candidate" --version 2>/dev/null | tr '\n' ' ')"
    done
  done
  fail "needs Python 3.11 or newer; found ${found:-none} (set PYTHON=/path/to/python3.11)"
}

setup() {
  local extras="$1" stamp="$venv/installed$1" log="$venv/install.log"
  local pins=launch/constraints.txt python="$venv/bin/python" have version want clear=""
  have="$(version_of "$python")" || have=""
  if [ -z "$have" ] || [ -n "${PYTHON:-}" ]; then python="$(find_python)" || exit 2; fi
  version="$(version_of "$python")"
  [ "$version" = 3.11 ] || pins=launch/constraints-newest.txt
  want="$(cat pyproject.toml "$pins" | cksum) $version $PWD"
  [ "$have" = "$version" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
  if [ -n "$have" ] && [ "$have" != "$version" ]; then
    echo "kdjax: $venv has Python $have, not $version: making it anew" >&2
  fi
  [ "$have" = "$version" ] || clear=--clear
  echo "kdjax: installing into $venv (once, a minute or two)" >&2
  "$python" -m venv ${clear:+"$clear"} "$venv" >/dev/null 2>&1 ||
    fail "$python cannot make a virtual environment (on Debian: apt-get install python3-venv)"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -c "$pins" -e ".$extras" >"$log" 2>&1 || {
    tail -n 15 "$log" >&2
    fail "installation failed; the whole log is $log"
  }
  echo "$want" >"$stamp"
}

# What `kdjax export` needs, which no resolver would install: once, after `setup`. Where
# it is not to be had, and with another jax than the pinned one, the tests that need it
# say so.
setup_export() {
  local list="kdjax/export/requirements.txt" stamp="$venv/installed_export" want
  [ "$(version_of "$venv/bin/python")" = 3.11 ] || return 0
  want="$(cksum <"$list") $PWD"
  [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
  if "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --no-deps -r "$list" >>"$venv/install.log" 2>&1; then
    echo "$want" >"$stamp"
  else
    echo "kdjax: $list cannot be installed here; its tests are skipped" >&2
  fi
}
