/** Measures the memory that the simulation takes beyond the simulated memory. */
import { type AddressSpace, createDumper, MiB, PAGE_SIZE } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { collectGarbage, type Fixtures } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { TARGETS } from '../targets.ts';

/** Bytes of page tables: these are the frames that are in use and hold no pages. */
function tableBytes(space: AddressSpace, pages: number): number {
  const { allocator } = space.reference.machine;
  return (allocator.managedFrames - allocator.freeFrames - pages) * PAGE_SIZE;
}

/** Bytes that the tables of a dump take, in shared and other buffers of all threads. */
async function runTableBytes(space: AddressSpace, workers: number): Promise<number> {
  collectGarbage(); // buffers of earlier cases that are collected meanwhile would be subtracted
  const before = process.memoryUsage().arrayBuffers;
  const dumper = await createDumper({ workers });
  try {
    await dumper.estimate(space);
    return process.memoryUsage().arrayBuffers - before;
  } finally {
    await dumper.close();
  }
}

function line(name: string, bytes: number, parameters: Line['parameters']): Line {
  return toLine('overhead', { name, parameters, unit: 'MiB', samples: [bytes / MiB] });
}

export const overhead: BenchCase = {
  name: 'overhead',
  about: 'page structs, page tables and tables of a dump, beside the memory that is simulated',
  async run(fixtures: Fixtures) {
    const { bytes } = fixtures.options;
    const { workers } = fixtures;
    const space = fixtures.space({ bytes, run: 16, zeroPercent: 0 });
    const { machine } = space.reference;
    const memory = machine.memory.frames * PAGE_SIZE;
    const structs = machine.handle.pages.byteLength;
    const tables = tableBytes(space, bytes / PAGE_SIZE);
    const runs = await runTableBytes(space, workers);
    const allowance = 0.02 * memory + 4 * MiB * workers;
    const parameters = { 'memory MiB': memory / MiB, workers };
    return {
      lines: [
        line('page structs', structs, parameters),
        line('page tables', tables, parameters),
        line('tables of a dump', runs, parameters),
        toLine('overhead', {
          name: 'all of them',
          parameters,
          unit: 'MiB',
          samples: [(structs + tables + runs) / MiB],
          limit: { name: '2 % of memory + 4 MiB a worker', samples: [allowance / MiB] },
          target: TARGETS.overhead,
        }),
      ],
    };
  },
};
