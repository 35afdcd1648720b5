/**
 * The operations of real-memory.c on the simulated machine: the same pages in the same order, with
 * the same parts timed. Faults change what they measure, so every run rebuilds it while the clock
 * stands. A round that is not counted comes first, so all frames have been used before: a fresh
 * frame is zeroed, as in the kernel, and the host's own first touch of it is not measured.
 */
import { writeFileSync } from 'node:fs';
import { type AddressSpace, createMachine, MiB, PAGE_SIZE } from 'mmdump';
import type { Parts } from './real-memory.ts';

/** Mappings that mmap has to find its way past. All three constants are as in real-memory.c. */
const VMAS = 10_000;
const HOLE_STRIDE = 7919;
const PASSES = 4;

const ONE_BYTE = Uint8Array.of(1);

/** One operation on both sides, and the lines that come out of it. */
export interface MemoryCase {
  readonly operation: string; //         of real-memory
  readonly count: number; //             pages or calls
  readonly argument: string | number;
  readonly lines: readonly LineOf[];
  /** Builds what every run needs and returns the run. */
  prepare(): () => Parts;
}

/** How a timed part is printed: as `unit`, for the `amount` that was done in its nanoseconds. */
export interface LineOf {
  readonly name: string;
  readonly part: string;
  readonly unit: 'ns/page' | 'GB/s' | 'µs/pair' | 'ms/GiB';
  readonly amount: number; // pages, bytes, pairs, GiB
}

/** All cases. They touch `pages` pages and fork four times as many. `path` is that of a file. */
export function memoryCases(pages: number, path: string): MemoryCase[] {
  return [
    anonymousWrite(pages),
    anonymousRead(pages),
    fileRead(pages, path),
    cowWrite(pages),
    ...[65_536, PAGE_SIZE].flatMap((chunk) => [
      copy('read', pages, chunk),
      copy('write', pages, chunk),
    ]),
    mapInHoles(20_000),
    mapSought(2_000),
    forkExit(pages * 4),
  ];
}

function newSpace(pages: number): AddressSpace {
  // The page tables and a margin are added.
  const memory = pages * PAGE_SIZE * (1 + 1 / 256) + 16 * MiB;
  return createMachine({ memory, maxAddressSpaces: 4 }).createAddressSpace();
}

function mapAnonymous(space: AddressSpace, pages: number): number {
  const flags = ['private', 'anonymous'] as const;
  return space.mmap({ length: pages * PAGE_SIZE, prot: 'rw', flags });
}

function timed(action: () => void): number {
  const start = process.hrtime.bigint();
  action();
  return Number(process.hrtime.bigint() - start);
}

function writePages(space: AddressSpace, start: number, pages: number): number {
  return timed(() => {
    for (let page = 0; page < pages; page++) space.write(start + page * PAGE_SIZE, ONE_BYTE);
  });
}

function readPages(space: AddressSpace, start: number, pages: number, stride: number): number {
  const byte = new Uint8Array(1);
  return timed(() => {
    for (let page = 0; page < pages; page += stride) space.read(start + page * PAGE_SIZE, byte);
  });
}

function anonymousWrite(pages: number): MemoryCase {
  const gibibytes = (pages * PAGE_SIZE) / 2 ** 30;
  return {
    operation: 'anonymous-write',
    count: pages,
    argument: 0,
    lines: [
      { name: 'write fault, anonymous', part: 'fault', unit: 'ns/page', amount: pages },
      { name: 'munmap of resident pages', part: 'unmap', unit: 'ms/GiB', amount: gibibytes },
    ],
    prepare: () => {
      const space = newSpace(pages);
      return () => {
        const start = mapAnonymous(space, pages);
        const fault = writePages(space, start, pages);
        return { fault, unmap: timed(() => space.munmap(start, pages * PAGE_SIZE)) };
      };
    },
  };
}

function anonymousRead(pages: number): MemoryCase {
  return {
    operation: 'anonymous-read',
    count: pages,
    argument: 0,
    lines: [{ name: 'read fault, zero page', part: 'fault', unit: 'ns/page', amount: pages }],
    prepare: () => {
      const space = newSpace(pages);
      return () => {
        const start = mapAnonymous(space, pages);
        const fault = readPages(space, start, pages, 1);
        space.munmap(start, pages * PAGE_SIZE);
        return { fault };
      };
    },
  };
}

/** The kernel maps 16 cached pages per fault. Reading one page of 16 shows what a fault costs. */
function fileRead(pages: number, path: string): MemoryCase {
  return {
    operation: 'file-read',
    count: pages,
    argument: path,
    lines: [
      { name: 'read fault, cached file', part: 'every', unit: 'ns/page', amount: pages },
      { name: '… one page of 16', part: 'apart', unit: 'ns/page', amount: pages / 16 },
    ],
    prepare: () => {
      writeFileSync(path, new Uint8Array(pages * PAGE_SIZE).fill(1));
      const machine = createMachine({
        memory: pages * PAGE_SIZE * (1 + 1 / 128) + 16 * MiB,
        maxAddressSpaces: 4,
      });
      const space = machine.createAddressSpace();
      const file = machine.hostFile(path).id;
      const length = pages * PAGE_SIZE;
      const read = (stride: number): number => {
        const start = space.mmap({ length, prot: 'r', flags: ['private'], file });
        const fault = readPages(space, start, pages, stride);
        space.munmap(start, length);
        return fault;
      };
      read(1); // into the page cache
      return () => ({ every: read(1), apart: read(16) });
    },
  };
}

