/** Measures reading pages of an image in a cached file, beside a plain read, on one thread. */
import { open } from 'node:fs/promises';
import { createDumper, fileSink, type Image, openImage } from 'mmdump';
import type { BenchCase } from '../case.ts';
import { type Line, toLine } from '../line.ts';
import { measure, type Samples, samplesOf, type Task, timed } from '../measure.ts';
import { TARGETS } from '../targets.ts';

const PAGE = 4096; // bytes
/** A plain read is as long as the largest block of an image. */
const PLAIN_READ = 0x20_0000; // bytes

/** The options of the dumps that write the images, by the name of the tasks. */
const IMAGES = {
  defaults: {},
  'no checksums': { checksum: 'none' },
  'blocks of one page': { blocks: 'page' },
} as const;
type ImageKind = keyof typeof IMAGES;

export const imageRead: BenchCase = {
  name: 'image-read',
  about: 'image.read out of a cached file, whole and page by page, beside a plain read of the file',
  async run(fixtures) {
    const { bytes, rounds } = fixtures.options;
    const pattern = { bytes, run: 0, zeroPercent: 0 };
    const into = new Uint8Array(bytes);
    const tasks: Record<string, Task> = {};
    const images: Image[] = [];
    const dumper = await createDumper({ workers: fixtures.workers });
    try {
      for (const [kind, options] of Object.entries(IMAGES)) {
        const path = fixtures.path('.cpt');
        await dumper.dump(fixtures.space(pattern), { to: fileSink(path), ...options });
        const image = await openImage(path);
        images.push(image);
        tasks[`${kind}: plain`] = () => timed(() => readFile(path, into));
        tasks[`${kind}: whole`] = () => timed(() => image.read(image.vmas()[0]!.start, into));
        tasks[`${kind}: pages`] = () => timed(() => readPages(image, into));
      }
      return { lines: linesOf(await measure(tasks, rounds), bytes) };
    } finally {
      for (const image of images) await image.close();
      await dumper.close();
    }
  },
};

/** Reads the first bytes of a file, as many as the pages of its image have. */
async function readFile(path: string, into: Uint8Array): Promise<void> {
  const file = await open(path);
  try {
    for (let offset = 0; offset < into.length; offset += PLAIN_READ) {
      const length = Math.min(PLAIN_READ, into.length - offset);
      await file.read({ buffer: into, offset, length, position: offset });
    }
  } finally {
    await file.close();
  }
}

async function readPages(image: Image, into: Uint8Array): Promise<void> {
  const { start } = image.vmas()[0]!;
  for (let at = 0; at < into.length; at += PAGE) {
    await image.read(start + at, into.subarray(at, at + PAGE));
  }
}

function linesOf(samples: Samples, bytes: number): Line[] {
  const lines: Line[] = [];
  for (const kind of Object.keys(IMAGES) as ImageKind[]) {
    const parameters = { MiB: bytes / 2 ** 20, image: kind };
    const limit = { name: 'plain read', samples: samplesOf(samples, `${kind}: plain`) };
    const shape = { parameters, unit: 'ms', bytes, limit } as const;
    const [whole, pages] = ['whole', 'pages'].map((way) => samplesOf(samples, `${kind}: ${way}`));
    lines.push(
      toLine('image-read', { ...shape, name: 'image.read, in one call', samples: whole! }),
      toLine('image-read', { ...shape, name: 'image.read, page by page', samples: pages! }),
    );
    if (kind !== 'defaults') continue;
    lines.push(
      toLine('image-read', {
        ...{ parameters, unit: 'GB/s', name: 'speed of image.read, in one call' },
        samples: whole!.map((ms) => bytes / ms / 1e6),
        target: TARGETS.imageRead,
      }),
    );
  }
  return lines;
}
