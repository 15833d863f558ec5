#!/bin/sh
# tinykmod install-hooks: dracut's pre-udev hook, which is sourced; with systemd in the image too, where a service runs
# the hooks of pre-udev before systemd-udevd starts.

type getarg > /dev/null 2>&1 || . /lib/dracut-lib.sh
/usr/lib/tinykmod/coldplug "$(getarg root=)"
