// The process that is read where there is no compiler: see live-process.c.
const bytes = Number(process.argv[2]);
const parts = [];
for (let left = bytes; left > 0; left -= 2 ** 30) {
  parts.push(Buffer.alloc(Math.min(left, 2 ** 30), 0x5a));
}
process.stdout.write('ready\n');
process.stdin.on('end', () => process.exit(parts.length > 0 ? 0 : 1)).resume();
