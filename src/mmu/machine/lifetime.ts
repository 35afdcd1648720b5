/**
 * The end of a machine, as one thread sees it. Its memory is given back by V8, buffer by buffer, once
 * no thread has an object left that shows it. So whoever has views of a machine is known here, by the
 * machine's id and without being kept alive:
 *
 *   OPEN ──close──▶ CLOSING ──those inside have left, jobs of this thread are over──▶ CLOSED
 *     │               nobody enters any more: MACHINE_CLOSED                            │
 *     └──the last view of this thread is collected──▶ DROPPED ──────────────────────────┤
 *                                                                                       ▼
 *                            views are emptied, dumpers' threads let go, garbage is collected
 *
 * Another thread that is attached empties its views when it next comes upon the closed machine.
 */
import { collectGarbage } from '../../shared/collect-garbage.ts';
import { thisOsThread } from '../../shared/sync/os-thread.ts';
import type { ThreadTable } from '../../shared/sync/thread-table.ts';
import { DIED_WRITING } from '../../shared/sync/trust.ts';
import type { HostFiles } from '../files/page-cache.ts';
import type { MachineParts } from '../mm/machine-parts.ts';
import { threadGone } from '../mm/thread-gone.ts';

/** What is done for a view that was collected. It refers to nothing large. */
interface Remains {
  readonly machine: string;
  readonly view: WeakRef<MachineParts>;
  readonly threads: ThreadTable;
  /** Of the thread id; undefined: its host gives it back. */
  readonly token: number | undefined;
  readonly hostFiles: HostFiles;
}

/** Makes threads that work for this one let go of a machine; settles when those that are idle have. */
export type LetGo = (machine: string) => Promise<void>;

const views = new Map<string, Set<WeakRef<MachineParts>>>();
const jobs = new Map<string, Set<Promise<void>>>();
const closing = new Map<string, Promise<void>>();
const listeners = new Set<LetGo>();
const collected = new FinalizationRegistry<Remains>(clearRemains);
let hearsExit = false;

/** A view of a machine was made for the user of this thread. `isOwn`: the thread id is, too. */
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

/** Calls `letGo` for every machine of this thread that ends, until the function returned is called. */
export function onMachineEnd(letGo: LetGo): () => void {
  listeners.add(letGo);
  return () => void listeners.delete(letGo);
}

/** A job of this thread works on the machine: it is not emptied before. MACHINE_CLOSED if it is. */
export async function whileInUse<T>(parts: MachineParts, job: () => Promise<T>): Promise<T> {
  const end = beginUse(parts);
  try {
    return await job();
  } finally {
    end();
  }
}

/** The same, as a beginning and an end. */
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
  if (!views.has(machine)) return Promise.resolve(); // it has ended
  const closed = end(parts, machine).finally(() => closing.delete(machine));
  closing.set(machine, closed);
  return closed;
}

async function end(parts: MachineParts, machine: string): Promise<void> {
  const { gate, queue, threads } = parts;
  gate.shut();
  await queue.whenNoOperation();
  // Of a machine that is poisoned somebody may be inside for ever.
  if (!threads.isPoisoned) await gate.whenEmpty();
  await Promise.all(jobs.get(machine) ?? []);
  for (const view of views.get(machine) ?? []) view.deref()?.letGo();
  views.delete(machine);
  await Promise.all([...listeners].map((letGo) => letGo(machine)));
  await collectGarbage();
}

function clearRemains({ machine, view, threads, token, hostFiles }: Remains): void {
  hostFiles.close();
  if (token !== undefined) {
    const id = threads.idOf(token);
    // An operation that ended in an assertion has kept its locks, and nobody is left to give them back.
    if (id >= 0 && threads.holdsAny(id)) threads.poison(DIED_WRITING, id);
    else if (id >= 0) threads.release(id);
  }
  const left = views.get(machine);
  left?.delete(view);
  if (left === undefined || left.size > 0) return;
  views.delete(machine);
  for (const letGo of listeners) void letGo(machine);
}

/** This thread ends without having detached. The ids that die with the process are left alone. */
function giveUpViews(): void {
  if (thisOsThread().tid === process.pid) return;
  for (const all of views.values()) {
    for (const view of all) {
      const parts = view.deref();
      if (parts !== undefined) threadGone(parts, parts.thread, parts.life);
    }
  }
}
