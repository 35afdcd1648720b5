/** Programs for live processes that are no C: targets, and the importer that runs elsewhere. */

/** A Node program: buffers of random bytes, of zeros that were written, and never touched ones. */
export const NODE_SOURCE: string = `
import { createHash, randomFillSync } from 'node:crypto';
import { createInterface } from 'node:readline';
const kept = [randomFillSync(Buffer.alloc(6 << 20)), Buffer.alloc(4 << 20), Buffer.alloc(8 << 20)];
for (let at = 0; at < kept[1].length; at += 4096) kept[1][at] = 0;
const checksum = () => createHash('sha1').update(kept[0]).update(kept[1]).digest('hex');
createInterface({ input: process.stdin }).on('line', (line) => {
  console.log('pong ' + line.slice(5) + ' ' + checksum());
});
console.log('ready');
`;

/** A Node program with so many MiB of bytes that are not zero, in argv. */
export const LARGE_SOURCE: string = `
import { createInterface } from 'node:readline';
const kept = [];
for (let mib = Number(process.argv[2]); mib > 0; mib -= 64) kept.push(Buffer.alloc(64 << 20, mib));
createInterface({ input: process.stdin }).on('line', (line) => {
  console.log('pong ' + line.slice(5) + ' ' + kept.map((buffer) => buffer[4095]).join('-'));
});
console.log('ready');
`;

export const PYTHON_SOURCE: string = `
import hashlib, os, sys
kept = bytearray(os.urandom(3 << 20)) + bytearray(3 << 20)
untouched = bytearray(8 << 20)
print('ready', flush=True)
for line in sys.stdin:
    print('pong', line.strip()[5:], hashlib.sha1(kept).hexdigest(), flush=True)
`;

/**
 * Imports and dumps in a process of its own. Started with the URL of mmdump, where the image goes
 * ('': it exits while it imports), and the command line of a target, which it starts itself (a
 * process may always read its own children), or --pid PID. It says one JSON object a line; every
 * line on its input is a step.
 */
export const IMPORTER_SOURCE: string = `
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
const [, , url, output, ...command] = process.argv;
const say = (value) => console.log(JSON.stringify(value));
const steps = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let mmdump;
try {
  mmdump = await import(url);
} catch (error) {
  say({ refused: String(error) });
  process.exit(0);
}
let target;
let pid = Number(command[1]);
if (command[0] !== '--pid') {
  target = spawn(command[0], command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: target.stdout })[Symbol.asyncIterator]();
  for (let line = ''; line !== 'ready'; ) line = (await lines.next()).value;
  pid = target.pid;
}
say({ pid });
await steps.next();
const dumper = await mmdump.createDumper({ workers: 2 });
try {
  const machine = mmdump.createMachine({ memory: 512 * mmdump.MiB });
  const onProgress = output === '' ? () => process.exit(0) : undefined;
  const { mms, processes } = await dumper.importProcess(machine, pid, { onProgress });
  const { mms: reports } = await dumper.dump(mms[0], { to: mmdump.fileSink(output) });
  const again = mmdump.createMachine({ memory: 512 * mmdump.MiB });
  const image = await mmdump.openImage(output);
  const restored = await dumper.restore(image, again);
  const { equal, difference } = await dumper.compare(mms[0], restored.mms[0]);
  await image.close();
  say({ process: processes[0], pages: reports[0].pages, equal, difference });
} catch (error) {
  say({ code: error.code, message: error.message });
} finally {
  await dumper.close();
}
await steps.next();
target?.kill('SIGKILL');
`;

/**
 * Sends itself a signal in the middle of its work, without listening to any. Started with the URL of
 * mmdump, the signal, and pids to import (1,2) or the name of an image to dump.
 */
export const SIGNAL_SOURCE: string = `
const [, , url, signal, subject] = process.argv;
const mmdump = await import(url);
const dumper = await mmdump.createDumper({ workers: 2 });
let isSent = false;
const onProgress = ({ phase }) => {
  if (isSent || phase === 'count') return;
  isSent = true;
  process.kill(process.pid, signal);
};
try {
  if (/^[0-9,]+$/.test(subject)) {
    const machine = mmdump.createMachine({ memory: 512 * mmdump.MiB });
    await dumper.importProcess(machine, subject.split(',').map(Number), { onProgress });
  } else {
    const { space } = await mmdump.createWorkload('dense', { size: 32 * mmdump.MiB });
    await dumper.dump(space, { to: mmdump.fileSink(subject), onProgress });
  }
  console.log('survived');
} catch (error) {
  console.log(error.code ?? error.message);
}
process.exit(0);
`;
