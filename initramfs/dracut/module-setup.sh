#!/bin/bash
# tinykmod install-hooks: dracut's module. Its number makes it the last: the index is made of the modules that the others
# have put into the image.

check() {
    require_binaries tinykmod || return 1
    return 0
}

depends() {
    echo base
}

install() {
    local loader
    if ! loader=$(tinykmod loader); then
        dwarn "tinykmod: no loader, the image is made without it"
        return 0
    fi
    inst_simple "$loader" /usr/lib/tinykmod/tinykmod
    inst_simple "${moddir:?}/coldplug" /usr/lib/tinykmod/coldplug
    inst_hook pre-udev 00 "$moddir/tinykmod.sh"
}

installkernel() {
    local file
    # What dracut itself would put there after its modules.
    for file in modules.builtin modules.builtin.modinfo modules.order; do
        [[ ! -e ${srcmods:?}/$file ]] || inst_simple "$srcmods/$file" "/lib/modules/${kernel:?}/$file"
    done
    # shellcheck disable=SC2086,SC2154
    set -- $drivers $add_drivers $force_drivers $filesystems
    # Without a name it would read names from standard input.
    (($# == 0)) || hostonly='' instmods "$@"
    [[ -x ${initdir:?}/usr/lib/tinykmod/tinykmod ]] || return 0
    tinykmod index build -b "$initdir" -o "$initdir/lib/modules/$kernel/tinykmod.tki" "$kernel" > /dev/null ||
        dwarn "tinykmod: no index, the loader in the image does nothing"
    return 0
}
