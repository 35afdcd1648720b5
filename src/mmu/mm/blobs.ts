/**
 * The byte strings of an mm: its auxiliary vector and ELF notes. Their bytes lie in the store; two
 * fields of the mm hold their length and place.
 */
import { RANK } from '../../shared/sync/held-locks.ts';
import type { Mm } from './mm.ts';

/** Returns a copy of bytes that the mm keeps in the store. The caller holds the mmap lock. */
export function readBlob(mm: Mm, lengthField: number, atField: number): Uint8Array {
  return mm.machine.store.view(mm.struct.get64(atField), mm.struct.get(lengthField)).slice();
}

/**
 * Replaces bytes that the mm keeps in the store. The caller holds the mmap lock for writing. If it
 * throws ENOSPC, nothing has changed.
 */
export function setBlob(mm: Mm, lengthField: number, atField: number, bytes: Uint8Array): void {
  mm.threads.assertHeld(mm.thread, RANK.MMAP_WRITE, 'a byte string is replaced');
  const { store } = mm.machine;
  const before = mm.struct.get64(atField);
  mm.struct.set64(atField, store.add(bytes, mm.thread));
  mm.struct.set(lengthField, bytes.length);
  store.put(before, mm.thread);
}
