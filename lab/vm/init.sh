#!/bin/busybox sh
# First program of a lab's virtual machine: loads what the root disk needs, mounts it, and hands over to `lab vm-guest`.
PATH=/bin
busybox mount -t devtmpfs devtmpfs /dev
busybox mount -t proc proc /proc
for module in /modules/*; do
  busybox insmod "$module" || echo "init: cannot load $module"
done
# The disk may take a moment to appear.
for turn in 1 2 3 4 5 6 7 8 9 10; do
  [ -b /dev/vda ] && break
  busybox sleep 0.1
done
busybox mount -t ext4 /dev/vda /root || echo "init: cannot mount the root disk"
busybox cp -r /job /root/lab-job
busybox cp /job/config "/root/boot/config-$(busybox uname -r)"
busybox umount /proc
busybox mount --move /dev /root/dev
exec busybox switch_root /root /usr/bin/lab vm-guest
