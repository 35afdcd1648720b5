# A Python program: random bytes, zero bytes, and a buffer that is never touched.
import hashlib, os, sys
kept = bytearray(os.urandom(3 << 20)) + bytearray(3 << 20)
untouched = bytearray(8 << 20)
print('ready', flush=True)
for line in sys.stdin:
    print('pong', line.strip()[5:], hashlib.sha1(kept).hexdigest(), flush=True)
