/**
 * Measures a comparison of two images in cached files in which 1 % of the pages differ, beside
 * reading both files with as many threads. Where the changes lie close together, most blocks have
 * equal digests. Where they are scattered, nearly every block of 2 MiB differs, unless the blocks
 * have one page or the later image has the earlier one as its parent.
 */
import { createDumper, diffImages, fileSink, type Image, openImage, PAGE_SIZE } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { parametersOf } from '../dumps.ts';
import { FloorThreads } from '../floor-threads.ts';
import { toLine } from '../line.ts';
import { measure, samplesOf, type Task, timed } from '../measure.ts';
import { TARGETS } from '../targets.ts';

const CHUNK = 0x10_0000; // bytes
/** Pages that change next to each other where changes are close together. */
const CLUSTER = 512;

export const diff: BenchCase = {
  name: 'diff',
  about: 'two images in cached files, 1 % of the pages changed, beside reading both files',
  async run(fixtures) {
    const { workers } = fixtures;
    const { bytes, rounds } = fixtures.options;
    const pattern = { bytes, run: 0, zeroPercent: 0 };
    const space = fixtures.space(pattern);
    const heap = space.vmas()[0]!.start;
    const pages = bytes / PAGE_SIZE;
    const threads = await FloorThreads.create(workers);
    const dumper = await createDumper({ workers });
    const images: Image[] = [];
    const dump = async (options: object = {}): Promise<Image> => {
      const path = fixtures.path('.cpt');
      await dumper.dump(space, { to: fileSink(path, { sync: false }), ...options });
      const image = await openImage(path);
      images.push(image);
      return image;
    };
    const byte = new Uint8Array(1);
    const change = (page: number): void => {
      const at = heap + page * PAGE_SIZE + 100;
      space.read(at, byte);
      byte[0]!++;
      space.write(at, byte);
    };
    try {
      const first = await dump();
      const single = await dump({ blocks: 'page' });
      for (let page = 0; page < pages; page += 100 * CLUSTER) {
        for (let next = page; next < Math.min(pages, page + CLUSTER); next++) change(next);
      }
      const close = await dump();
      for (let page = 50; page < pages; page += 100) change(page);
      const far = await dump();
      const farSingle = await dump({ blocks: 'page' });
      const child = await dump({ parent: close });
      const kinds: { readonly [name: string]: readonly [Image, Image] } = {
        'changes close together': [first, close],
        'changes scattered, blocks of runs': [close, far],
        'changes scattered, blocks of one page': [single, farSingle],
        'changes scattered, with the parent': [close, child],
      };
      const reading = { bytes, chunk: CHUNK };
      const tasks: Record<string, Task> = {
        both: async () => {
          let ms = 0;
          for (const { path } of [first, close]) {
            ms += await threads.run('readFile', { path: path!, ...reading });
          }
          return { ms };
        },
      };
      for (const [name, [left, right]] of Object.entries(kinds)) {
        tasks[name] = () =>
          timed(async () => {
            const { same } = await diffImages(left, right, { dumper });
            if (same) throw new Error('images that differ were found to be the same');
          });
      }
      const samples = await measure(tasks, rounds);
      const both = samplesOf(samples, 'both');
      const parameters = parametersOf(pattern, workers);
      const shape = { parameters, unit: 'ms', bytes: 2 * bytes } as const;
      const [nearest, ...others] = Object.keys(kinds);
      const limit = { name: `reading both on ${workers} threads`, samples: both };
      const quotient = samplesOf(samples, nearest!).map((ms, round) => ms / both[round]!);
      return {
        lines: [
          toLine(this.name, { ...shape, ...limit }),
          toLine(this.name, {
            name: `${nearest}, beside ${limit.name}`,
            ...{ parameters, unit: '×', samples: quotient, target: TARGETS.diff },
          }),
          ...[nearest!, ...others].map((name) =>
            toLine(this.name, { ...shape, name, samples: samplesOf(samples, name), limit }),
          ),
        ],
      };
    } finally {
      for (const image of images) await image.close();
      await dumper.close();
      await threads.close();
    }
  },
};
