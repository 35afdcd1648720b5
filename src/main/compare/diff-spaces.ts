/**
 * Compares address spaces with an image. They are dumped into memory with the image as the parent,
 * so the dump holds only what has changed, and the pages in the parent need no second look.
 */
import type { MmReference } from '../../mmu/mm/hold.ts';
import { CHAIN_MAX } from '../../shared/formats/cpt/records.ts';
import { runDump } from '../dump/dump.ts';
import type { Engine } from '../dump/engine.ts';
import { resolveOptions } from '../dump/options.ts';
import { openImage } from '../image/image.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import type { Deadline } from '../job/stop.ts';
import { type MemoryImage, memorySink } from '../sinks/memory-sink.ts';
import { type DiffedImage, diffWith } from './diff.ts';
import type { DiffOptions, ImageDiff } from './diff-report.ts';

/** Compares an image, the left side, with address spaces, the right side. */
export async function diffSpaces(
  engine: Engine,
  references: readonly MmReference[],
  image: DiffedImage,
  options: DiffOptions,
  deadline: Deadline,
): Promise<ImageDiff> {
  const { contents } = image;
  const { signal } = deadline;
  const sink = memorySink();
  const dontDump = contents.head.dontDump;
  const resolved = resolveOptions({
    to: sink,
    hugetlb: 'copy',
    unsupported: 'skip',
    dontDump,
    changes: 'digests', // a comparison looks at all bytes
  });
  const parent = mayBeParent(image) ? image : undefined;
  try {
    await runDump(engine, references, { ...resolved, parent, signal }, deadline);
    deadline.phase = 'diff';
    const parents = parent === undefined ? [] : imagesOf(contents);
    const now = await openImage(sink.image, { signal, parents });
    try {
      return await now.use((right) =>
        diffWith(engine.pool, image, { contents: right, id: now.id }, false, {
          ...options,
          signal,
        }),
      );
    } finally {
      await now.close();
    }
  } finally {
    sink.release();
  }
}

/** Whether its chain has room for one more image, and its id tells its pages. */
function mayBeParent({ contents }: DiffedImage): boolean {
  const { ancestors } = contents.chain;
  const heads = [contents.head, ...ancestors.map(({ head }) => head)];
  return heads.length < CHAIN_MAX && heads.every(({ digest }) => digest !== 'none');
}

/** The images of a chain, as `openImage` takes them. */
function imagesOf({ source, chain }: ImageContents): (string | MemoryImage)[] {
  const { reach } = source;
  const own = reach.kind === 'memory' ? reach.image : source.path!;
  return [own, ...chain.ancestors.map(({ from }) => from)];
}
