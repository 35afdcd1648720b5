/** Holding an mm still: the freeze gate, then its mmap lock for reading, and back in any case. */

import type { MmReference } from '../../mmu/enter.ts';
import { readLdtLocked } from '../../mmu/ldt.ts';
import { type Mm, mmOf } from '../../mmu/mm.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { addressOf, hex } from '../../shared/page.ts';

/**
 * Runs `action` while nothing on the machine changes. The action gets the mm under a thread id of
 * its own, so that several dumps of one thread can hold the same mm.
 */
export async function withStoppedMm<T>(
  reference: MmReference,
  signal: AbortSignal | undefined,
  action: (mm: Mm) => Promise<T>,
): Promise<T> {
  const { machine, slot, generation } = reference;
  const thread = machine.threads.register();
  try {
    await machine.gate.freeze(thread, signal);
    try {
      const mm = mmOf(machine, slot, thread);
      await mm.lock.lockAsync(thread, 'read', signal);
      try {
        if (!mm.struct.isLive || mm.struct.generation !== generation) {
          throw new MmdumpError('MM_GONE', `address space ${slot} was destroyed`);
        }
        return await action(mm);
      } finally {
        mm.lock.unlock(thread);
      }
    } finally {
      machine.gate.thaw(thread);
    }
  } finally {
    machine.threads.release(thread);
  }
}

/** A copy of the LDT, taken under its lock. */
export async function snapshotLdt(mm: Mm, signal: AbortSignal | undefined): Promise<Uint8Array> {
  await mm.ldtLock.lockAsync(mm.thread, signal);
  try {
    return readLdtLocked(mm);
  } finally {
    mm.ldtLock.unlock(mm.thread);
  }
}

/** `VMA 0x1000-0x2000` around a page, for messages. */
export function describeVma(
  mm: Mm,
  vpn: number,
): { readonly text: string; readonly start: number; readonly end: number } {
  const slot = mm.vmas.lookup(vpn);
  const start = addressOf(mm.vmas.start(slot));
  const end = addressOf(mm.vmas.end(slot));
  return { text: `VMA ${hex(start)}-${hex(end)}`, start, end };
}
