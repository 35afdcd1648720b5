/** A Node program with argv's number of MiB of non-zero bytes. */
import { createInterface } from 'node:readline';

const kept = [];
for (let mib = Number(process.argv[2]); mib > 0; mib -= 64) kept.push(Buffer.alloc(64 << 20, mib));
createInterface({ input: process.stdin }).on('line', (line) => {
  console.log(`pong ${line.slice(5)} ${kept.map((buffer) => buffer[4095]).join('-')}`);
});
console.log('ready');
