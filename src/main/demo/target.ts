/** The small program whose memory the demonstration dumps. It fills some memory, and then waits. */
import { randomFillSync } from 'node:crypto';

const MiB = 2 ** 20;

const kept = [Buffer.alloc(24 * MiB), Buffer.alloc(8 * MiB, 'mmdump '), Buffer.alloc(16 * MiB)];
randomFillSync(kept[0]!);
for (let at = 0; at < kept[2]!.length; at += 4096) kept[2]![at] = 0; // touched, and still zero

process.stdin.resume(); // the program ends when its parent closes the pipe or ends
process.stdin.on('end', () => process.exit(kept.length === 3 ? 0 : 1));
process.stdout.write('ready\n');
