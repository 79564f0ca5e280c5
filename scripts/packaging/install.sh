#!/bin/sh
# Installs sockhop from a folder of packages that scripts/package has made, at a URL:
#
#   sh install.sh URL [--to FOLDER] [--sums SHA256]
#
# The tarball for this machine is taken only if it has the checksum that URL/SHA256SUMS names. Who
# does not trust that server gives the checksum of SHA256SUMS itself, from elsewhere, as --sums.
# FOLDER is /usr/local/bin, or without root's rights ~/.local/bin. A node that runs goes on as it
# is, until SIGUSR2 has the new build take over.
set -eu

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

from='' to='' sums=''
while [ $# -gt 0 ]; do
    case $1 in
        --to | --sums)
            [ $# -ge 2 ] || fail "$1 needs a value"
            case $1 in --to) to=$2 ;; --sums) sums=$2 ;; esac
            shift
            ;;
        http://* | https://*) from=${1%/} ;;
        -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" && exit 0 ;;
        *) fail "$1 is not understood; expected: install.sh URL [--to FOLDER] [--sums SHA256]" ;;
    esac
    shift
done
[ -n "$from" ] || fail "from where? expected: install.sh URL [--to FOLDER] [--sums SHA256]"
if [ -z "$to" ]; then
    if [ "$(id -u)" -eq 0 ]; then to=/usr/local/bin; else to=$HOME/.local/bin; fi
fi

[ "$(uname -s)" = Linux ] || fail "sockhop runs on Linux, and this is $(uname -s)"
case $(uname -m) in
    x86_64)
        processor=x86-64-v3
        grep -qw avx2 /proc/cpuinfo ||
            fail "this processor has no AVX2, which these binaries need; build from source instead"
        ;;
    aarch64) processor=aarch64 ;;
    *) fail "there are binaries for x86_64 and aarch64, and this is $(uname -m)" ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

download() {
    if command -v curl >/dev/null; then
        curl --fail --silent --show-error --location --output "$work/$1" "$from/$1"
    elif command -v wget >/dev/null; then
        wget --quiet --output-document="$work/$1" "$from/$1"
    else
        fail "curl or wget is needed"
    fi || fail "$from/$1 cannot be downloaded"
}

check() {
    printf '%s  %s\n' "$2" "$work/$1" | sha256sum --check --status ||
        fail "$from/$1 has another checksum than $2: it is damaged, or not what it says; nothing was installed"
}

download SHA256SUMS
[ -z "$sums" ] || check SHA256SUMS "$sums"
line=$(grep -E "^[0-9a-f]{64}  sockhop-[0-9][0-9A-Za-z.+~-]*-linux-$processor\.tar\.gz\$" "$work/SHA256SUMS") ||
    fail "$from/SHA256SUMS names no tarball for $processor"
[ "$(printf '%s\n' "$line" | wc -l)" -eq 1 ] ||
    fail "$from/SHA256SUMS names several versions for $processor; expected the folder of one"
name=${line#*  }
download "$name"
check "$name" "${line%%  *}"

tar -xzf "$work/$name" -C "$work"
built="$work/${name%.tar.gz}"
"$built/sockhop" --version >/dev/null || fail "the binaries do not run here; $built/BUILD says what they need"
mkdir -p "$to"
# Beside them and renamed: whoever runs one keeps it.
for program in sockhop-standalone sockhop-worker sockhop; do
    cp "$built/$program" "$to/.$program.new"
    mv -f "$to/.$program.new" "$to/$program"
done
printf 'installed %s in %s\n' "$("$to/sockhop" --version)" "$to"
case :$PATH: in
    *":$to:"*) ;;
    *) printf 'note: %s is not in PATH\n' "$to" ;;
esac
