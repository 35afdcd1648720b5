/**
 * The one place through which write translations are taken away from those who keep them. A page
 * that becomes clean, or that a snapshot shares, must fault or be looked up again before the next
 * store to it. Every store of the machine itself walks the tables, so nobody keeps translations
 * yet, and the words of the mm only count the occasions.
 */
import type { Mm } from './mm.ts';
import { MM_FIELD } from './mm-struct.ts';

/** Called under the mmap lock for writing, before what makes old write translations wrong. */
export function takeWriteRights(mm: Mm): void {
  const at = mm.struct.base + MM_FIELD.WRITE_RIGHTS;
  Atomics.add(mm.struct.words, at, 1);
}
