#!/bin/bash
# Boots Debian's kernel in QEMU, by software, and runs there, as its first process's child, what host kernels need not have: the
# limits of cgroup v2. It takes root, for Debian's packages. The argument is a folder for what it makes; `make guest` calls it.
set -euo pipefail
work=$1
mkdir -p "$work/root"
export DEBIAN_FRONTEND=noninteractive
if ! command -v qemu-system-x86_64 >/dev/null || ! command -v cpio >/dev/null; then
	apt-get -q update
	apt-get -qy install --no-install-recommends qemu-system-x86 cpio
fi
if [[ ! -e $work/vmlinuz || ! -e $work/busybox ]]; then
	kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	(cd "$work" && apt-get -q download "$kernel" busybox-static)
	for deb in "$work"/*.deb; do
		dpkg-deb -x "$deb" "$work/debs"
		rm "$deb"
	done
	mv "$work"/debs/boot/vmlinuz-* "$work/vmlinuz"
	mv "$work/debs/bin/busybox" "$work/busybox"
	rm -r "$work/debs"
fi

CGO_ENABLED=0 go test -c -tags guest -o "$work/guest.test" ./agent
rm -rf "$work/root"
mkdir -p "$work"/root/{bin,dev,etc,proc,sys,tmp,root}
cp "$work/busybox" "$work/root/bin/busybox"
cp "$work/guest.test" "$work/root/guest.test"
echo 'root:x:0:0::/root:/bin/sh' >"$work/root/etc/passwd"
echo 'root:x:0:' >"$work/root/etc/group"
cat >"$work/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup
/guest.test -test.v -test.run '^TestGuest' -test.timeout 10m
echo "guest: exit code $?"
poweroff -f
INIT
chmod 755 "$work/root/init"
(cd "$work/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initrd"

began=$SECONDS
timeout 900 qemu-system-x86_64 -accel tcg -cpu max -m 1024 -nographic -nodefaults -serial stdio -no-reboot \
	-kernel "$work/vmlinuz" -initrd "$work/initrd" -append "console=ttyS0 quiet panic=-1" </dev/null | tee "$work/log"
echo "guest: took $((SECONDS - began)) s"
grep -q '^guest: exit code 0' "$work/log" || { echo "guest: FAILED" >&2; exit 1; }
for test in $(grep -o '^func TestGuest[A-Za-z]*' agent/guest_test.go | cut -d' ' -f2); do
	grep -q -- "^--- PASS: $test " "$work/log" || { echo "guest: $test did not pass" >&2; exit 1; }
done
