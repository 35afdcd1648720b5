/** The sink of a dump: what is done with it where the dump is stopped, or fails. */
import { setTimeout as sleep } from 'node:timers/promises';
import { MmdumpError } from '../../shared/errors.ts';
import { joined } from '../job/settle.ts';
import { abortable, type Deadline } from '../job/stop.ts';
import { takeSink } from '../sinks/one-dump.ts';
import type { Sink } from '../sinks/sink.ts';

/** How long a stopped dump waits for an `open` that is under way, to leave nothing behind. */
const GRACE_MS = 50;

/**
 * Runs `job`, which writes the image and commits it, while the sink is open and this dump's alone. If
 * the job fails, the sink takes back what there is of the image; nothing that happens after the job
 * does. OUTPUT_FAILED if another dump has the sink.
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

/** A sink of a caller may throw instead of rejecting. */
async function open(to: Sink): Promise<void> {
  await to.open();
}

/**
 * Where opening fails there is nothing to take back; where it was only stopped, what it opens after all
 * is taken back. Returns the error to reject with.
 */
async function takeBack(to: Sink, opening: Promise<void>, error: unknown): Promise<unknown> {
  try {
    await opening;
  } catch {
    return error; // the failure of `opening` itself, or a stop that came before it
  }
  return await abortSink(to, error);
}

/** What `undone` returns, or `otherwise` if that takes long. */
async function withinGrace(undone: Promise<unknown>, otherwise: unknown): Promise<unknown> {
  const over = new AbortController();
  const { signal } = over;
  const grace = sleep(GRACE_MS, otherwise, { signal }).catch(() => otherwise); // it is not needed
  try {
    return await Promise.race([undone, grace]);
  } finally {
    over.abort();
  }
}

/** SIZE_LIMIT if an image of so many bytes is too large. */
export function assertSize(bytes: number, limit: number | undefined): void {
  if (limit === undefined || bytes <= limit) return;
  const message = `the image would have ${bytes} bytes, the limit is ${limit}`;
  throw new MmdumpError('SIZE_LIMIT', message, { bytes, limit });
}

/** What a failed dump rejects with: its own error, and what could not be removed, if anything. */
async function abortSink(to: Sink, error: unknown): Promise<unknown> {
  try {
    await to.abort();
    return error;
  } catch (left) {
    return joined(error, left);
  }
}
