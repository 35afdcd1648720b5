/** Opens the sink of a dump, and makes it take back the image if the dump fails or is stopped. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MmdumpError } from '../../shared/errors.ts';
import { joined } from '../job/settle.ts';
import { abortable, type Deadline } from '../job/stop.ts';
import { takeSink } from '../sinks/one-dump.ts';
import type { Sink } from '../sinks/sink.ts';

/** Milliseconds that a stopped dump waits for an `open` in progress, to leave nothing behind. */
const GRACE_MS = 50;

/**
 * Runs `job`, which writes the image and commits it, while the sink is open and belongs to this
 * dump alone. If the job fails, the sink takes back what there is of the image. After the job
 * nothing takes it back. Throws OUTPUT_FAILED if another dump uses the sink.
 */
export async function withSink<T>(to: Sink, deadline: Deadline, job: () => Promise<T>): Promise<T> {
  const giveBack = takeSink(to);
  const opening = open(to);
  try {
    await abortable(opening, deadline.signal);
  } catch (error) {
    const undone = takeBack(to, opening, deadline.errorOf(error)).finally(giveBack);
    throw await withinGrace(undone, error);
  }
  try {
    return await job();
  } catch (error) {
    throw await abortSink(to, deadline.errorOf(error));
  } finally {
    giveBack();
  }
}

/** Opens the sink. A sink that the caller has written may throw, which becomes a rejection here. */
async function open(to: Sink): Promise<void> {
  await to.open();
}

/**
 * Waits until the sink is open, and makes it take back what it has opened. If opening fails, there
 * is nothing to take back. Returns the error to reject with.
 */
async function takeBack(to: Sink, opening: Promise<void>, error: unknown): Promise<unknown> {
  try {
    await opening;
  } catch {
    return error; // the failure of `opening` itself, or a stop that came before it
  }
  return await abortSink(to, error);
}

/** Resolves with the value of `undone`, or with `otherwise` after GRACE_MS. */
async function withinGrace(undone: Promise<unknown>, otherwise: unknown): Promise<unknown> {
  const over = new AbortController();
  const { signal } = over;
  const grace = sleep(GRACE_MS, otherwise, { signal }).catch(() => otherwise); // not needed
  try {
    return await Promise.race([undone, grace]);
  } finally {
    over.abort('the grace is over');
  }
}

/** Throws SIZE_LIMIT if an image of `bytes` bytes exceeds `limit`. Undefined means no limit. */
export function assertSize(bytes: number, limit: number | undefined): void {
  if (limit === undefined || bytes <= limit) return;
  const message = `the image would have ${bytes} bytes, the limit is ${limit}`;
  throw new MmdumpError('SIZE_LIMIT', message, { bytes, limit });
}

/**
 * Makes the sink take back the image. Returns what the dump rejects with: `error`, joined with the
 * error of the sink if that fails as well.
 */
async function abortSink(to: Sink, error: unknown): Promise<unknown> {
  try {
    await to.abort();
    return error;
  } catch (left) {
    return joined(error, left);
  }
}
