/**
 * Dumps of snapshots. A clone does not change, so its pages are of one instant although the machine
 * runs on. What it has not for itself (page caches, files) is read as on any running machine.
 */
import type { MmReference } from '../../mmu/machine/enter.ts';
import { type Snapshot, snapshotOf } from '../../mmu/machine/snapshot.ts';
import type { SnapshotState } from '../../mmu/machine/snapshot-options.ts';
import type { Mm } from '../../mmu/mm/mm.ts';
import { refusal } from '../../shared/arguments/refuse.ts';
import type { StateBlobs } from '../../shared/arguments/state-blobs.ts';
import { errnoOf } from '../../shared/errors.ts';
import { STATE_MAX_BYTES } from '../../shared/formats/cpt/records.ts';
import type { Deadline } from '../job/stop.ts';
import { Changes } from './changes.ts';
import { runDump } from './dump.ts';
import { assertDumpable } from './dumped-mms.ts';
import type { Engine } from './engine.ts';
import type { ResolvedOptions } from './options.ts';
import type { DumpReport } from './report.ts';

/** The state of a snapshot. OPTION_INVALID if one is given besides, or it is too much for an image. */
export function stateOf(snapshot: Snapshot, given: SnapshotState | undefined): StateBlobs {
  if (given !== undefined) throw refusal('state', given, 'none, since the snapshot has its own');
  const { blobs } = snapshot;
  const bytes = [...blobs.values()].reduce((sum, blob) => sum + blob.length, 0);
  if (bytes <= STATE_MAX_BYTES) return blobs;
  throw refusal('state of the snapshot: bytes', bytes, `at most ${STATE_MAX_BYTES} in an image`);
}

/** Dumps the address spaces of a snapshot, which stays. */
export function dumpSnapshot(
  engine: Engine,
  snapshot: Snapshot,
  options: ResolvedOptions,
  deadline: Deadline,
  changes?: Changes,
): Promise<DumpReport> {
  const { references, isIsolated: isInstant } = snapshot;
  return runDump(engine, references, { ...options, freeze: false, isInstant }, deadline, changes);
}

/** `pause: 'fork'`: takes a snapshot, dumps it and drops it. The report has the snapshot's pause. */
export async function dumpForked(
  engine: Engine,
  references: readonly MmReference[],
  options: ResolvedOptions,
  deadline: Deadline,
): Promise<DumpReport> {
  assertDumpable(references);
  const begun = performance.now();
  const { machine } = references[0]!;
  const changes = new Changes(engine.tracked, options);
  const first = (mms: readonly Mm[]): void => changes.noteHeld(mms);
  const snapshot = await snapshotOf(machine, references, first, options.signal);
  const taken = performance.now() - begun;
  try {
    const report = await dumpSnapshot(engine, snapshot, options, deadline, changes);
    const { pauseMs: pause } = snapshot;
    const total = report.ms.total + taken;
    const lockWait = report.ms.lockWait + taken - pause;
    return { ...report, ms: { ...report.ms, pause, lockWait, total } };
  } finally {
    await snapshot.dropAsync().catch(ignoreClosed);
  }
}

/** A machine that is closed or poisoned takes its snapshots with it. */
function ignoreClosed(error: unknown): void {
  const code = errnoOf(error);
  if (code !== 'MACHINE_CLOSED' && code !== 'MACHINE_POISONED') throw error;
}
