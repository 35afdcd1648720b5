/** Which pages an ELF core file has bytes of, and where the first of them lies. */
import { PAGE_CLASS } from '../../dump/page-class.ts';
import { classOf } from '../../dump/run-table.ts';

const { COPY, ZERO, CLONE } = PAGE_CLASS;

/** Byte at which the pages of a core begin: the ELF header has a page of its own. */
export const CORE_PAGES_AT = 0x1000;

/**
 * Whether a core has the bytes of a run with this class word. Pages of zeros count: they are holes
 * of the file. All other pages are those of a segment without bytes.
 */
export function isInCore(word: number): boolean {
  const pageClass = classOf(word);
  return pageClass === COPY || pageClass === ZERO || pageClass === CLONE;
}
