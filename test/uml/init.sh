#!/bin/sh
# First process of a user-mode-linux guest: its root is the host's file system, read only.
# Runs one test file with Node and powers off. On the kernel's command line: PORTOLAN_ROOT (the
# checkout), PORTOLAN_MODULES (the folder of this kernel's modules), PORTOLAN_FILE.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
mount -t tmpfs -o mode=1777 tmpfs /run
# The checkout may lie below /tmp, which is about to be covered. It keeps its path: what Node has
# compiled on the host, and finds by it, is good in here, too.
mkdir /run/checkout /run/modules
mount --bind "$PORTOLAN_ROOT" /run/checkout
mount --bind "$PORTOLAN_MODULES" /run/modules
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p "$PORTOLAN_ROOT"
mount --bind /run/checkout "$PORTOLAN_ROOT"
# Modules are loaded when they are needed, as on any Debian, but from where they were unpacked.
mkdir -p /tmp/root/lib
ln -s /run/modules /tmp/root/lib/modules
printf '#!/bin/sh\nexec modprobe -d /tmp/root "$@"\n' >/tmp/modprobe
chmod 755 /tmp/modprobe
echo /tmp/modprobe >/proc/sys/kernel/modprobe
ip link set lo up
cd "$PORTOLAN_ROOT" || exit 1
# AppArmor's parser is where the engine looks for it, though it was only unpacked.
parser=$(ls .cache/debian/sbin/apparmor_parser .cache/debian/usr/sbin/apparmor_parser 2>/dev/null | head -n 1)
if [ -n "$parser" ] && [ ! -e /usr/sbin/apparmor_parser ]; then
  mount -t overlay -o "lowerdir=$PWD/${parser%/*}:/usr/sbin" overlay /usr/sbin
fi
export HOME=/tmp
./scripts/node --disable-warning=ExperimentalWarning --test-reporter=tap "${PORTOLAN_FILE#"$PORTOLAN_ROOT"/}" 2>&1
echo "# guest ends"
echo o >/proc/sysrq-trigger
sleep 60
