/**
 * Measures restores that leave pages in a file: until the first byte is there, and single pages
 * after that. The file is in the page cache.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  type Dumper,
  fileSink,
  type Image,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import { collectGarbage, type Fixtures, memoryFor } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { measure, type Samples, samplesOf, type Timing } from '../measure.ts';
import type { Pattern } from '../scatter.ts';
import { TARGETS } from '../targets.ts';

/** Pages that are touched one by one. */
const PAGES = 512;
const WRITE = 'a first write to anonymous memory';
const ANON = ['private', 'anonymous'] as const;

export async function restoresOnDemand(fixtures: Fixtures, pattern: Pattern): Promise<Line[]> {
  const dumper = await createDumper({ workers: fixtures.workers });
  const path = fixtures.path('.cpt');
  try {
    await dumper.dump(fixtures.space(pattern), { to: fileSink(path, { force: true }) });
    const image = await openImage(path);
    const run = async (): Promise<Timing> => await timed(dumper, image, pattern.bytes);
    const samples = await measure({ run }, fixtures.options.rounds);
    await image.close();
    return linesOf(samples, pattern);
  } finally {
    await dumper.close();
    collectGarbage();
  }
}

async function timed(dumper: Dumper, image: Image, bytes: number): Promise<Timing> {
  const machine = createMachine({ memory: memoryFor(bytes) });
  const own = machine.createAddressSpace();
  const anonymous = own.mmap({ length: PAGES * PAGE_SIZE, prot: 'rw', flags: ANON });
  const vma = image.vmas().find(({ pages }) => pages.copy >= PAGES)!;
  const begin = performance.now();
  const { mms } = await dumper.restore(image, machine, { load: 'on-demand' });
  const [space] = mms;
  space!.read(vma.start, new Uint8Array(1));
  const ms = performance.now() - begin;
  const pages = Math.floor((vma.end - vma.start) / PAGE_SIZE);
  const parts = {
    row: perPage(space!, (page) => vma.start + page * PAGE_SIZE, 'read'),
    random: perPage(space!, (page) => vma.start + scattered(page, pages) * PAGE_SIZE, 'read'),
    write: perPage(own, (page) => anonymous + page * PAGE_SIZE, 'write'),
  };
  await machine.close();
  return { ms, parts };
}

/** Microseconds of an access to one page. */
function perPage(
  space: AddressSpace,
  addressOf: (page: number) => number,
  access: 'read' | 'write',
): number {
  const byte = new Uint8Array(1);
  const begin = performance.now();
  for (let page = 0; page < PAGES; page++) space[access](addressOf(page), byte);
  return ((performance.now() - begin) * 1000) / PAGES;
}

/** The pages of a mapping in an order in which no two neighbours lie in one block. */
function scattered(page: number, pages: number): number {
  return (page * 7919 * 64 + 513) % pages;
}

function linesOf(samples: Samples, { bytes }: Pattern): Line[] {
  const parameters = { MiB: bytes / 2 ** 20 };
  const of = (part: string): readonly number[] => samplesOf(samples, `run: ${part}`);
  const page = { parameters: { ...parameters, pages: PAGES }, unit: 'µs' } as const;
  return [
    toLine('restore', {
      name: 'restore on demand, to the first byte',
      parameters,
      unit: 'ms',
      samples: samplesOf(samples, 'run'),
      target: TARGETS.onDemand,
    }),
    toLine('restore', {
      ...page,
      name: 'a page on demand, one behind the other',
      samples: of('row'),
      limit: { name: WRITE, samples: of('write') },
    }),
    toLine('restore', { ...page, name: 'a page on demand, scattered', samples: of('random') }),
  ];
}