function cowWrite(pages: number): MemoryCase {
  return {
    operation: 'cow-write',
    count: pages,
    argument: 0,
    lines: [{ name: 'write fault, after a fork', part: 'fault', unit: 'ns/page', amount: pages }],
    prepare: () => {
      const space = newSpace(2 * pages);
      const start = mapAnonymous(space, pages);
      writePages(space, start, pages);
      return () => {
        const child = space.fork();
        const fault = writePages(space, start, pages);
        child.exit();
        return { fault };
      };
    },
  };
}

function forkExit(pages: number): MemoryCase {
  const gibibytes = (pages * PAGE_SIZE) / 2 ** 30;
  return {
    operation: 'fork-exit',
    count: pages,
    argument: 0,
    lines: [
      { name: 'fork', part: 'fork', unit: 'ms/GiB', amount: gibibytes },
      { name: 'exit of the child', part: 'exit', unit: 'ms/GiB', amount: gibibytes },
    ],
    prepare: () => {
      const space = newSpace(pages + pages / 256);
      const start = mapAnonymous(space, pages);
      return () => {
        writePages(space, start, pages); // writable leaves again, which the fork must change
        let child: AddressSpace | undefined;
        const fork = timed(() => {
          child = space.fork();
        });
        return { fork, exit: timed(() => child?.exit()) };
      };
    },
  };
}

function copy(operation: 'read' | 'write', pages: number, chunk: number): MemoryCase {
  const length = pages * PAGE_SIZE;
  const name = `${operation}, ${chunk / 1024} KiB a call`;
  return {
    operation,
    count: pages,
    argument: chunk,
    lines: [{ name, part: 'copy', unit: 'GB/s', amount: PASSES * length }],
    prepare: () => {
      const space = newSpace(pages);
      const start = mapAnonymous(space, pages);
      const buffer = new Uint8Array(chunk).fill(1);
      space.fill(start, length, 1);
      const pass =
        operation === 'read'
          ? () => {
              for (let at = 0; at < length; at += chunk) space.read(start + at, buffer);
            }
          : () => {
              for (let at = 0; at < length; at += chunk) space.write(start + at, buffer);
            };
      return () => ({
        copy: timed(() => {
          for (let count = 0; count < PASSES; count++) pass();
        }),
      });
    },
  };
}

/** VMAS mappings of one page, protections in turn, with a hole of one page after each. */
function mapMany(space: AddressSpace): number {
  const length = 2 * VMAS * PAGE_SIZE;
  const start = space.mmap({ length, prot: 'r', flags: ['private', 'anonymous'] });
  for (let vma = 0; vma < VMAS; vma++) {
    const page = start + 2 * vma * PAGE_SIZE;
    space.munmap(page + PAGE_SIZE, PAGE_SIZE);
    if (vma % 2 === 1) space.mprotect(page, PAGE_SIZE, 'rw');
  }
  return start;
}

function mapInHoles(calls: number): MemoryCase {
  const name = 'mmap + munmap in a hole';
  return {
    operation: 'map-in-holes',
    count: calls,
    argument: 0,
    lines: [{ name, part: 'pair', unit: 'µs/pair', amount: calls }],
    prepare: () => {
      const space = newSpace(0);
      const area = mapMany(space);
      const flags = ['private', 'anonymous', 'fixed_noreplace'] as const;
      return () => ({
        pair: timed(() => {
          for (let call = 0; call < calls; call++) {
            const hole = (call * HOLE_STRIDE) % VMAS;
            const address = area + (2 * hole + 1) * PAGE_SIZE;
            space.mmap({ address, length: PAGE_SIZE, prot: '', flags });
            space.munmap(address, PAGE_SIZE);
          }
        }),
      });
    },
  };
}

/** A mapping of two pages fits into none of the holes, so mmap has to look for a place. */
function mapSought(calls: number): MemoryCase {
  const length = 2 * PAGE_SIZE;
  return {
    operation: 'map-sought',
    count: calls,
    argument: 0,
    lines: [{ name: '… place sought', part: 'pair', unit: 'µs/pair', amount: calls }],
    prepare: () => {
      const space = newSpace(0);
      mapMany(space);
      const flags = ['private', 'anonymous'] as const;
      return () => ({
        pair: timed(() => {
          for (let call = 0; call < calls; call++) {
            space.munmap(space.mmap({ length, prot: '', flags }), length);
          }
        }),
      });
    },
  };
}
