#!/bin/sh
# Boots the Debian of a folder, which stays as it is: boot_debian.sh DEBIAN FOLDER. In namespaces of
# its own, which end with it. What it writes goes into memory, over FOLDER.
set -e
debian=$1 folder=$2
mount -t tmpfs tmpfs "$folder"
cd "$folder"
mkdir written work root
mount -t overlay overlay -o "lowerdir=$debian,upperdir=written,workdir=work" root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys -o ro
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs dev -o mode=755
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm dev/pts
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
# It looks at disks, for some seconds.
ln -s /dev/null etc/systemd/system/e2scrub_reap.service
mkdir host
pivot_root . host
exec env -i container=tests PATH=/usr/sbin:/usr/bin sh -c 'umount -l /host && exec /lib/systemd/systemd'
