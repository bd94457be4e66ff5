#!/bin/sh
# Installs the programs that some tests use, from the system's packages, where
# this user may. What stays missing is named in one line; its tests are skipped,
# or, under RTPUSH_TEST_ALL=1, this script fails.
set -eu

# Servers live in sbin, which is not in every user's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
PROGRAMS="redis nginx haproxy chromium node npm zsh fish"
log="${TMPDIR:-/tmp}/rtpush-setup.$$.log"
policy=/usr/sbin/policy-rc.d
policy_is_ours=

present() {
  case $1 in
    redis) command -v redis-server || command -v valkey-server ;;
    chromium) command -v chromium || command -v chromium-browser || command -v google-chrome ;;
    *) command -v "$1" ;;
  esac >/dev/null
}

missing() {
  for program in $PROGRAMS; do
    present "$program" || printf '%s ' "$program"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
  [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

package() {
  case $1 in
    redis) if [ "$manager" = apt-get ]; then echo redis-server; else echo redis; fi ;;
    node) echo nodejs ;;
    # Where there is one without windows, most tests use that.
    chromium)
      shell=chromium-headless-shell
      if [ "$manager" = apt-get ] && apt-cache show "$shell" >/dev/null 2>&1; then
        echo chromium $shell
      else
        echo chromium
      fi ;;
    *) echo "$1" ;;
  esac
}

manager() {
  for name in apt-get dnf apk; do
    if command -v "$name" >/dev/null; then echo "$name"; return; fi
  done
}

# What is unpacked can be unpacked again: it need not be on the disk at once.
install_with_apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
    -o DPkg::Options::=--force-unsafe-io install -y --no-install-recommends "$@"
}

install() {
  case $manager in
    apt-get) install_with_apt "$@" ;;
    dnf) as_root dnf install -y "$@" ;;
    apk) as_root apk add "$@" ;;
  esac >>"$log" 2>&1 </dev/null
}

# The tests start their own servers: the packages must not.
forbid_services() {
  if [ "$manager" = apt-get ] && [ ! -e "$policy" ]; then
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
}

clean_up() {
  rm -f "$log"
  if [ -n "$policy_is_ours" ]; then as_root rm -f "$policy"; fi
}

install_all() {
  trap clean_up EXIT
  trap 'exit 1' INT TERM
  forbid_services
  # A fresh machine has no package lists; a stale one has dead links.
  if [ "$manager" = apt-get ]; then
    as_root apt-get -o DPkg::Lock::Timeout=300 update >>"$log" 2>&1 </dev/null || true
  fi
  echo "tests: installing $1..."
  # All at once takes less time; but one that cannot be had would keep the others out.
  install $(for program in $1; do package "$program"; done) && return
  for program in $1; do
    install $(package "$program") || tail -n 1 "$log" >&2
  done
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0
manager=$(manager)
if [ -z "$manager" ]; then
  why="no package manager that this script knows"
elif ! may_install; then
  why="installing needs root or sudo without a password"
else
  why="the system's packages did not bring it"
  install_all "$wanted"
  wanted=$(missing)
  [ -n "$wanted" ] || exit 0
fi

if [ "${RTPUSH_TEST_ALL:-}" = 1 ]; then
  echo "tests: missing: ${wanted% } ($why), and RTPUSH_TEST_ALL=1 allows no skipped test" >&2
  exit 1
fi
echo "tests: missing: ${wanted% } ($why); the tests that use it are skipped"
