#!/bin/sh
# Look for what a make target needs from the system, and install what is missing with apt-get where that is
# allowed (root, or sudo that asks nothing); else say in one line what to install.
# Usage: setup_system.sh build|demo|test|test-generators|check
set -eu

target=${1-}
python=${PYTHON:-python3}
# mke2fs and sfdisk live in sbin, which is not in every user's PATH.
PATH="$PATH:/usr/sbin:/sbin"

# need PACKAGE CHECK...: PACKAGE is missing when the command CHECK fails.
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

look() {
    missing=
    need python3 "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'
    need python3-venv "$python" -c 'import venv, ensurepip'
    need python3-dev "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")'
    case $target in
    build) ;;
    check) need shellcheck command -v shellcheck ;;
    demo | test | test-generators)
        need qemu-system-x86 command -v qemu-system-x86_64
        need e2fsprogs command -v mke2fs
        need fdisk command -v sfdisk
        [ "$target" = demo ] || need kmod command -v kmod
        [ "$target" != test-generators ] || need debootstrap command -v debootstrap
        if [ "$target" = test ]; then
            need qemu-system-arm command -v qemu-system-aarch64
            need qemu-user command -v qemu-riscv64
            need cpio command -v cpio
            need dosfstools command -v mkfs.vfat
            need mtools command -v mcopy
            need xfsprogs command -v mkfs.xfs
            need btrfs-progs command -v mkfs.btrfs
            need f2fs-tools command -v mkfs.f2fs
            need exfatprogs command -v mkfs.exfat
            need erofs-utils command -v mkfs.erofs
            need squashfs-tools command -v mksquashfs
            need xorriso command -v xorriso
            # shellcheck disable=SC2016 # $ is for the shell that runs it
            need gcc sh -c 'test -e "$(gcc -print-file-name=libasan.so)"'
            need chromium command -v chromium
            need zsh command -v zsh
            need fish command -v fish
        fi
        ;;
    *)
        echo "setup_system.sh: '$target': no such target" >&2
        exit 2
        ;;
    esac
}

look
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then
    sudo=
elif sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    sudo=none
fi
if [ "$sudo" = none ] || ! command -v apt-get >/dev/null; then
    echo "make $target needs these packages (Debian's names), please install them:$missing" >&2
    exit 1
fi

echo "installing with apt-get:$missing"
install() {
    # shellcheck disable=SC2086 # $sudo and $missing are lists of words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
# The package lists may be out of date, or absent as in a container image.
install 2>/dev/null || { $sudo apt-get update -qq && install; }
look
[ -z "$missing" ] && exit 0
echo "make $target: still missing for $python:$missing (a python3 that is not Debian's? try make PYTHON=/usr/bin/python3)" >&2
exit 1
