// A process to be read: so many MiB of memory that is not zero, and its address. Node knows no
// addresses, so its parent finds the memory in /proc by its length.
const bytes = Number(process.argv[2]);
const parts = [];
for (let left = bytes; left > 0; left -= 2 ** 30) {
  parts.push(Buffer.alloc(Math.min(left, 2 ** 30), 0x5a));
}
process.send('ready');
process.on('disconnect', () => process.exit());
setInterval(() => parts.length, 1 << 30);
