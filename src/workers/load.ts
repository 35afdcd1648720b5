/**
 * The load phase: brings pages from outside into the frames, page tables and page caches of a
 * machine. A worker is an ordinary thread of the machine here. For each run, or sequence of runs of
 * one mm, it passes the freeze gate and holds the mmap lock for reading. It sets leaves under the
 * lock of their table.
 */
import type { PageRange } from '../mmu/arguments/range.ts';
import { markPages } from '../mmu/calls/dirty.ts';
import { holdMm, holdToChange, type MmReference } from '../mmu/mm/hold.ts';
import { MachineParts } from '../mmu/mm/machine-parts.ts';
import { type Mm, mmOf } from '../mmu/mm/mm.ts';
import { LOAD, loadRunKind, loadRunMm, readLoadRun } from '../shared/dump/load-table.ts';
import type { LoadTask } from '../shared/dump/tasks/load-task.ts';
import type { PhaseReport } from '../shared/dump/tasks/phase-task.ts';
import { errnoOf, type Outcome, toFailure } from '../shared/errors.ts';
import { PAGE_SIZE } from '../shared/page.ts';
import { FerriedFrames } from './ferry/ferried-frames.ts';
import { FileContents } from './load/file-contents.ts';
import { FramesDigest } from './load/frames-digest.ts';
import { RunLoader } from './load/run-loader.ts';
import { PageSharer } from './load/share-pages.ts';
import { Reader } from './task/read-at.ts';
import { runUnits } from './task/run-units.ts';
import { WorkerFaults } from './task/worker-faults.ts';

/** Loads the runs of the units that this worker claims. */
export function load(task: LoadTask): Outcome<PhaseReport> {
  const machine = new MachineParts(task.machine, { thread: task.thread, mayBlock: true });
  WorkerFaults.of(task)?.watch(machine.allocator);
  const mms = task.mms.map(({ slot, generation }) => {
    return { mm: mmOf(machine, slot, task.thread), reference: { machine, slot, generation } };
  });
  const runs = new Int32Array(task.loads);
  const unitStarts = new Int32Array(task.unitStarts);
  const reader = new Reader(task.source);
  const contents = new FileContents(reader);
  const sharer = new PageSharer();
  const digest = new FramesDigest(machine, task.digestKernel);
  const ferried = task.ferry && new FerriedFrames(machine, task.ferry);
  const underWay: Ferried[] = [];
  const outcome = runUnits(task, task.unitCount, (unit, phase) => {
    let pages = 0;
    let bytes = 0;
    const last = unitStarts[unit + 1]!;
    for (let index = unitStarts[unit]!; index < last; ) {
      const run = readLoadRun(runs, index++);
      const { mm, reference } = mms[run.mm]!;
      pages += run.pages;
      if (run.kind === LOAD.CONTENT) {
        const found = holdMm(mm, reference, 'read', () => contents.load(mm, run));
        bytes += found * PAGE_SIZE;
        if (task.enough > 0 && phase.found(found) >= task.enough) phase.stop();
      } else if (run.kind === LOAD.SHARE) {
        sharer.share(mms[run.source]!, mms[run.mm]!, run);
      } else {
        // Loads the following runs of the same mm, too. There may be very many runs of one page,
        // and passing the gate for each of them would cost too much.
        holdToChange(mm, reference, () => {
          const loader = new RunLoader(mm, reader, digest, ferried);
          bytes += loader.load(run);
          for (; index < last && isNext(runs, index, run.mm); index++) {
            const next = readLoadRun(runs, index);
            bytes += loader.load(next);
            pages += next.pages;
          }
          for (const range of loader.underWay) underWay.push({ mm, reference, ...range });
        });
      }
    }
    return { pages, bytes };
  });
  if (!outcome.ok || ferried === undefined) return outcome;
  try {
    ferried.finish();
    for (const range of underWay) markWritten(range);
    return outcome;
  } catch (error) {
    return { ok: false, failure: toFailure(error) };
  }
}

/** Pages of an mm that were sent to memory that is not shared. */
interface Ferried extends PageRange {
  readonly mm: Mm;
  readonly reference: MmReference;
}

/**
 * Marks pages dirty whose bytes have arrived. They were marked when they were sent, too, but those
 * marks may have been taken before the bytes came.
 */
function markWritten({ mm, reference, from, to }: Ferried): void {
  try {
    holdMm(mm, reference, 'read', () => markPages(mm, from, to));
  } catch (error) {
    if (errnoOf(error) !== 'MM_GONE') throw error;
  }
}

/** Whether the run at `index` belongs to this mm and is one that RunLoader loads. */
function isNext(runs: Int32Array, index: number, mm: number): boolean {
  const kind = loadRunKind(runs, index);
  return loadRunMm(runs, index) === mm && kind !== LOAD.CONTENT && kind !== LOAD.SHARE;
}
