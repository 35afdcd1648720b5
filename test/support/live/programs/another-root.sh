# another-root.sh DIRECTORY PROGRAM WORD...
#
# Binds the whole file tree to DIRECTORY, and mounts a tmpfs at /mnt in it, where a file "d" has 4
# pages filled with the byte "t". Then it executes PROGRAM with DIRECTORY as its root.
set -e
root=$1
shift
mount --rbind / "$root"
mount -t tmpfs tmpfs "$root/mnt"
head -c 16384 /dev/zero | tr '\0' t > "$root/mnt/d"
exec chroot "$root" "$@"
