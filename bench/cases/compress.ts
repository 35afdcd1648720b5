/**
 * Measures compressed images beside plain ones: their length, dumps into a file, reading all pages,
 * and a restore. The workload `mixed` is random bytes, which do not shrink: it shows what compression
 * costs at worst. Pages of text show what it may save.
 */
import {
  type AddressSpace,
  createDumper,
  createMachine,
  createWorkload,
  type Dumper,
  fileSink,
  MiB,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import type { BenchCase } from '../case.ts';
import { type Fixtures, memoryFor } from '../fixtures.ts';
import { type Line, toLine } from '../line.ts';
import { measure, samplesOf, timed } from '../measure.ts';

const BYTES = 64 * MiB;
const FORMS = ['none', 'zstd'] as const;
/** The first Node versions that have zstd, by major version. */
const [MAJOR = 0, MINOR = 0] = process.versions.node.split('.').map(Number);
const HAS_ZSTD = MAJOR >= 24 || (MAJOR === 23 && MINOR >= 8) || (MAJOR === 22 && MINOR >= 15);

export const compress: BenchCase = {
  name: 'compress',
  about:
    "compressed images beside plain ones: length, dump, read and restore of 'mixed' and of text",
  async run(fixtures) {
    if (!HAS_ZSTD) {
      console.log(`compress is skipped: Node ${process.versions.node} has no zstd`);
      return { lines: [] };
    }
    const dumper = await createDumper({ workers: fixtures.workers });
    try {
      const { machine, space } = await createWorkload('mixed', { size: BYTES });
      const mixed = await linesOf('mixed', space, dumper, fixtures);
      await machine.close();
      const text = textSpace();
      return { lines: [...mixed, ...(await linesOf('text', text, dumper, fixtures))] };
    } finally {
      await dumper.close();
    }
  },
};

/** A mapping of numbered lines. */
function textSpace(): AddressSpace {
  const space = createMachine({ memory: memoryFor(BYTES) }).createAddressSpace();
  const at = space.mmap({ prot: 'rw', flags: ['private', 'anonymous'], length: BYTES });
  const page = Buffer.alloc(PAGE_SIZE);
  for (let done = 0, line = 0; done < BYTES; done += PAGE_SIZE) {
    for (let to = 0; to < PAGE_SIZE; line++) {
      to += page.write(`line ${line}: ${Math.imul(line, 0x9e3779b1) >>> 0}\n`, to);
    }
    space.write(at + done, page);
  }
  return space;
}

async function linesOf(
  of: string,
  space: AddressSpace,
  dumper: Dumper,
  fixtures: Fixtures,
): Promise<Line[]> {
  const paths = { none: fixtures.path('.cpt'), zstd: fixtures.path('.cpt') };
  const lengths = { none: 0, zstd: 0 };
  for (const form of FORMS) {
    const to = fileSink(paths[form], { sync: false });
    lengths[form] = (await dumper.dump(space, { to, compress: form })).image.bytes;
  }
  const one = fixtures.path('.cpt');
  const dump = async (form: 'none' | 'zstd'): Promise<void> => {
    const to = fileSink(one, { sync: false, force: true });
    await dumper.dump(space, { to, compress: form });
  };
  const restore = async (form: 'none' | 'zstd'): Promise<void> => {
    const image = await openImage(paths[form]);
    const machine = createMachine({ memory: memoryFor(2 * BYTES) });
    await dumper.restore(image, machine);
    await image.close();
    await machine.close();
  };
  const samples = await measure(
    {
      'dump none': () => timed(() => dump('none')),
      'dump zstd': () => timed(() => dump('zstd')),
      'verify none': () => timed(() => dumper.verify(paths.none)),
      'verify zstd': () => timed(() => dumper.verify(paths.zstd)),
      'restore none': () => timed(() => restore('none')),
      'restore zstd': () => timed(() => restore('zstd')),
    },
    fixtures.options.rounds,
  );
  const parameters = { of, MiB: BYTES / MiB };
  const line = (what: 'dump' | 'verify' | 'restore'): Line => {
    const limit = { name: 'a plain image', samples: samplesOf(samples, `${what} none`) };
    const own = samplesOf(samples, `${what} zstd`);
    const bytes = lengths.none;
    return toLine('compress', { name: what, parameters, unit: 'ms', samples: own, limit, bytes });
  };
  return [
    toLine('compress', {
      name: 'length, beside a plain image',
      parameters,
      unit: '×',
      samples: [lengths.zstd / lengths.none],
    }),
    line('dump'),
    line('verify'),
    line('restore'),
  ];
}
