# tinykmod install-hooks: for the image's recipe, `inherit tinykmod-index`: the index of the modules that the image has.
# The host's tinykmod makes it; local.conf says HOSTTOOLS += "tinykmod".
ROOTFS_POSTPROCESS_COMMAND += "tinykmod_index;"

tinykmod_index() {
    for modules in ${IMAGE_ROOTFS}${nonarch_base_libdir}/modules/*/; do
        tinykmod index build -b ${IMAGE_ROOTFS} -o "${modules}tinykmod.tki" "$(basename "$modules")"
    done
}
