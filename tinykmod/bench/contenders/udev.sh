#!/bin/sh
# /init of the image with systemd-udevd: its workers load what all devices ask for, those too that come later, and the
# root is mounted as soon as udev has made its link, whatever is still being loaded.
# shellcheck source=tinykmod/bench/contenders/common.sh
. /lib/common.sh

/lib/systemd/systemd-udevd --daemon --resolve-names=never
udevadm trigger --type=subsystems --action=add
udevadm trigger --type=devices --action=add
case $root in
UUID=*) device=/dev/disk/by-uuid/${root#UUID=} ;;
LABEL=*) device=/dev/disk/by-label/${root#LABEL=} ;;
*) device=$root ;;
esac
udevadm wait --timeout=infinity "$device"
udevadm control --exit
hand_over "$device"
