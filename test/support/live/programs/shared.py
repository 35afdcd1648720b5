# A Python program with argv's number of MiB of non-zero bytes in shared anonymous memory.
import mmap, sys
kept = mmap.mmap(-1, int(sys.argv[1]) << 20)
for at in range(0, len(kept), 1 << 20):
    kept[at:at + (1 << 20)] = b'\x07' * (1 << 20)
print('ready', flush=True)
for line in sys.stdin:
    print('pong', line.strip()[5:], kept[4095], flush=True)
