# other-mount.sh KIND FILL DIRECTORY PROGRAM WORD...
#
# Mounts a file system of type KIND over DIRECTORY, in the mount namespace that it is started in,
# and writes a file "d" there whose 4 pages are filled with the byte FILL. Then it executes PROGRAM.
# KIND is tmpfs, or the path of an ext4 image.
set -e
kind=$1
fill=$2
directory=$3
shift 3
if [ "$kind" = tmpfs ]; then
  mount -t tmpfs tmpfs "$directory"
else
  mount -o loop "$kind" "$directory"
fi
head -c 16384 /dev/zero | tr '\0' "$fill" > "$directory/d"
sync "$directory/d"
exec "$@"
