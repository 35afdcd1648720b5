/**
 * The address spaces of the golden images in test/golden: every kind of record of the native image,
 * with as few pages as possible. Each call builds them anew, with the same content.
 */
import { type AddressSpace, createMachine, type DumpOptions, type Machine, MiB } from 'mmdump';
import { VMA_KIND } from '../../../src/mmu/vma/vma-table.ts';
import { PAGE_SIZE } from '../../../src/shared/page.ts';
import { VM } from '../../../src/shared/vm-flags.ts';
import { ANON } from './images.ts';

export const GOLDEN_NAMES = [
  'single',
  'family',
  'page-blocks',
  'crc32',
  'no-checksums',
  'parts',
] as const;
export type GoldenName = (typeof GOLDEN_NAMES)[number];

/** One golden image: what it dumps, and how. */
export interface Golden {
  readonly spaces: readonly AddressSpace[];
  readonly options: Omit<DumpOptions, 'to'>;
  /** Number of files that hold the image; more than one means an image in parts. */
  readonly parts: number;
}

/** Living files: an image names them but does not hold them; a restore finds them by path. */
const LIVING_FILES: readonly { readonly path: string; readonly content: Uint8Array }[] = [
  { path: '/usr/lib/libgolden.so', content: bytesOf(3 * PAGE_SIZE + 100, 1) },
  { path: '/srv/naïve name', content: bytesOf(PAGE_SIZE, 2) },
];

/** Creates a machine with the living files of the golden images, for building or restoring them. */
export function goldenMachine(): Machine {
  const machine = createMachine({
    memory: 16 * MiB,
    deviceMemory: 64 * 1024,
    swap: MiB,
    maxAddressSpaces: 4,
  });
  for (const file of LIVING_FILES) machine.createFile(file);
  return machine;
}

export function createGolden(name: GoldenName): Golden {
  switch (name) {
    case 'single':
      return { spaces: [everyKind()], options: {}, parts: 1 };
    case 'family':
      return { spaces: family(), options: {}, parts: 1 };
    case 'page-blocks':
      return { spaces: family(), options: { blocks: 'page' }, parts: 1 };
    case 'crc32':
      return { spaces: [everyKind()], options: { checksum: 'crc32' }, parts: 1 };
    case 'no-checksums':
      return { spaces: [everyKind()], options: { checksum: 'none' }, parts: 1 };
    case 'parts':
      return { spaces: family(), options: {}, parts: 3 };
  }
}

/** Bytes that differ from page to page and within a page; `seed` selects the content. */
function bytesOf(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => (seed * 37 + at * 7 + (at >> 8) * 11) & 0xff);
}

function everyKind(): AddressSpace {
  const machine = goldenMachine();
  const space = machine.createAddressSpace();
  mapAnonymous(space);
  mapFiles(machine, space);
  mapOddities(space);
  describeProcess(space);
  return space;
}

/** Data, zeros that were written, zeros that were read, guard pages, swapped pages, a huge page. */
function mapAnonymous(space: AddressSpace): void {
  const at = 0x4020_0000 - 3 * PAGE_SIZE; // the mapping crosses a boundary of 2 MiB
  space.mmap({ address: at, length: 16 * PAGE_SIZE, prot: 'rw', flags: [...ANON.flags, 'fixed'] });
  space.write(at, bytesOf(2 * PAGE_SIZE, 3));
  space.fill(at + 2 * PAGE_SIZE, 3 * PAGE_SIZE, 0);
  space.write(at + 5 * PAGE_SIZE + 17, bytesOf(40, 4));
  space.read(at + 7 * PAGE_SIZE, new Uint8Array(1));
  space.madvise(at + 9 * PAGE_SIZE, 2 * PAGE_SIZE, 'guard_install');
  space.fill(at + 12 * PAGE_SIZE, PAGE_SIZE, 0x5a);
  space.madvise(at + 12 * PAGE_SIZE, PAGE_SIZE, 'pageout');
  space.mprotect(at + 14 * PAGE_SIZE, 2 * PAGE_SIZE, 'r');
  const huge = 0x4100_0000;
  space.mmap({ address: huge, length: 2 * MiB, prot: 'rw', flags: [...ANON.flags, 'fixed'] });
  space.madvise(huge, 2 * MiB, 'hugepage');
  space.write(huge + 5 * PAGE_SIZE, bytesOf(100, 5));
  const stack = { length: 4 * PAGE_SIZE, prot: 'rw' } as const;
  const grows = space.mmap({ ...stack, flags: [...ANON.flags, 'growsdown'] });
  space.write(grows + 3 * PAGE_SIZE, bytesOf(PAGE_SIZE, 6));
}

