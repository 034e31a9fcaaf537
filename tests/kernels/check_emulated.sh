#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the kernel checker for aarch64 and runs it under qemu-user: check_emulated.sh SOURCE_ROOT BUILD_DIR ISA...
# Exit 77 where the cross compiler or the emulator is not installed.
set -eu
root=$1 out=$2/check_aarch64
shift 2
compiler=${CC_AARCH64:-aarch64-linux-gnu-gcc}
emulator=${QEMU_AARCH64:-qemu-aarch64}
if ! command -v "$compiler" >/dev/null || ! command -v "$emulator" >/dev/null; then
    echo "needs $compiler and $emulator"
    exit 77
fi

flags="-std=gnu17 -O2 -Wall -Wextra -Werror -Wno-missing-field-initializers -Wno-unused-parameter -ffp-contract=off \
-D_GNU_SOURCE -I$root/include -I$root/engine/runtime -I$root/quant -I$root/quant/kernels"
mkdir -p "$out"
objects=""
compile() { # SOURCE FLAG
    object=$out/$(echo "${1#"$root"/}" | tr / _).o
    # shellcheck disable=SC2086
    "$compiler" $flags ${2:-} -c "$1" -o "$object"
    objects="$objects $object"
}
for source in "$root"/quant/formats.c "$root"/quant/quant_rows.c "$root"/quant/pack.c "$root"/quant/unpack.c \
    "$root"/quant/activations.c "$root"/quant/product.c "$root"/quant/dequantize.c "$root"/quant/kernels/*.c \
    "$root"/quant/kernels/ref/*.c "$root"/quant/kernels/neon/*.c "$root"/engine/runtime/cpu.c \
    "$root"/engine/runtime/status.c "$root"/engine/runtime/clock.c "$root"/engine/runtime/log.c \
    "$root"/tests/kernels/*.c; do
    compile "$source"
done
for source in "$root"/quant/kernels/neondot/*.c; do
    compile "$source" -march=armv8.2-a+dotprod
done
for source in "$root"/quant/kernels/i8mm/*.c; do
    compile "$source" -march=armv8.2-a+dotprod+i8mm
done
for source in "$root"/quant/kernels/sve/*.c; do
    compile "$source" -march=armv8.2-a+sve
done
# shellcheck disable=SC2086
"$compiler" -static $objects -lm -lpthread -o "$out/check_kernels"
for isa in "$@"; do
    lengths=64
    if [ "$isa" = sve ]; then
        lengths="16 32 48 64 256" # bytes of a register: SVE leaves it to the core
    fi
    for length in $lengths; do
        "$emulator" -cpu "max,sve-default-vector-length=$length" "$out/check_kernels" "$isa"
    done
done
