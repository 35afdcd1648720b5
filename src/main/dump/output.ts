/** The sink of a dump: what is done with it where the dump is stopped, or fails. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
import { MmdumpError, reasonOf } from '../../shared/errors.ts';
import type { ImageExtent, Sink } from '../sinks/sink.ts';
import { abortable } from '../stop.ts';

/** How long a stopped dump waits for an `open` that is under way, to leave nothing behind. */
const GRACE_MS = 50;

/**
 * Opens the sink. Where that fails there is nothing to undo, and the sink may be another dump's; where
 * it is stopped, what it opens after all is taken back.
 */
export async function openSink(to: Sink, signal: AbortSignal | undefined): Promise<void> {
  const opening = to.open();
  try {
    await abortable(opening, signal);
  } catch (error) {
    const undone = opening.then(() => to.abort()).catch(() => {}); // the error says what matters
    const over = new AbortController();
    const grace = sleep(GRACE_MS, undefined, { signal: over.signal }).catch(() => {});
    await Promise.race([undone, grace]);
    over.abort();
    throw error;
  }
}

/** Where the workers write. SIZE_LIMIT, before anything is written, if the image is too large. */
export async function reserveIn(
  to: Sink,
  extent: ImageExtent,
  limit: number | undefined,
  signal: AbortSignal | undefined,
): Promise<CopyTarget> {
  assertSize(extent.bytes, limit);
  return await abortable(to.reserve(extent), signal);
}

/** SIZE_LIMIT if an image of so many bytes is too large. */
export function assertSize(bytes: number, limit: number | undefined): void {
  if (limit === undefined || bytes <= limit) return;
  const message = `the image would have ${bytes} bytes, the limit is ${limit}`;
  throw new MmdumpError('SIZE_LIMIT', message, { bytes, limit });
}

/** What a failed dump rejects with: its own error, and what could not be removed, if anything. */
export async function abortSink(to: Sink, error: unknown): Promise<unknown> {
  try {
    await to.abort();
    return error;
  } catch (left) {
    if (!(error instanceof MmdumpError)) return left;
    const { code, message, fields } = error;
    return new MmdumpError(code, `${message}; ${reasonOf(left)}`, fields, error);
  }
}
