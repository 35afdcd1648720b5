/**
 * Whether a machine can be used: bits of one word, which are set and never reset.
 *
 *   OPEN ──poison──▶ POISONED      a change was left half-made: operations that take a lock fail
 *     └──────┴──close──▶ CLOSED    no thread enters any more; threads that are inside finish
 */
import { MmdumpError } from '../errors.ts';
import { THREAD_HEADER } from './thread-layout.ts';
import { wakeAll } from './wait.ts';

/** Why a machine is no longer trusted: bits of the word. */
export type PoisonReason = 1 | 2;
/** A thread died while it held a lock that protects a change. */
export const DIED_WRITING = 1;
/** A thread held a spin lock for longer than any operation takes. */
export const LOCKED_UP = 2;
const REASON = 3;
const CLOSED = 4;

const { POISON, POISONED_BY, FREED } = THREAD_HEADER;

/** The bits, and what follows from them. */
export class Trust {
  protected readonly words: Int32Array;
  protected readonly base: number;
  /** Called when this thread meets a machine that was closed. */
  onClosed: (() => void) | undefined;

  constructor(words: Int32Array, base: number) {
    this.words = words;
    this.base = base;
  }

  /**
   * Marks the machine as poisoned, because of `thread`. It has no effect if the machine is
   * poisoned already. The caller must then wake all waiters.
   */
  poison(reason: PoisonReason, thread: number): void {
    if (this.isPoisoned) return;
    Atomics.store(this.words, this.base + POISONED_BY, thread);
    Atomics.or(this.words, this.base + POISON, reason);
  }

  get isPoisoned(): boolean {
    return (Atomics.load(this.words, this.base + POISON) & REASON) !== 0;
  }

  /** Marks the machine as closed. The caller must then wake all threads that wait at the gate. */
  close(): void {
    Atomics.or(this.words, this.base + POISON, CLOSED);
    wakeAll(this.words, this.base + FREED);
  }

  get isClosed(): boolean {
    return (Atomics.load(this.words, this.base + POISON) & CLOSED) !== 0;
  }

  /** Throws MACHINE_CLOSED if the machine was closed. Called before entering it. */
  assertOpen(): void {
    if (!this.isClosed) return;
    this.onClosed?.();
    throw new MmdumpError('MACHINE_CLOSED', 'the machine was closed');
  }

  /** Throws MACHINE_POISONED if the machine was poisoned. */
  assertTrusted(): void {
    const reason = Atomics.load(this.words, this.base + POISON) & REASON;
    if (reason === 0) return;
    const thread = Atomics.load(this.words, this.base + POISONED_BY);
    const story =
      (reason & DIED_WRITING) !== 0
        ? `thread ${thread} died in the middle of a change`
        : `thread ${thread} held a spin lock for longer than any operation takes`;
    throw new MmdumpError(
      'MACHINE_POISONED',
      `the machine can no longer be trusted: ${story}; create a new one`,
    );
  }
}
