/**
 * A service in a process of its own: it builds or imports, dumps through one dumper and closes, again
 * and again, and prints after each round what the system says that it takes. Options as one JSON
 * argument: rounds, mebibytes per machine, what it does.
 */
import { readdirSync } from 'node:fs';
import { createDumper, createMachine, importProcess, MiB, memorySink, openImage } from 'mmdump';

const { rounds, mebibytes, kind } = JSON.parse(process.argv[2]);
const PAGE = 4096;
const bytes = mebibytes * MiB;
const dumper = await createDumper({ workers: 2 });
const samples = [];

function sample() {
  const count = (folder) => {
    try {
      return readdirSync(folder).length;
    } catch {
      return 0; // another system than Linux
    }
  };
  return {
    rss: process.memoryUsage.rss(),
    descriptors: count('/proc/self/fd'),
    threads: count('/proc/self/task'),
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

/** Objects that are kept on purpose: a closed machine is gone, whoever holds on to its objects. */
const kept = [];

for (let round = 0; round < rounds; round++) {
  let machine;
  let space;
  if (kind === 'import') {
    machine = createMachine({ memory: bytes, store: MiB });
    [space] = (await importProcess(machine, process.ppid, { dumper, freeze: false })).mms;
  } else {
    ({ machine, space } = build(round));
  }
  const sink = memorySink();
  await dumper.dump(space, { to: sink });
  const other = createMachine({ memory: bytes + 16 * MiB, store: MiB });
  const image = await openImage(sink.image);
  if (kind === 'restore') await dumper.restore(image, other);
  await image.close();
  kept.push({ machine, space });
  if (kind === 'drop') kept.pop();
  else await machine.close();
  await other.close(); // collects what was dropped, too
  samples.push(sample());
}
await dumper.close();
console.log(JSON.stringify({ samples, kept: kept.length, version: process.version }));
