/** Compares the states that two images hold beside memory. */
import { MiB } from '../../shared/page.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import type { ImageState } from '../image/index/image-state.ts';
import type { ImageContents } from '../image/read/image-contents.ts';

/** A state that has changed, or that only one of the images has. */
export interface StateChange {
  /** Its name. */
  readonly name: string;
  /** Its length on the left side, in bytes; null if only the right side has it. */
  readonly left: number | null;
  /** Its length on the right side, in bytes; null if only the left side has it. */
  readonly right: number | null;
}

/** Bytes that are compared at a time. */
const PART = MiB;

/** The changes, ascending by name. Nothing is verified. Throws AbortError and INPUT_FAILED. */
export async function changedStates(
  left: ImageContents,
  right: ImageContents,
  signal: AbortSignal | undefined,
): Promise<StateChange[]> {
  const others = new Map(right.states.map((state) => [state.name, state]));
  const changes: StateChange[] = [];
  for (const state of left.states) {
    const { name, bytes } = state;
    const other = others.get(name);
    others.delete(name);
    const isSame = other !== undefined && (await areSame(left, state, right, other, signal));
    if (!isSame) changes.push({ name, left: bytes, right: other?.bytes ?? null });
  }
  for (const { name, bytes } of others.values()) changes.push({ name, left: null, right: bytes });
  return changes.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)));
}

async function areSame(
  left: ImageContents,
  a: ImageState,
  right: ImageContents,
  b: ImageState,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  if (a.bytes !== b.bytes || a.crc !== b.crc) return false;
  const parts = [new Uint8Array(Math.min(PART, a.bytes)), new Uint8Array(Math.min(PART, a.bytes))];
  for (let at = 0; at < a.bytes; at += PART) {
    throwIfAborted(signal);
    const [x, y] = parts.map((part) => part.subarray(0, Math.min(PART, a.bytes - at)));
    await left.source.read(x!, a.offset + at);
    await right.source.read(y!, b.offset + at);
    if (Buffer.compare(x!, y!) !== 0) return false;
  }
  return true;
}
