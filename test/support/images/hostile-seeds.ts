/** Small valid images with every kind of record: the inputs that the reader's fuzzer mutates. */
import { type AddressSpace, createMachine, type Dumper, MiB, PAGE_SIZE } from 'mmdump';
import { ZERO_PAGE } from '../machine/zero-page.ts';
import { ANON, imageOf, smallSpace } from './images.ts';

/** Three mms that share pages as after a fork, and memory-backed or deleted files. */
export function smallFamily(): AddressSpace[] {
  const machine = createMachine({
    memory: 4 * MiB,
    maxAddressSpaces: 3,
    store: MiB,
    zeroPage: ZERO_PAGE,
  });
  const parent = machine.createAddressSpace();
  const anon = parent.mmap({ ...ANON, length: 6 * PAGE_SIZE });
  parent.fill(anon, 3 * PAGE_SIZE, 5);
  parent.fill(anon + 4 * PAGE_SIZE, PAGE_SIZE, 0);
  const size = 4 * PAGE_SIZE;
  const shared = machine.createFile({ path: '/memfd:shared', memoryBacked: { size } });
  const at = parent.mmap({ prot: 'rw', flags: ['shared'], file: shared.id, length: size });
  parent.fill(at, PAGE_SIZE, 6);
  parent.fill(at + PAGE_SIZE, PAGE_SIZE, 0);
  const content = new Uint8Array(size).fill(7);
  const gone = machine.createFile({ path: '/tmp/gone', content });
  const copied = parent.mmap({ prot: 'rw', flags: ['private'], file: gone.id, length: size });
  gone.unlink();
  parent.fill(copied, PAGE_SIZE, 8);
  parent.read(copied + PAGE_SIZE, new Uint8Array(1));
  parent.madvise(anon + 5 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
  parent.modifyLdt({ entryNumber: 0, baseAddr: 1, limit: 1 });
  const child = parent.fork();
  child.fill(anon + PAGE_SIZE, PAGE_SIZE, 9);
  const other = child.fork();
  other.munmap(anon, PAGE_SIZE);
  return [parent, child, other];
}

export async function hostileSeeds(dumper: Dumper): Promise<Buffer[]> {
  return [
    await imageOf(dumper, smallSpace()),
    await imageOf(dumper, smallFamily()),
    await imageOf(dumper, smallFamily(), { blocks: 'page' }),
    await imageOf(dumper, smallFamily(), { checksum: 'none' }),
    await imageOf(dumper, smallFamily(), { checksum: 'crc32' }),
  ];
}
