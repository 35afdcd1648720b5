/**
 * Imports and dumps in a process of its own. Its arguments are the URL of mmdump, the path of the
 * image ('' makes it exit while it imports), and either --pid PID or the command line of a process,
 * which it starts itself (a process may always read its own children). It prints one JSON object
 * per line; every line on its input starts the next step.
 */
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
let child;
let pid = Number(command[1]);
if (command[0] !== '--pid') {
  child = spawn(command[0], command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  for (let line = ''; line !== 'ready'; ) line = (await lines.next()).value;
  pid = child.pid;
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
child?.kill('SIGKILL');