/** Living, deleted and memory-backed files, private and shared; shared anonymous memory. */
function mapFiles(machine: Machine, space: AddressSpace): void {
  const [library, odd] = LIVING_FILES.map(({ path }) => machine.lookupFile(path)!.id);
  const length = 4 * PAGE_SIZE;
  const text = space.mmap({ length, prot: 'rx', flags: ['private'], file: library! });
  space.read(text, new Uint8Array(1));
  const data = space.mmap({ length, prot: 'rw', flags: ['private'], file: library! });
  space.write(data + PAGE_SIZE, bytesOf(8, 7));
  space.mmap({ length: PAGE_SIZE, prot: 'r', flags: ['shared'], file: odd! });
  const gone = machine.createFile({ path: '/tmp/gone', content: bytesOf(length, 8) });
  const lost = space.mmap({ length, prot: 'rw', flags: ['private'], file: gone.id });
  gone.unlink();
  space.read(lost, new Uint8Array(1));
  space.write(lost + 2 * PAGE_SIZE, bytesOf(PAGE_SIZE, 9));
  const memory = machine.createFile({ path: '/memfd:golden', memoryBacked: { size: length } });
  const shared = space.mmap({ length, prot: 'rw', flags: ['shared'], file: memory.id });
  space.write(shared, bytesOf(PAGE_SIZE, 10));
  space.fill(shared + 2 * PAGE_SIZE, PAGE_SIZE, 0);
  const copied = space.mmap({ length, prot: 'rw', flags: ['private'], file: memory.id });
  space.read(copied, new Uint8Array(1));
  space.write(copied + 3 * PAGE_SIZE, bytesOf(PAGE_SIZE, 11));
  const anonymous = space.mmap({ length, prot: 'rw', flags: ['shared', 'anonymous'] });
  space.write(anonymous + PAGE_SIZE, bytesOf(PAGE_SIZE, 12));
}

/** The vdso, a device's registers, and a device's frames. */
function mapOddities(space: AddressSpace): void {
  const start = 0x7fff_f7fc_0000 / PAGE_SIZE;
  const flags = VM.READ | VM.EXEC | VM.WRITE | VM.MAYREAD | VM.MAYEXEC | VM.MAYWRITE;
  const vdso = { start, end: start + 1, flags, file: 0, pgoff: start, anonVma: 0 };
  space.insertMappings([{ ...vdso, kind: VMA_KIND.VDSO }]);
  space.write(start * PAGE_SIZE, bytesOf(PAGE_SIZE, 13));
  space.mapDevice({ length: 2 * PAGE_SIZE, prot: 'rw' });
  const frames = space.mapDevice({ length: 2 * PAGE_SIZE, prot: 'rw', io: false });
  space.write(frames, bytesOf(2 * PAGE_SIZE, 14));
}

function describeProcess(space: AddressSpace): void {
  space.setAddresses({ start_code: 0x40_0000, end_code: 0x40_1000, start_brk: 0x60_0000 });
  space.setAuxv(bytesOf(32, 15));
  space.setNotes(bytesOf(53, 16));
  space.modifyLdt({ entryNumber: 1, baseAddr: 0x1000, limit: 10 });
  space.modifyLdt({ entryNumber: 3, baseAddr: 0xdead_0000, limit: 0xfffff });
}

/** A process, its child and its grandchild: frames of forks, and files that only memory holds. */
function family(): AddressSpace[] {
  const machine = goldenMachine();
  const parent = machine.createAddressSpace();
  const anon = parent.mmap({ ...ANON, length: 8 * PAGE_SIZE });
  parent.write(anon, bytesOf(4 * PAGE_SIZE, 17));
  parent.fill(anon + 5 * PAGE_SIZE, PAGE_SIZE, 0);
  const length = 3 * PAGE_SIZE;
  const memory = machine.createFile({ path: '/memfd:family', memoryBacked: { size: length } });
  const shared = parent.mmap({ length, prot: 'rw', flags: ['shared'], file: memory.id });
  parent.write(shared + PAGE_SIZE, bytesOf(PAGE_SIZE, 18));
  const { id } = machine.lookupFile(LIVING_FILES[0]!.path)!;
  const file = parent.mmap({ length, prot: 'rw', flags: ['private'], file: id });
  parent.write(file + PAGE_SIZE, bytesOf(99, 19));
  parent.modifyLdt({ entryNumber: 0, baseAddr: 1, limit: 1 });
  const child = parent.fork();
  child.write(anon + PAGE_SIZE, bytesOf(PAGE_SIZE, 20));
  child.setAuxv(bytesOf(16, 21));
  const grandchild = child.fork();
  grandchild.munmap(anon, PAGE_SIZE);
  grandchild.madvise(anon + 6 * PAGE_SIZE, PAGE_SIZE, 'guard_install');
  grandchild.write(shared, bytesOf(PAGE_SIZE, 22));
  return [parent, child, grandchild];
}
