/**
 * A chain of 100 images, each of which holds 1 % of the pages, at random. Measures how long they are
 * beside the pages that have changed, and how long it takes to open the last one and read a page,
 * beside a whole image. A page that only the first image stores needs the records of all of them.
 */
import {
  createDumper,
  createMachine,
  fileSink,
  type Image,
  MiB,
  openImage,
  PAGE_SIZE,
} from 'mmdump';
import type { BenchCase } from '../case.ts';
import { toLine } from '../line.ts';
import { measure, samplesOf, timed } from '../measure.ts';

const IMAGES = 100;
const PAGES = 0x4000; // 64 MiB
const CHANGED = Math.round(PAGES / 100);

export const chain: BenchCase = {
  name: 'chain',
  about: 'a chain of 100 images of 1 %: their length, opening the last one, and dumping one more',
  async run(fixtures) {
    const dumper = await createDumper({ workers: fixtures.workers });
    const machine = createMachine({ memory: PAGES * PAGE_SIZE + 4 * MiB, maxAddressSpaces: 1 });
    const space = machine.createAddressSpace();
    const length = PAGES * PAGE_SIZE;
    const at = space.mmap({ prot: 'rw', flags: ['private', 'anonymous'], length });
    for (let page = 0; page < PAGES; page++) space.fill(at + page * PAGE_SIZE, PAGE_SIZE, 1);
    let seed = 1;
    const stored = new Set<number>(); // pages that an image after the first one stores
    const change = (round: number): number => {
      const pages = new Set<number>();
      while (pages.size < CHANGED) {
        seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
        pages.add((seed >>> 8) % PAGES);
      }
      for (const page of pages) {
        stored.add(page);
        space.write(at + page * PAGE_SIZE, Uint8Array.of(round, round >> 8, 9));
      }
      return [...pages][0]!;
    };
    const paths = Array.from({ length: IMAGES }, () => fixtures.path('.cpt'));
    const last = paths.at(-1)!;
    const whole = fixtures.path('.cpt');
    let parent: Image | undefined;
    try {
      let bytes = 0;
      let newest = 0;
      for (const [index, path] of paths.entries()) {
        if (index > 0) newest = change(index);
        const to = fileSink(path, { sync: false });
        const report = await dumper.dump(space, { to, parent });
        if (index > 0) bytes += report.image.bytes;
        await parent?.close();
        parent = await openImage(path); // its ancestors lie beside it
      }
      await dumper.dump(space, { to: fileSink(whole, { sync: false }) });
      const oldest = Array.from({ length: PAGES }, (_, page) => page).find((p) => !stored.has(p))!;
      const into = new Uint8Array(PAGE_SIZE);
      const read = async (path: string, page: number): Promise<void> => {
        const image = await openImage(path);
        await image.read(at + page * PAGE_SIZE, into);
        await image.close();
      };
      const one = fixtures.path('.cpt');
      const dump = async (from: Image | undefined): Promise<void> => {
        const to = fileSink(one, { sync: false, force: true });
        await dumper.dump(space, { to, parent: from });
      };
      const samples = await measure(
        {
          whole: () => timed(() => read(whole, newest)),
          newest: () => timed(() => read(last, newest)),
          oldest: () => timed(() => read(last, oldest)),
          dumpWhole: () => timed(() => dump(undefined)),
          dumpChanged: () => timed(() => dump(parent)),
        },
        fixtures.options.rounds,
      );
      const changed = (IMAGES - 1) * CHANGED * PAGE_SIZE;
      const single = { name: 'a whole image', samples: samplesOf(samples, 'whole') };
      const limit = { name: 'a whole dump', samples: samplesOf(samples, 'dumpWhole') };
      const ms = (name: string, of: string, beside: typeof single) =>
        toLine(this.name, { name, unit: 'ms', samples: samplesOf(samples, of), limit: beside });
      return {
        lines: [
          toLine(this.name, {
            name: 'length of 99 images, beside the pages that changed',
            unit: '×',
            samples: [bytes / changed],
          }),
          ms('open the last image, read a page of its own', 'newest', single),
          ms('open the last image, read a page of the first', 'oldest', single),
          ms('dump with a parent, nothing has changed', 'dumpChanged', limit),
        ],
      };
    } finally {
      await parent?.close();
      await dumper.close();
      machine.close();
    }
  },
};
