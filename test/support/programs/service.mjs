/**
 * A service in a process of its own. In each round it builds or imports, dumps through one dumper
 * and closes, and then prints the resources that the system says it uses. Its options are one JSON
 * argument: rounds, mebibytes per machine, and what it does.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createDumper, createMachine, importProcess, MiB, memorySink, openImage } from 'mmdump';

const { rounds, mebibytes, kind } = JSON.parse(process.argv[2]);
const PAGE = 4096;
const bytes = mebibytes * MiB;
const dumper = await createDumper({ workers: 2 });
const samples = [];
const child =
  kind === 'import' &&
  spawn(process.execPath, ['-e', "console.log('up'); process.stdin.resume()"], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
if (child) await once(child.stdout, 'data');

function sample(machine) {
  const count = (folder) => {
    try {
      return readdirSync(folder).length;
    } catch {
      return 0; // not on Linux
    }
  };
  return {
    rss: process.memoryUsage.rss(),
    descriptors: count('/proc/self/fd'),
    threads: count('/proc/self/task'),
    store: machine.store.total - machine.store.free,
  };
}

function build(round) {
  const machine = createMachine({ memory: bytes + 16 * MiB, store: MiB });
  const space = machine.createAddressSpace();
  const at = space.mmap({ length: bytes, prot: 'rw', flags: ['private', 'anonymous'] });
  const page = new Uint8Array(PAGE).fill(round + 1);
  for (let done = 0; done < bytes; done += PAGE) {
    page[done % PAGE] = done / PAGE;
    space.write(at + done, page);
  }
  const file = machine.hostFile(process.execPath);
  const shown = space.mmap({ length: PAGE, prot: 'r', flags: ['private'], file: file.id });
  space.read(shown, new Uint8Array(1));
  return { machine, space };
}

/**
 * Objects kept on purpose: a closed machine must be freed even if references to its objects remain.
 */
const kept = [];

for (let round = 0; round < rounds; round++) {
  let machine;
  let space;
  if (kind === 'import') {
    const fitting = (memory, mms) => {
      machine = createMachine({ memory, maxAddressSpaces: mms, store: MiB });
      return machine;
    };
    [space] = (await importProcess(fitting, child.pid, { dumper })).mms;
  } else {
    ({ machine, space } = build(round));
  }
  const sink = memorySink();
  await dumper.dump(space, { to: sink });
  const image = await openImage(sink.image);
  const other = createMachine({ memory: bytes + 16 * MiB, store: MiB });
  if (kind === 'restore') await dumper.restore(image, other);
  await image.close();
  const taken = sample(machine);
  kept.push({ machine, space });
  if (kind === 'drop') kept.pop();
  else await machine.close();
  await other.close(); // collects what was dropped, too
  samples.push({ ...taken, rss: process.memoryUsage.rss() });
}
child?.stdin?.end();
await dumper.close();
console.log(JSON.stringify({ samples, kept: kept.length, version: process.version }));
