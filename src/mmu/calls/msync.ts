/** msync (mm/msync.c): writes shared pages back to files. The mmap lock is held for reading. */
import { type Check, list, oneOf } from '../../shared/arguments/checks.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { VM } from '../../shared/vm-flags.ts';
import { assertPageAddress, einval, forEachVma, parseRange } from '../arguments/range.ts';
import { writeBackRange } from '../files/write-back.ts';
import type { Mm } from '../mm/mm.ts';

const MS = ['async', 'sync', 'invalidate'] as const;

/** The MS_* flags of msync(2). 'async' and 'sync' exclude each other. */
export type MsyncFlag = (typeof MS)[number];

export const MSYNC_FLAGS: Check<MsyncFlag[]> = list(oneOf(MS, 'EINVAL'));

/**
 * With 'sync', writes dirty pages of shared mappings in the range back to their simulated files.
 * Files of the host are never written. Without 'sync' it only checks its arguments and the range.
 * At a hole it goes on with the rest, and throws ENOMEM in the end. Throws EBUSY for 'invalidate'
 * at a locked mapping, and EINVAL for 'async' with 'sync'.
 */
export function doMsync(
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
    throw new MmdumpError('ENOMEM', `msync: ${length} bytes: the range wraps around`);
  }
  const range = parseRange('msync', address, length);
  if (range === undefined) return;
  forEachVma(mm, 'msync', range, (slot, from, to) => {
    const vmFlags = mm.vmas.flags(slot);
    if (chosen.has('invalidate') && (vmFlags & VM.LOCKED) !== 0) {
      throw new MmdumpError('EBUSY', 'msync: a mapping of the range is locked');
    }
    if (chosen.has('sync') && (vmFlags & VM.SHARED) !== 0) writeBackRange(mm, slot, from, to);
  });
}
