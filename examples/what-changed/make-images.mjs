// Makes two images of a simulated program, between which it has worked a little.
import { join } from 'node:path';
import { createMachine, fileSink, MiB, PAGE_SIZE } from 'mmdump';

const HEAP = 0x10000000;
/** Where the program counts its requests. */
export const COUNTER = HEAP + 5 * PAGE_SIZE + 64;
/** Where its log grows. */
export const LOG = HEAP + 9 * PAGE_SIZE;
/** Where a plug-in is mapped later. */
export const PLUGIN = 0x20000000;

/** Returns the paths of the images in `folder`. */
export async function makeImages(folder, dumper) {
  const machine = createMachine({ memory: 32 * MiB });
  const mm = machine.createAddressSpace();
  const flags = ['private', 'anonymous', 'fixed'];
  mm.mmap({ address: HEAP, length: 64 * PAGE_SIZE, prot: 'rw', flags });
  mm.fill(HEAP, 32 * PAGE_SIZE, 0xaa);
  count(mm, 1000n);
  write(mm, LOG, 'started; ready                  ');
  const paths = ['before.cpt', 'after.cpt'].map((name) => join(folder, name));
  await dumper.dump(mm, { to: fileSink(paths[0], { sync: false }) });

  count(mm, 1017n);
  write(mm, LOG, 'started; ready; plug-in loaded  ');
  mm.madvise(HEAP + 20 * PAGE_SIZE, 4 * PAGE_SIZE, 'dontneed');
  const file = machine.createFile({
    path: '/usr/lib/plugin.so',
    content: new Uint8Array(PAGE_SIZE),
  });
  const where = { address: PLUGIN, length: PAGE_SIZE, prot: 'rx' };
  mm.mmap({ ...where, flags: ['private', 'fixed'], file: file.id });
  await dumper.dump(mm, { to: fileSink(paths[1], { sync: false }) });
  await machine.close();
  return paths;
}

function count(mm, value) {
  mm.write(COUNTER, new BigUint64Array([value]));
}

function write(mm, address, text) {
  mm.write(address, new TextEncoder().encode(text));
}
