/**
 * Makes one image of an image and its ancestors: it holds the pages that were in the parent, and
 * needs no other image. The bytes are those that a dump without a parent would have written.
 *
 * All records but those of blocks stay as they are. Blocks of pages that lie in ancestors become
 * blocks with data, and join their neighbours where a dump would have made one block of them. The
 * image is written in order, a block of at most 2 MiB at a time.
 */
import { instanceOf, listener, oneOf, optional } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import { ImageProblem, problemError } from '../../shared/formats/problem.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { withSink } from '../dump/output.ts';
import { Image } from '../image/image.ts';
import type { ImageContents } from '../image/read/image-contents.ts';
import {
  abortable,
  type Deadline,
  JOB_OPTIONS,
  type JobOptions,
  withDeadline,
} from '../job/stop.ts';
import { SINK } from '../sinks/check-sink.ts';
import { openTarget } from '../sinks/open-target.ts';
import type { Sink } from '../sinks/sink.ts';
import { FlatImage } from './flat-image.ts';
import { TargetWriter } from './target-writer.ts';

/** Options of `flattenImage`. */
export interface FlattenOptions extends JobOptions {
  /** Where the new image goes: one file, several, or memory. A stream is OPTION_INVALID. */
  readonly to: Sink;
  /**
   * 'run' (default): neighbouring pages of one class become one block, as in a dump with the same
   * option. 'page': one block per page; choose it if the image was dumped in this way.
   */
  readonly blocks?: 'run' | 'page' | undefined;
  /** Called at most ten times per second, and once more at the end. */
  readonly onProgress?: ((progress: FlattenProgress) => void) | undefined;
}

/** How far a flattening is. */
export interface FlattenProgress {
  /** Bytes of the new image that are written. */
  readonly bytes: number;
  /** Length of the new image. */
  readonly totalBytes: number;
}

/** The new image. */
export interface FlattenReport {
  /** Its path, or null if it is not in a file. */
  readonly path: string | null;
  /** Its length, in bytes. */
  readonly bytes: number;
  /** Its id. */
  readonly id: string;
  /** Milliseconds that it took. */
  readonly ms: number;
}

const IMAGE = instanceOf(Image, 'an Image');
const FLATTEN_OPTIONS: Shape<FlattenOptions> = {
  ...JOB_OPTIONS,
  to: SINK,
  blocks: optional(oneOf(['run', 'page'])),
  onProgress: listener(),
};

/** Milliseconds between two calls of `onProgress`. */
const PROGRESS_MS = 100;

/**
 * Writes an image that shows what `image` shows and has no parent. It needs the memory of the
 * records of the chain, and of some blocks.
 *
 * It rejects with IMAGE_CLOSED, IMAGE_CHECKSUM, IMAGE_CORRUPT, IMAGE_PARENT_DIFFERS, INPUT_FAILED,
 * OUTPUT_EXISTS, OUTPUT_FAILED, OPTION_INVALID, AbortError and TIMEOUT, and then leaves nothing
 * behind.
 */
export async function flattenImage(image: Image, options: FlattenOptions): Promise<FlattenReport> {
  const checked = optionsOf('flattenImage', options, FLATTEN_OPTIONS);
  IMAGE('image', image);
  if (checked.to.kind === 'stream') {
    throw refusal('to', checked.to, 'a sink of kind file, split or memory');
  }
  if (image.format === 'openvz') {
    throw refusal(
      'image',
      image.path,
      'a native image: make one of it (mmdump convert --format cpt)',
    );
  }
  const start = performance.now();
  const written = await image.use((contents) =>
    withDeadline(checked, 'open', (deadline) =>
      flatten(contents, checked, deadline).catch((error: unknown) => {
        throw error instanceof ImageProblem
          ? problemError(contents.source.name, error.problem)
          : error;
      }),
    ),
  );
  return { path: checked.to.path, ...written, ms: performance.now() - start };
}

async function flatten(
  contents: ImageContents,
  options: FlattenOptions,
  deadline: Deadline,
): Promise<{ readonly bytes: number; readonly id: string }> {
  const { to, blocks = 'run', onProgress } = options;
  const { signal } = deadline;
  throwIfAborted(signal);
  await contents.openChain(signal);
  const flat = new FlatImage(contents, blocks === 'page', signal);
  return await withSink(to, deadline, async () => {
    const totalBytes = await flat.length();
    const extent = {
      bytes: totalBytes,
      isExact: true,
      segments: 0,
      maxSegmentBytes: 0,
      workers: 1,
      units: { count: 1, offset: () => 0 },
    };
    const { target } = openTarget(to, await abortable(to.reserve(extent), signal), extent);
    deadline.phase = 'copy';
    const writer = new TargetWriter(target);
    let told = performance.now();
    const id = await flat.write(writer, () => {
      if (onProgress === undefined || performance.now() - told < PROGRESS_MS) return;
      told = performance.now();
      onProgress({ bytes: writer.offset, totalBytes });
    });
    onProgress?.({ bytes: totalBytes, totalBytes });
    contents.assertIntact();
    deadline.phase = 'commit';
    throwIfAborted(signal);
    await abortable(to.commit({ bytes: totalBytes }), signal);
    return { bytes: totalBytes, id };
  });
}
