/**
 * A little of everything that an address space can hold, as a program has that uses an executable,
 * libraries, a heap, shared memory, huge pages, a device, and segments of an LDT.
 */
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import type { Machine } from '../../mmu/machine/machine.ts';
import { GRANULE_SIZE, MiB, PAGE_SIZE, WORDS_PER_PAGE } from '../../shared/page.ts';
import { writeRandomPages, writeYielding } from './dense.ts';
import type { Random } from './random.ts';
import type { Site } from './site.ts';

const ANON = ['private', 'anonymous'] as const;
const ZERO_PAGE_BYTES = new Uint8Array(PAGE_SIZE);

export async function fillMixed(site: Site): Promise<void> {
  const { machine, space, size, random } = site;
  const unit = Math.max(16, Math.floor(size / PAGE_SIZE / 16)); // pages
  mapExecutable(machine, space, random);
  await fillHeap(site, unit * 8);
  await fillHuge(site, Math.max(1, Math.floor((unit * 4 * PAGE_SIZE) / GRANULE_SIZE)));
  await fillShared(site, unit);
  mapDeletedFile(machine, space, random);
  fillProtected(space, random);
  mapDevices(machine, space, random);
  fillLdt(space);
}

/** Maps text that is only read, and data that is written in part. Other pages stay untouched. */
function mapExecutable(machine: Machine, space: AddressSpace, random: Random): void {
  const content = new Int32Array(64 * WORDS_PER_PAGE);
  random.fill(content);
  const bytes = new Uint8Array(content.buffer);
  const file = machine.createFile({ path: '/usr/bin/mixed', content: bytes });
  const base = 0x40_0000;
  const fixed = ['private', 'fixed', 'denywrite'] as const;
  const text = { address: base, length: 32 * PAGE_SIZE, offset: 0 };
  space.mmap({ ...text, prot: 'rx', flags: fixed, file: file.id });
  const dataAt = base + 32 * PAGE_SIZE;
  const data = { address: dataAt, length: 32 * PAGE_SIZE, offset: 32 * PAGE_SIZE };
  space.mmap({ ...data, prot: 'rw', flags: fixed, file: file.id });
  const one = new Uint8Array(1);
  for (let page = 0; page < 32; page += 2) space.read(base + page * PAGE_SIZE, one);
  for (let page = 0; page < 32; page += 3)
    writeRandomPages(space, dataAt + page * PAGE_SIZE, 1, random);
  space.write(dataAt + 4 * PAGE_SIZE, ZERO_PAGE_BYTES); // zeros over the file's content
  space.setAddresses({
    start_code: base,
    end_code: dataAt,
    start_data: dataAt,
    end_data: dataAt + 32 * PAGE_SIZE,
  });
}

/** Makes runs of anonymous memory: written, written with zeros, only read, and never touched. */
async function fillHeap({ space, random, yielder }: Site, pages: number): Promise<void> {
  const start = 0x1000_0000;
  const flags = [...ANON, 'fixed'] as const;
  space.mmap({ address: start, length: pages * PAGE_SIZE, prot: 'rw', flags });
  const one = new Uint8Array(1);
  for (let page = 0; page < pages; ) {
    const run = Math.min(pages - page, 1 + random.below(32));
    const address = start + page * PAGE_SIZE;
    const kind = random.below(10);
    if (kind < 6) writeRandomPages(space, address, run, random);
    else if (kind < 8) space.fill(address, run * PAGE_SIZE, 0);
    else if (kind < 9) {
      for (let read = 0; read < run; read++) space.read(address + read * PAGE_SIZE, one);
    }
    page += run;
    await yielder.step(run);
  }
  space.setAddresses({ start_brk: start, brk: start + pages * PAGE_SIZE });
}

/** Makes 2 MiB pages. One of them is split, because half of it is unmapped. */
async function fillHuge({ space, random, yielder }: Site, count: number): Promise<void> {
  const length = (count + 2) * GRANULE_SIZE;
  const mapped = space.mmap({ length, prot: 'rw', flags: ANON });
  const start = Math.ceil(mapped / GRANULE_SIZE) * GRANULE_SIZE;
  space.madvise(mapped, length, 'hugepage');
  for (let huge = 0; huge <= count; huge++) {
    const pages = 1 + random.below(512);
    writeRandomPages(space, start + huge * GRANULE_SIZE, pages, random);
    await yielder.step(512);
  }
  space.munmap(start + count * GRANULE_SIZE + MiB, MiB);
}

/** Maps shared anonymous memory, and a memfd twice, shared and private. */
async function fillShared({ machine, space, random, yielder }: Site, pages: number): Promise<void> {
  const length = pages * PAGE_SIZE;
  const anonymous = space.mmap({ length, prot: 'rw', flags: ['shared', 'anonymous'] });
  await writeYielding(space, anonymous, Math.floor(pages / 2), random, yielder);
  const path = '/memfd:mixed';
  const file = machine.createFile({ path, memoryBacked: { size: length }, deleted: true });
  const first = space.mmap({ length, prot: 'rw', flags: ['shared'], file: file.id });
  await writeYielding(space, first, Math.floor(pages / 3), random, yielder);
  const second = space.mmap({ length, prot: 'rw', flags: ['private'], file: file.id });
  await writeYielding(space, second, Math.floor(pages / 8), random, yielder); // private copies
  file.close();
}

/** Maps a library that was replaced meanwhile: its name is gone, and only memory has its pages. */
function mapDeletedFile(machine: Machine, space: AddressSpace, random: Random): void {
  const content = new Int32Array(16 * WORDS_PER_PAGE);
  random.fill(content);
  const bytes = new Uint8Array(content.buffer);
  const file = machine.createFile({ path: '/usr/lib/libold.so', content: bytes });
  const length = 16 * PAGE_SIZE;
  const start = space.mmap({ length, prot: 'rw', flags: ['private'], file: file.id });
  const one = new Uint8Array(1);
  for (let page = 0; page < 16; page++) space.read(start + page * PAGE_SIZE, one);
  writeRandomPages(space, start + 3 * PAGE_SIZE, 2, random);
  file.unlink();
  file.close();
}

/** Makes data behind PROT_NONE, and read-only data. */
function fillProtected(space: AddressSpace, random: Random): void {
  const start = space.mmap({ length: 12 * PAGE_SIZE, prot: 'rw', flags: ANON });
  writeRandomPages(space, start, 12, random);
  space.mprotect(start, 4 * PAGE_SIZE, '');
  space.mprotect(start + 4 * PAGE_SIZE, 4 * PAGE_SIZE, 'r');
}

/** Maps the registers of a device, whose reads may have side effects, and memory of a device. */
function mapDevices(machine: Machine, space: AddressSpace, random: Random): void {
  space.mapDevice({ length: 4 * PAGE_SIZE, prot: 'rw' });
  const offset = 4 * PAGE_SIZE;
  const memory = space.mapDevice({ length: 8 * PAGE_SIZE, offset, prot: 'rw', io: false });
  writeRandomPages(space, memory, Math.min(8, machine.parts.device.frames), random);
}

/** Sets up segments as an emulator of 16-bit programs does. */
function fillLdt(space: AddressSpace): void {
  const segment = { limit: 0xffff, useable: true } as const;
  for (let entryNumber = 0; entryNumber < 12; entryNumber += 2) {
    const contents = entryNumber % 4 === 0 ? 2 : 0;
    space.modifyLdt({ ...segment, entryNumber, baseAddr: entryNumber * 0x10000, contents });
  }
}
