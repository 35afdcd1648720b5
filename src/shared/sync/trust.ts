/**
 * Whether a machine can be used. Bits of one word, which are set and never reset:
 *
 *   OPEN ──poison──▶ POISONED      a change was left half-made: whoever takes a lock fails
 *     └──────┴──close──▶ CLOSED    nobody enters any more; those inside finish in peace
 */
import { MmdumpError } from '../errors.ts';
import { THREAD_HEADER } from './thread-layout.ts';
import { wakeAll } from './wait.ts';

/** Why a machine is not to be trusted any more. */
export type PoisonReason = 1 | 2;
export const DIED_WRITING = 1;
export const LOCKED_UP = 2;
const REASON = 3;
const CLOSED = 4;

const { POISON, POISONED_BY, FREED } = THREAD_HEADER;

export class Trust {
  readonly #words: Int32Array;
  readonly #base: number;
  /** This thread has come upon a machine that was closed. */
  onClosed: (() => void) | undefined;

  constructor(words: Int32Array, base: number) {
    this.#words = words;
    this.#base = base;
  }

  /** Marks the machine as not to be trusted. Whoever waits must then be woken by the caller. */
  poison(reason: PoisonReason, thread: number): void {
    if (this.isPoisoned) return;
    Atomics.store(this.#words, this.#base + POISONED_BY, thread);
    Atomics.or(this.#words, this.#base + POISON, reason);
  }

  get isPoisoned(): boolean {
    return (Atomics.load(this.#words, this.#base + POISON) & REASON) !== 0;
  }

  /** Marks the machine as closed. Whoever waits at the gate must then be woken by the caller. */
  close(): void {
    Atomics.or(this.#words, this.#base + POISON, CLOSED);
    wakeAll(this.#words, this.#base + FREED);
  }

  get isClosed(): boolean {
    return (Atomics.load(this.#words, this.#base + POISON) & CLOSED) !== 0;
  }

  /** Throws MACHINE_CLOSED once the machine is: for whoever is about to enter it. */
  assertOpen(): void {
    if (!this.isClosed) return;
    this.onClosed?.();
    throw new MmdumpError('MACHINE_CLOSED', 'the machine was closed');
  }

  /** Throws MACHINE_POISONED once the machine is. */
  assertTrusted(): void {
    const reason = Atomics.load(this.#words, this.#base + POISON) & REASON;
    if (reason === 0) return;
    const thread = Atomics.load(this.#words, this.#base + POISONED_BY);
    const story =
      (reason & DIED_WRITING) !== 0
        ? `thread ${thread} died in the middle of a change`
        : `thread ${thread} held a spin lock for longer than any operation takes`;
    throw new MmdumpError(
      'MACHINE_POISONED',
      `the machine is not to be trusted any more: ${story}; create a new one`,
    );
  }
}
