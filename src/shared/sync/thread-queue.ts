/**
 * Waiting for thread ids: who finds all taken queues for one instead of failing.
 *
 * The rule that keeps this from a deadlock: whoever waits for ids holds nothing that another one
 * could wait for: no id, no lock, no place in the gate, no freeze. Who needs several takes all of
 * them or none. And who has the id of an operation waits for nothing but locks of the machine, and
 * never at the closed gate (`mmu/operation.ts`): an operation that has an id therefore ends without
 * anybody else's getting one.
 *
 *   waits for the gate ──open──▶ waits for ids ──all are there──▶ tries to enter ──▶ inside, locks, ends
 *          ▲                                                            │
 *          └──────────────── the gate was closed: gives the ids back ───┘
 *
 * In a thread it is first come, first served. Only the first of each thread waits for the shared
 * word; among threads it is chance.
 */
import { OPERATION, THREADS_MAX, type ThreadKind } from './thread-layout.ts';
import { type ThreadTable, tooMany } from './thread-table.ts';
import { throwIfAborted, waitAsync, waitSync } from './wait.ts';

export class ThreadQueue {
  readonly #threads: ThreadTable;
  /** Settles when the last one that queues now has its ids, or has given up. */
  #last: Promise<void> | undefined;

  constructor(threads: ThreadTable) {
    this.#threads = threads;
  }

  /**
   * `count` ids, once so many are free. Rejects with AbortError when `signal` fires, MACHINE_CLOSED,
   * or TOO_MANY_THREADS where threads that are attached leave too few for it ever to be so.
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
    // One that gives up lets the next one in only when its own turn would have come.
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

  /** One id, on a thread that may block. */
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

  /** Resolves once no operation has an id of a machine that was closed. */
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

  /** Asks again whenever an id was freed, or its thread may have ended, until there is an answer. */
  async #untilFreed<T>(ask: () => T | undefined, signal?: AbortSignal): Promise<T> {
    const threads = this.#threads;
    threads.countWaiter(1);
    try {
      for (;;) {
        const { words, at, seen } = threads.freed; // before it asks: no wake-up is lost
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

/** Resolves when those before are done; rejects as soon as the signal fires. */
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

function takeAll(threads: ThreadTable, count: number, kind: ThreadKind): number[] | undefined {
  // To take and give back what is not enough would wake those who wait, and this one with them.
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

/** TOO_MANY_THREADS unless the ids that operations have would do. */
function assertPossible(threads: ThreadTable, count: number): void {
  if (threads.attached + count <= THREADS_MAX) return;
  threads.lookForEnded();
  if (threads.attached + count > THREADS_MAX) throw tooMany();
}
