# shellcheck shell=sh
# What the inits here have in common, sourced by busybox's shell: the first mounts, the root's name, the handing over.

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 tmpfs /run

# shellcheck disable=SC2013,SC2034 # the words are what is wanted; root is for those that source this
for word in $(cat /proc/cmdline); do
    case $word in
    root=*) root=${word#root=} ;;
    esac
done

# hand_over DEVICE: to the system on it.
hand_over() {
    mount -t ext4 -o ro "$1" /sysroot
    for name in dev proc sys run; do
        mount --move "/$name" "/sysroot/$name"
    done
    exec switch_root /sysroot /sbin/init
}
