/** exit (exit_mmap, mm/mmap.c): the end of an mm. The mmap lock is held for writing. */
import { TASK_PAGES } from '../../shared/page.ts';
import { freeMm, type Mm } from '../mm/mm.ts';
import { unmapRange } from '../vma/vma-edit.ts';

/** Unmaps everything and frees the mm. Its slot can have another life from now on. */
export function doExit(mm: Mm): void {
  unmapRange(mm, 0, TASK_PAGES);
  freeMm(mm);
}
