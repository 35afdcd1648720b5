/** msync (mm/msync.c): shared pages back to their files. The mmap lock is held for reading. */
import { MmdumpError } from '../../shared/errors.ts';
import { VM } from '../../shared/vm-flags.ts';
import { writeBackRange } from '../files/write-back.ts';
import type { Mm } from '../mm.ts';
import { assertPageAddress, einval, nothingMapped, parseRange } from './range.ts';

/** MS_* flags. */
export type MsyncFlag = 'async' | 'sync' | 'invalidate';

/**
 * Writes what shared mappings of the range changed to the files behind them: to the simulated disk;
 * files of the host are never written. ENOMEM at a hole, after the rest was done.
 */
export function msyncLocked(
  mm: Mm,
  address: number,
  length: number,
  flags: readonly MsyncFlag[],
): void {
  const chosen = new Set(flags);
  if (chosen.has('async') && chosen.has('sync')) {
    throw einval("msync: 'async' and 'sync' exclude each other");
  }
  assertPageAddress('msync', address);
  if (length > Number.MAX_SAFE_INTEGER) {
    throw new MmdumpError('ENOMEM', `msync: ${length} bytes: the range wraps`);
  }
  const range = parseRange('msync', address, length);
  if (range === undefined) return;
  const { vmas } = mm;
  let hole = -1;
  for (let next = range.from; next < range.to; ) {
    const ordinal = vmas.find(next);
    const start = ordinal === vmas.count ? range.to : vmas.start(vmas.slot(ordinal));
    if (start > next && hole < 0) hole = next;
    if (start >= range.to) break;
    const slot = vmas.slot(ordinal);
    const from = Math.max(next, start);
    const to = Math.min(range.to, vmas.end(slot));
    if (chosen.has('invalidate') && (vmas.flags(slot) & VM.LOCKED) !== 0) {
      throw new MmdumpError('EBUSY', 'msync: a mapping of the range is locked');
    }
    if (chosen.has('sync') && (vmas.flags(slot) & VM.SHARED) !== 0) {
      writeBackRange(mm, slot, from, to);
    }
    next = to;
  }
  if (hole >= 0) throw nothingMapped('msync', hole);
}
