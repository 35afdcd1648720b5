/** What a run that is loaded into an mm in use relies on. */
import type { Mm } from '../../mmu/mm/mm.ts';
import type { LoadRun } from '../../shared/dump/load-table.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex } from '../../shared/page.ts';
import { VM } from '../../shared/vm-flags.ts';

const OTHER_MEMORY = VM.SHARED | VM.PFNMAP;

/**
 * Throws EINVAL unless the pages of the run lie in the private anonymous VMA in `slot`. Another
 * thread may have changed the mappings since the run was listed. The mmap lock is held.
 */
export function assertStillMapped({ vmas }: Mm, slot: number, run: LoadRun): void {
  const { start, pages, mm } = run;
  const isWhole = slot >= 0 && vmas.end(slot) >= start + pages;
  if (isWhole && vmas.file(slot) === 0 && (vmas.flags(slot) & OTHER_MEMORY) === 0) return;
  const address = addressOf(start);
  const message = `the mapping at ${hex(address)} was changed during the restore`;
  throw new MmdumpError('EINVAL', message, { mm, address });
}
