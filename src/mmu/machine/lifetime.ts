/**
 * The end of a machine, as one thread sees it. V8 frees each buffer of a machine once no thread has
 * an object left that refers to it. So this module knows every view (MachineParts) of a machine
 * that this thread has, by the machine's id and through weak references:
 *
 *   OPEN ──close──▶ CLOSING ──those inside have left, jobs of this thread are over──▶ CLOSED
 *     │               no thread enters any more: MACHINE_CLOSED                         │
 *     └──the last view of this thread is collected──▶ DROPPED ──────────────────────────┤
 *                                                                                       ▼
 *                            views are emptied, dumpers' threads let go, garbage is collected
 *
 * Another thread that is attached empties its views when it next tries to enter the machine.
 */
import { collectGarbage } from '../../shared/collect-garbage.ts';
import { thisOsThread } from '../../shared/sync/os-thread.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { DIED_WRITING } from '../../shared/sync/trust.ts';
import type { HostFiles } from '../files/host-files.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { threadGone } from '../mm/thread-gone.ts';

/** What is needed to clean up after a view that was collected. It refers to nothing large. */
interface Remains {
  readonly machine: string;
  readonly view: WeakRef<MachineParts>;
  readonly threads: ThreadTable;
  /** Token of the thread id. Undefined if the host of the thread gives the id back. */
  readonly token: number | undefined;
  readonly hostFiles: HostFiles;
}

/**
 * Called with the id of a machine that has ended, to drop what a part of mmdump keeps of it. Where
 * that is in worker threads, it settles when the idle ones have dropped it.
 */
export type EndListener = (machine: string) => Promise<void>;

const views = new Map<string, Set<WeakRef<MachineParts>>>();
const jobs = new Map<string, Set<Promise<void>>>();
const closing = new Map<string, Promise<void>>();
const listeners = new Set<EndListener>();
const collected = new FinalizationRegistry<Remains>(clearRemains);
let hearsExit = false;

/**
 * Records a view that was made for a user of this thread. With `isOwn` its thread id was made for
 * it, too, and is given back when the view is collected.
 */
export function rememberView(parts: MachineParts, isOwn: boolean): void {
  const { id: machine, threads, thread, hostFiles } = parts;
  const view = new WeakRef(parts);
  const known = views.get(machine);
  if (known === undefined) views.set(machine, new Set([view]));
  else known.add(view);
  const token = isOwn ? threads.tokenOf(thread) : undefined;
  collected.register(parts, { machine, view, threads, token, hostFiles });
  threads.onClosed = () => {
    const closed = view.deref();
    if (closed !== undefined) void closeMachine(closed);
  };
  if (hearsExit) return;
  hearsExit = true;
  process.on('exit', giveUpViews);
}

/** Calls `listener` for each machine of this thread that ends. The returned function stops it. */
export function onMachineEnd(listener: EndListener): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/**
 * Runs a job of this thread on the machine. If the machine is closed meanwhile, its views are
 * emptied only after the job. Rejects with MACHINE_CLOSED if it is closed already.
 */
export async function whileInUse<T>(parts: MachineParts, job: () => Promise<T>): Promise<T> {
  const end = beginUse(parts);
  try {
    return await job();
  } finally {
    end();
  }
}

/** Begins a job as `whileInUse` does, and returns the function that ends it. */
export function beginUse({ id: machine, threads }: MachineParts): () => void {
  threads.assertOpen();
  let end = (): void => {};
  const use = new Promise<void>((resolve) => {
    end = resolve;
  });
  const all = jobs.get(machine) ?? new Set();
  jobs.set(machine, all.add(use));
  return () => {
    end();
    all.delete(use);
    if (all.size === 0 && jobs.get(machine) === all) jobs.delete(machine);
  };
}

/** Closes the machine for all threads; see the drawing above. */
export function closeMachine(parts: MachineParts): Promise<void> {
  const { id: machine } = parts;
  const under = closing.get(machine);
  if (under !== undefined) return under;
  if (!views.has(machine)) return Promise.resolve(); // the machine has ended already
  const closed = end(parts, machine).finally(() => closing.delete(machine));
  closing.set(machine, closed);
  return closed;
}

async function end(parts: MachineParts, machine: string): Promise<void> {
  const { gate, queue, threads } = parts;
  gate.shut();
  await queue.whenNoOperation();
  // A thread may stay inside a poisoned machine for ever.
  if (!threads.isPoisoned) await gate.whenEmpty();
  await Promise.all(jobs.get(machine) ?? []);
  for (const view of views.get(machine) ?? []) view.deref()?.dropViews();
  views.delete(machine);
  await Promise.all([...listeners].map((listener) => listener(machine)));
  await collectGarbage();
}

function clearRemains({ machine, view, threads, token, hostFiles }: Remains): void {
  hostFiles.close();
  if (token !== undefined) {
    const id = threads.idOf(token);
    // An operation that failed an assertion has kept its locks, and no thread will release them.
    if (id >= 0 && threads.holdsAny(id)) threads.poison(DIED_WRITING, id);
    else if (id >= 0) threads.release(id);
  }
  const left = views.get(machine);
  left?.delete(view);
  if (left === undefined || left.size > 0) return;
  views.delete(machine);
  for (const listener of listeners) void listener(machine);
}

/**
 * Gives the thread ids back when this thread ends without detaching. The main thread is left out:
 * the process ends with it, and all machines with the process.
 */
function giveUpViews(): void {
  if (thisOsThread().tid === process.pid) return;
  for (const all of views.values()) {
    for (const view of all) {
      const parts = view.deref();
      if (parts !== undefined) threadGone(parts, parts.thread, parts.life);
    }
  }
}
