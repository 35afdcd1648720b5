/** When a counting pass comes first, and which tables it leaves for the next pass. */
import type { Mm } from '../../mmu/mm/mm.ts';
import { RULE } from '../../shared/dump/page-class.ts';
import { runTableBytes } from '../../shared/dump/run-table.ts';
import type { KeptRuns } from '../../shared/dump/tasks/pass-task.ts';
import type { Dump } from './engine.ts';
import type { Plan } from './plan.ts';
import { bytesAtMost, isNearBound } from './work.ts';

/**
 * Whether something must be known before the first byte is written: the length of the image, or
 * that all pages can be stored. `recordBytes`: see PassTables.
 */
export function mustCount(
  { options, parent }: Dump,
  plan: Plan,
  mms: readonly Mm[],
  recordBytes: number,
): boolean {
  const { to, sizeLimit, dryRun, unsupported } = options;
  if (dryRun || sizeLimit !== undefined) return true;
  if (to.kind === 'stream' || to.kind === 'split') return true;
  if (unsupported === 'fail' && plan.leftOut.some(({ rule }) => rule === RULE.TABLE_BAD)) {
    return true;
  }
  if (to.kind !== 'memory') return false;
  // An image with a parent is much shorter than the bound.
  return parent !== undefined || !isNearBound(bytesAtMost(recordBytes, plan), mms, plan);
}

/**
 * Empty tables for a counting pass over `pages` pages to fill. Undefined if the next pass will find
 * the same again with less work. `isRunning`: the machine is. Throws ENOMEM if there is no memory
 * for a table.
 */
export function emptyRuns(
  { options, engine: { buffers }, parent }: Dump,
  mms: readonly Mm[],
  pages: number,
  isRunning: boolean,
): KeptRuns | undefined {
  // With a parent, the pages would have to be compared with it once more.
  const mayChange = isRunning || showsPlaces(mms);
  const isKept = mayChange || parent !== undefined || options.compress;
  if (!isKept || options.dryRun) return undefined;
  const runs = buffers.take('runs', runTableBytes(pages));
  const sources = buffers.take('sources', pages * 4);
  const hasBackings = !mms[0]!.machine.backings.isEmpty;
  const identities = hasBackings ? buffers.take('identities', pages * 8) : undefined;
  return { runs, sources, identities, isFilled: false };
}

/**
 * Whether an mm maps a file of which pages lie in backings. A process that does not stand still may
 * write such pages, so a counting pass has to keep what it has found.
 */
function showsPlaces(mms: readonly Mm[]): boolean {
  if (mms[0]!.machine.backings.isEmpty) return false;
  return mms.some(({ vmas, files }) => {
    for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
      const file = vmas.file(vmas.slot(ordinal));
      if (file !== 0 && files.places(file) !== undefined) return true;
    }
    return false;
  });
}
