// Dumps a machine into a file and prints how large this process was before the dump, and how large
// it became, in bytes. It has a process of its own, because a peak belongs to a process.
import { readFileSync, writeFileSync } from 'node:fs';
import { createDumper, createWorkload, fileSink } from 'mmdump';

const [bytes, workers, path] = process.argv.slice(2);

/** VmRSS or VmHWM of this process, in bytes. */
function memory(field) {
  const text = readFileSync('/proc/self/status', 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)[1]) * 1024;
}

const { space } = await createWorkload('dense', { size: Number(bytes) });
const dumper = await createDumper({ workers: Number(workers) });
writeFileSync('/proc/self/clear_refs', '5'); // the peak begins anew
const before = memory('VmRSS');
await dumper.dump(space, { to: fileSink(path) });
process.stdout.write(JSON.stringify({ before, peak: memory('VmHWM') }));
await dumper.close();
