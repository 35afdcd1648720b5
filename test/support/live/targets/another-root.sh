# another-root.sh DIRECTORY PROGRAM WORD...
#
# Makes DIRECTORY the root of all that is here, with a tmpfs at /mnt in it, where a file "d" has 4
# pages full of the byte "t"; then it becomes PROGRAM under that root.
set -e
root=$1
shift
mount --rbind / "$root"
mount -t tmpfs tmpfs "$root/mnt"
head -c 16384 /dev/zero | tr '\0' t > "$root/mnt/d"
exec chroot "$root" "$@"
