/**
 * Limits how many asynchronous operations of this thread are under way on one mm. The thread runs
 * them one after the other in any case, and each one that waits for the mmap lock occupies a thread
 * id and is woken whenever the lock changes. The others wait here without an id, first come, first
 * served, as they would at the lock.
 */
import { AbortError } from '../../shared/errors.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';

/** Large enough that operations that only read do not wait for each other. */
const AT_A_TIME = 8;

/** The operations on one mm. */
interface Turns {
  /** How many have their turn. */
  running: number;
  /** Begins the turn of each of the others, in order. */
  readonly waiting: Set<() => void>;
}

/** The turns of the operations of one thread, by slot of the mm. */
export class MmTurns {
  readonly #bySlot = new Map<number, Turns>();

  /**
   * Resolves when it is the operation's turn, with a function that ends the turn. Rejects with
   * AbortError when `signal` fires before.
   */
  async take(slot: number, signal: AbortSignal | undefined): Promise<() => void> {
    throwIfAborted(signal);
    const turns = this.#bySlot.get(slot) ?? { running: 0, waiting: new Set() };
    this.#bySlot.set(slot, turns);
    if (turns.running < AT_A_TIME) turns.running++;
    else await turnIn(turns, signal); // the operation that ends hands its turn over
    return () => this.#end(slot, turns);
  }

  /** Ends a turn: hands it to the next operation, if one waits. */
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

/** Waits for a turn, or until `signal` fires. */
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
