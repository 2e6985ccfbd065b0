# shellcheck shell=bash disable=SC2154
# Builds a peer from its sdist on PyPI. Sourced by scripts/peer/llama-cpp and scripts/peer/ik-llama-cpp.
#
# The caller sets: name (for messages), home (folder of the builds), built (where the result goes), log, isa.

CMAKE_VERSION=4.4.4
NINJA_VERSION=1.13.2

say() { echo "$name: $*" >&2; }
die() { say "$*"; exit 1; }

failed() {
    tail -n 30 "$log" >&2
    die "$1; full log: $log"
}

# Prints the compiler flags with which programs that use AMX run here; nothing where none are needed.
#
# GCC 12 takes 8 of the 64 bytes that _tile_loadconfig reads for used, and drops the stores of the others: a program with
# AMX, llama.cpp among them, then dies on its first tile. Without dead store elimination it runs. Where a program dies even so
# (a hypervisor that passes on the flag and not the registers), AMX is left out.
amx_flags() {
    local folder flags
    grep -qw amx_tile /proc/cpuinfo 2>/dev/null || return 0
    folder=$(mktemp -d)
    cat >"$folder/amx.c" <<'C'
#include <immintrin.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int status = 0;
    if (fork() > 0) return wait(&status) < 0 || !WIFEXITED(status);
    /* ARCH_REQ_XCOMP_PERM for XTILEDATA, then the smallest use of a tile. */
    if (syscall(SYS_arch_prctl, 0x1023, 18) != 0) return 0;
    unsigned char config[64] __attribute__((aligned(64))) = {1};
    config[16] = 64;
    config[48] = 16;
    _tile_loadconfig(config);
    _tile_zero(0);
    _tile_release();
    return 0;
}
C
    # A compiler without AMX support emits none.
    if cc -O3 -mamx-tile -o "$folder/amx" "$folder/amx.c" 2>/dev/null && ! "$folder/amx" 2>/dev/null; then
        flags="-fno-dse -fno-tree-dse"
        # shellcheck disable=SC2086
        cc -O3 $flags -mamx-tile -o "$folder/amx" "$folder/amx.c" 2>/dev/null && "$folder/amx" 2>/dev/null ||
            flags="-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
        echo "$flags"
    fi
    rm -rf "$folder"
}

# A native build that ends up on another CPU (a restored cache, a shared home) would crash with an illegal
# instruction, so the folder's name includes the instruction set.
native_isa() {
    local flags
    if [ -r /proc/cpuinfo ]; then
        flags=$(grep -m1 -iE '^(flags|features)' /proc/cpuinfo | cut -d: -f2 | tr ' ' '\n' | sort -u)
    else
        flags=$(sysctl -n machdep.cpu.brand_string hw.optional 2>/dev/null || uname -m)
    fi
    echo "native-$(cksum <<<"$flags $(amx_flags)" | cut -d' ' -f1)"
}

# finish [yes]: prints the folder of programs and exits; with yes, `current` links to this build.
finish() {
    if [ "${1:-}" = yes ]; then
        # Created under another name and renamed, so that the link is never missing.
        ln -s "${built##*/}" "$home/.current.$$"
        mv -Tf "$home/.current.$$" "$home/current"
    fi
    echo "$built/bin"
    exit 0
}

# One build at a time: a second one waits, then finds the work done.
lock() {
    mkdir -p "$home"
    if command -v flock >/dev/null; then
        exec 9>"$home/.lock"
        flock -n 9 || { say "waiting for another build to finish"; flock 9; }
    fi
}

# source_of PACKAGE VERSION SHA256 FOLDER: unpacks the sdist in FOLDER and puts CMake and Ninja on PATH.
source_of() {
    local package=$1 version=$2 sha256=$3 work=$4 sdist
    command -v c++ >/dev/null || die "no C++ compiler (c++) found; on Debian: apt-get install g++"
    command -v python3 >/dev/null || die "no python3 found; on Debian: apt-get install python3 python3-venv"
    python3 -m venv "$work/venv" >>"$log" 2>&1 ||
        failed "python3 -m venv failed; on Debian: apt-get install python3-venv"
    "$work/venv/bin/python" -m pip install --quiet "cmake==$CMAKE_VERSION" "ninja==$NINJA_VERSION" >>"$log" 2>&1 ||
        failed "pip could not install cmake and ninja; check that PyPI, or the mirror in pip's configuration, is reachable"
    # Not --no-binary :all:, which would make pip build CMake from source first.
    "$work/venv/bin/python" -m pip download --quiet --no-deps --no-binary "$package" --dest "$work" \
        "$package==$version" >>"$log" 2>&1 ||
        failed "pip could not download $package==$version; check that PyPI, or the mirror in pip's configuration, is reachable"
    sdist=$work/${package//-/_}-$version.tar.gz
    echo "$sha256  $sdist" | sha256sum --check --status ||
        die "the sdist of $package $version has sha256 $(sha256sum "$sdist" | cut -d' ' -f1), expected $sha256"
    tar -xzf "$sdist" -C "$work"
    export PATH="$work/venv/bin:$PATH"
}

# install_programs FOLDER PROGRAM...: strips the programs in FOLDER/out/bin and installs them as the result.
install_programs() {
    local work=$1 tool
    shift
    mkdir -p "$work/result/bin"
    for tool in "$@"; do
        strip -o "$work/result/bin/$tool" "$work/out/bin/$tool"
    done
    "$work/result/bin/llama-bench" --help >/dev/null 2>>"$log" || failed "the built llama-bench does not start"
    mv -T "$work/result" "$built"
}
