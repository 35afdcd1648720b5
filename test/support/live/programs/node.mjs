/**
 * A Node program: buffers with random bytes, with zeros that were written, and never touched ones.
 */
import { createHash, randomFillSync } from 'node:crypto';
import { createInterface } from 'node:readline';

const kept = [randomFillSync(Buffer.alloc(6 << 20)), Buffer.alloc(4 << 20), Buffer.alloc(8 << 20)];
for (let at = 0; at < kept[1].length; at += 4096) kept[1][at] = 0;
const checksum = () => createHash('sha1').update(kept[0]).update(kept[1]).digest('hex');
createInterface({ input: process.stdin }).on('line', (line) => {
  console.log(`pong ${line.slice(5)} ${checksum()}`);
});
console.log('ready');
