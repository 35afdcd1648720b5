# overlay.sh DIRECTORY IMAGE PROGRAM WORD...
#
# Writes files f1 to f4 into the ext4 IMAGE, two pages each, filled with the bytes "1" to "4", and
# mounts an overlay with xino at DIRECTORY/merged: the image is the lower layer, a tmpfs the upper.
# The kernel marks inodes of the lower layer in their highest bit. Then it executes PROGRAM.
set -e
directory=$1
image=$2
shift 2
mkdir -p "$directory/lower" "$directory/above" "$directory/merged"
mount -o loop "$image" "$directory/lower"
for number in 1 2 3 4; do
  head -c 8192 /dev/zero | tr '\0' "$number" > "$directory/lower/f$number"
done
mount -t tmpfs tmpfs "$directory/above"
mkdir "$directory/above/upper" "$directory/above/work"
layers="lowerdir=$directory/lower,upperdir=$directory/above/upper,workdir=$directory/above/work"
mount -t overlay -o "$layers,xino=on" overlay "$directory/merged"
exec "$@"
