// A program for a bundler: dumps on its own thread and on two others, verifies, prints the result.
import { createDumper, createMachine, MiB, memorySink } from 'mmdump';

function spaceOf(length) {
  const machine = createMachine({ memory: 16 * MiB, maxAddressSpaces: 1 });
  const space = machine.createAddressSpace();
  const at = space.mmap({ length, prot: 'rw', flags: ['private', 'anonymous'] });
  space.fill(at, length, 7);
  return space;
}

async function dumpWith(options, space) {
  const dumper = await createDumper(options);
  try {
    const sink = memorySink();
    await dumper.dump(space, { to: sink });
    const { ok, pages } = await dumper.verify(sink.image);
    return JSON.stringify({ ok, pages });
  } finally {
    await dumper.close();
  }
}

const tell = ({ code, message }) => `${code}: ${message}`;
const small = spaceOf(MiB / 2);
const large = spaceOf(8 * MiB);
console.log('machines work');
dumpWith({}, small)
  .catch(tell)
  .then(console.log)
  .then(() => dumpWith({ workers: 2 }, large).catch(tell))
  .then(console.log);
