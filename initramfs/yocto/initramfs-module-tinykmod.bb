# tinykmod install-hooks: a module of OE-core's initramfs-framework. Beside this file belongs files/ with the loaders
# (`tinykmod loader --list` tells where they are). The index is tinykmod-index.bbclass's.
SUMMARY = "initramfs-framework module that loads the drivers of devices before udev does"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://${COREBASE}/meta/COPYING.MIT;md5=3da9cfbcb788c80a0384361b4de20420"

SRC_URI = "file://tinykmod file://coldplug file://tinykmod-${TINYKMOD_ARCH}"
S = "${UNPACKDIR}"

TINYKMOD_ARCH = "${TARGET_ARCH}"
TINYKMOD_ARCH:arm = "armv7l"
TINYKMOD_ARCH:powerpc64le = "ppc64le"

RDEPENDS:${PN} = "initramfs-framework-base"

do_install() {
    install -d ${D}/init.d ${D}${prefix}/lib/tinykmod
    # Before 01-udev, by its name.
    install -m 0755 ${S}/tinykmod ${D}/init.d/01-tinykmod
    install -m 0755 ${S}/coldplug ${D}${prefix}/lib/tinykmod/coldplug
    install -m 0755 ${S}/tinykmod-${TINYKMOD_ARCH} ${D}${prefix}/lib/tinykmod/tinykmod
}

FILES:${PN} = "/init.d/01-tinykmod ${prefix}/lib/tinykmod"
INSANE_SKIP:${PN} = "already-stripped"
