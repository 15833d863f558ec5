# tinykmod install-hooks: Buildroot's package. Where the sources are: TINYKMOD_OVERRIDE_SRCDIR in local.mk. The loader
# is compiled by PyPI's ziglang, and the index made, with a Python of the host that has tinykmod installed: HOST_TINYKMOD.

TINYKMOD_VERSION = 0.1.0
TINYKMOD_SITE_METHOD = local
TINYKMOD_SITE = $(TINYKMOD_OVERRIDE_SRCDIR)
TINYKMOD_LICENSE = MIT
TINYKMOD_LICENSE_FILES = LICENSE

HOST_TINYKMOD ?= python3
TINYKMOD_ARCH_arm = armv7l
TINYKMOD_ARCH_i386 = i686
TINYKMOD_ARCH_powerpc64le = ppc64le
TINYKMOD_ARCH_NAME = $(or $(TINYKMOD_ARCH_$(BR2_ARCH)),$(BR2_ARCH))

define TINYKMOD_BUILD_CMDS
	$(HOST_TINYKMOD) $(@D)/scripts/build_loader.py --arch $(TINYKMOD_ARCH_NAME) -o $(@D)/loader
endef

define TINYKMOD_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/loader $(TARGET_DIR)/usr/lib/tinykmod/tinykmod
	$(INSTALL) -D -m 0755 $(@D)/initramfs/coldplug $(TARGET_DIR)/usr/lib/tinykmod/coldplug
endef

# Before S10mdev and S10udev.
define TINYKMOD_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/initramfs/buildroot/S09tinykmod $(TARGET_DIR)/etc/init.d/S09tinykmod
endef

define TINYKMOD_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(@D)/initramfs/mkinitcpio/tinykmod-coldplug.service \
		$(TARGET_DIR)/usr/lib/systemd/system/tinykmod-coldplug.service
endef

# The index is made when all packages have installed their modules.
define TINYKMOD_MAKE_INDEX
	for modules in $(TARGET_DIR)/lib/modules/*/; do \
		$(HOST_TINYKMOD) -m tinykmod index build -b $(TARGET_DIR) -o $${modules}tinykmod.tki \
			$$(basename $$modules) || exit 1; \
	done
endef
TINYKMOD_TARGET_FINALIZE_HOOKS += TINYKMOD_MAKE_INDEX

ifeq ($(BR2_PACKAGE_TINYKMOD_INIT),y)
define TINYKMOD_MAKE_INIT
	ln -sf usr/lib/tinykmod/tinykmod $(TARGET_DIR)/init
	ln -sf ../usr/lib/tinykmod/tinykmod $(TARGET_DIR)/sbin/modprobe
endef
TINYKMOD_TARGET_FINALIZE_HOOKS += TINYKMOD_MAKE_INIT
endif

$(eval $(generic-package))
