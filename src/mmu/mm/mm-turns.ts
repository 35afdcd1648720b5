/**
 * How many asynchronous operations of this thread are on their way into one mm at a time. They run
 * one after the other in any case; each that waits for the mmap lock has a thread id, and is woken
 * whenever the lock changes. The others wait here, first come, first served, as they would there.
 */
import { AbortError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';

/** Enough that whoever reads does not wait for others who read. */
const AT_A_TIME = 8;

interface Turns {
  running: number;
  readonly waiting: Set<() => void>;
}

export class MmTurns {
  readonly #bySlot = new Map<number, Turns>();

  /** Resolves when it is the operation's turn, with what ends it. AbortError when `signal` fires. */
  async take(slot: number, signal: AbortSignal | undefined): Promise<() => void> {
    throwIfAborted(signal);
    const turns = this.#bySlot.get(slot) ?? { running: 0, waiting: new Set() };
    this.#bySlot.set(slot, turns);
    if (turns.running < AT_A_TIME) turns.running++;
    else await turnIn(turns, signal); // whoever ends hands its turn over
    return () => this.#end(slot, turns);
  }

  #end(slot: number, turns: Turns): void {
    for (const next of turns.waiting) {
      turns.waiting.delete(next);
      next();
      return;
    }
    turns.running--;
    if (turns.running === 0) this.#bySlot.delete(slot);
  }
}

function turnIn({ waiting }: Turns, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const begin = (): void => {
      signal?.removeEventListener('abort', stop);
      resolve();
    };
    const stop = (): void => {
      waiting.delete(begin);
      reject(new AbortError(signal?.reason));
    };
    waiting.add(begin);
    signal?.addEventListener('abort', stop, { once: true });
  });
}
