# shellcheck shell=bash
# What scripts/run, scripts/test and .ci/run share: installing what is missing, and building.
#
# To be sourced. Moves to the repository's root and sets, as absolute paths:
#   root    the repository
#   bin     the folder of the built binaries
#   guests  the folder of the built guests
#
# Installing means: Debian packages through apt-get when we may, Rust's targets and components through rustup, cargo's
# own tools through cargo. Nothing is downloaded in any other way, and nothing that is there already is touched.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A relative CARGO_TARGET_DIR is meant from where the script was called.
case ${CARGO_TARGET_DIR:-/} in
    /*) ;;
    *) export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
esac
cd "$root" || exit 1

# The tests look for the guests here, whatever CARGO_TARGET_DIR says.
guests_target="$root/tests/guests/target"
# shellcheck disable=SC2034 # for those who source this
guests="$guests_target/wasm32-wasip2/release"

say() {
    printf '\n==> %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Which Debian package has a command.
package_of() {
    case $1 in
        cc) echo gcc libc6-dev ;;
        *) echo "$1" ;;
    esac
}

# Installs the Debian packages of those commands that are not there.
need_commands() {
    local missing=() packages=() as_root=() command
    for command in "$@"; do
        have "$command" || missing+=("$command")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    for command in "${missing[@]}"; do
        # shellcheck disable=SC2207 # package names have no spaces
        packages+=($(package_of "$command"))
    done
    have apt-get || fail "missing: ${missing[*]}; install them with this system's package manager and try again"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "missing: ${missing[*]}; as root: apt-get install ${packages[*]}"
        as_root=(sudo)
        # Without a terminal nobody could type a password.
        [ -t 0 ] || as_root=(sudo -n)
    fi
    say "installing ${packages[*]} (apt-get)"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${packages[@]}"
}

# Checks for a Rust that is new enough.
need_rust() {
    have cargo || fail "cargo is missing; install Rust with rustup (https://rustup.rs) and try again"
    local wanted have_version
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    have_version=$(rustc --version | cut -d ' ' -f 2)
    if [ "$(printf '%s\n%s\n' "$wanted" "${have_version%%-*}" | sort -V | head -n 1)" != "$wanted" ]; then
        fail "this is Rust $have_version, and sockhop needs $wanted or newer; get it with: rustup update stable"
    fi
}

# Installs the standard library of a target, unless it is there.
need_target() {
    [ -d "$(rustc --print target-libdir --target "$1")" ] && return 0
    have rustup || fail "Rust's target $1 is missing, and so is rustup, which could install it"
    say "installing Rust's target $1 (rustup)"
    rustup target add "$1"
}

# Installs one of cargo's commands that comes with Rust, unless it is there: need_component fmt rustfmt.
need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    have rustup || fail "cargo $1 is missing, and so is rustup, which could install it"
    say "installing Rust's component $2 (rustup)"
    rustup component add "$2"
}

# Installs one of cargo's commands from its source, unless it is there: need_cargo_tool nextest cargo-nextest.
need_cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    say "installing $2 (cargo install; takes some minutes)"
    cargo install --locked "$2"
}

# Everything it takes to build sockhop and the guests.
need_build_tools() {
    need_commands cc make git pkg-config curl
    need_rust
    need_target wasm32-wasip2
    # Asked of cargo, since a config file may have moved it too.
    local target
    target=$(cargo metadata --format-version 1 --no-deps --locked |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    [ -n "$target" ] || fail "cargo metadata does not say where the binaries go"
    # shellcheck disable=SC2034 # for those who source this
    bin="$target/release"
}

build_guests() {
    say "building the guests (WebAssembly components)"
    # In their own folder: what stands in .cargo/config.toml above counts from the current folder.
    (cd tests/guests && cargo build --release --locked --target wasm32-wasip2 --target-dir "$guests_target")
}

build_binaries() {
    # Two calls, and they must stay two. In one call cargo gives every crate the features that any of the packages asks
    # for: the worker would be linked with the engine's wasmtime, and so with Cranelift, which it must not have.
    say "building sockhop (the first time takes minutes: wasmtime and its compiler)"
    cargo build --release --locked -p sockhop-engine
    say "building sockhop-worker (and wasmtime again, without its compiler)"
    cargo build --release --locked -p sockhop-worker
}
