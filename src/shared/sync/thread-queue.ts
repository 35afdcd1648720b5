/**
 * A queue for thread ids. If all ids are taken, an operation waits for one instead of failing.
 *
 * There is no deadlock, because of two rules. Code that waits for ids holds nothing that others
 * could wait for: no id, no lock, no place in the gate and no freeze. If it needs several ids, it
 * takes all of them or none. An operation that has an id waits only for locks of the machine, and
 * never at the closed gate (`mmu/mm/operation.ts`). So an operation that has an id ends even if no
 * other operation gets one.
 *
 *   waits for the gate ──open──▶ waits for ids ──all are there──▶ tries to enter ──▶ inside, ends
 *          ▲                                                            │
 *          └──────────────── the gate was closed: gives the ids back ───┘
 *
 * Within a thread the queue is first come, first served. Only its first element waits for the
 * shared word. Between threads there is no order.
 */
import { OPERATION, THREADS_MAX, type ThreadKind } from './thread-layout.ts';
import { type ThreadTable, tooMany } from './thread-table.ts';
import { throwIfAborted, waitAsync, waitSync } from './wait.ts';

/** The queue of one thread for the ids of one machine. */
export class ThreadQueue {
  readonly #threads: ThreadTable;
  /** Settles when the last in the queue has its ids, or has given up. Undefined if none queues. */
  #last: Promise<void> | undefined;

  constructor(threads: ThreadTable) {
    this.#threads = threads;
  }

  /**
   * Takes `count` ids, once that many are free. Rejects with AbortError when `signal` fires, with
   * MACHINE_CLOSED, or with TOO_MANY_THREADS if attached threads leave too few ids for this ever to
   * happen.
   */
  async take(
    count: number,
    signal?: AbortSignal,
    kind: ThreadKind = OPERATION,
  ): Promise<readonly number[]> {
    throwIfAborted(signal);
    this.#threads.assertOpen();
    const atOnce = this.#last === undefined ? takeAll(this.#threads, count, kind) : undefined;
    if (atOnce !== undefined) return atOnce;
    const before = this.#last;
    const mine = this.#takeAfter(before, count, kind, signal);
    // One that gives up lets the next in only when its own turn would have come.
    const over = mine.then(
      () => {},
      () => before,
    );
    this.#last = over;
    void over.then(() => {
      if (this.#last === over) this.#last = undefined;
    });
    return await mine;
  }

  /** Takes one id. Blocks the thread. Throws MACHINE_CLOSED or TOO_MANY_THREADS. */
  takeBlocking(kind: ThreadKind): number {
    const threads = this.#threads;
    threads.countWaiter(1);
    try {
      for (;;) {
        const { words, at, seen } = threads.freed;
        threads.assertOpen();
        const id = threads.tryRegister(kind);
        if (id >= 0) return id;
        assertPossible(threads, 1);
        if (!waitSync(words, at, seen)) threads.lookAround();
      }
    } finally {
      threads.countWaiter(-1);
    }
  }

  /** Resolves once no operation has an id. Precondition: the machine was closed. */
  async whenNoOperation(): Promise<void> {
    await this.#untilFreed(() => (this.#threads.anyOperation ? undefined : true));
  }

  async #takeAfter(
    before: Promise<void> | undefined,
    count: number,
    kind: ThreadKind,
    signal: AbortSignal | undefined,
  ): Promise<readonly number[]> {
    await turnOf(before, signal);
    const threads = this.#threads;
    return await this.#untilFreed(() => {
      threads.assertOpen();
      const ids = takeAll(threads, count, kind);
      if (ids === undefined) assertPossible(threads, count);
      return ids;
    }, signal);
  }

  /** Asks again whenever an id was freed, or a thread may have ended, until there is an answer. */
  async #untilFreed<T>(ask: () => T | undefined, signal?: AbortSignal): Promise<T> {
    const threads = this.#threads;
    threads.countWaiter(1);
    try {
      for (;;) {
        const { words, at, seen } = threads.freed; // before it asks, so that no wake-up is lost
        const answer = ask();
        if (answer !== undefined) return answer;
        const isTold = await waitAsync(words, at, seen, signal);
        if (!isTold) threads.lookAround();
      }
    } finally {
      threads.countWaiter(-1);
    }
  }
}

/** Resolves when all earlier ones are done. Rejects with AbortError as soon as the signal fires. */
async function turnOf(
  before: Promise<void> | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  let stop = (): void => {};
  const stopped = new Promise<void>((resolve) => {
    stop = resolve;
  });
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await (signal === undefined ? before : Promise.race([before, stopped]));
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  throwIfAborted(signal);
}

/** Takes `count` ids, or none and returns undefined. */
function takeAll(threads: ThreadTable, count: number, kind: ThreadKind): number[] | undefined {
  // To take too few ids and give them back would wake all waiters, this one included.
  if (threads.free < count) return undefined;
  const ids: number[] = [];
  while (ids.length < count) {
    const id = threads.tryRegister(kind);
    if (id < 0) {
      for (const taken of ids) threads.release(taken);
      return undefined;
    }
    ids.push(id);
  }
  return ids;
}

/** Throws TOO_MANY_THREADS if `count` ids would not be free even after all operations had ended. */
function assertPossible(threads: ThreadTable, count: number): void {
  if (threads.attached + count <= THREADS_MAX) return;
  threads.lookForEnded();
  if (threads.attached + count > THREADS_MAX) throw tooMany();
}
