/**
 * The file table of a running machine as a dump has to see it: with the names that the files had
 * when the dump began. A file that is unlinked during the dump still counts as living in every
 * phase. If it became an unreachable file half-way, the plan would have named no owner for its
 * pages, and yet the image would say that an owner stored them.
 *
 * The mms of the dump are held. Their mappings keep the files, so an id means the same file until
 * the end.
 */
import type { MachineParts } from '../mm/machine-parts.ts';
import type { Mm } from '../mm/mm.ts';
import { FILE_KIND } from './file-record.ts';
import { FileTable } from './file-table.ts';

const BITS = 32;

/**
 * Returns one bit per file id, set for each file that one of the mms maps and that has a name now.
 * The mms belong to one machine, and their mmap locks are held.
 */
export function namedFiles(mms: readonly Mm[]): SharedArrayBuffer {
  const { files } = mms[0]!;
  const buffer = new SharedArrayBuffer(Math.ceil((files.capacity + 1) / BITS) * 4);
  const words = new Int32Array(buffer);
  for (const { vmas } of mms) {
    for (let ordinal = 0; ordinal < vmas.count; ordinal++) {
      const file = vmas.file(vmas.slot(ordinal));
      if (file === 0 || (files.kind(file) & FILE_KIND.DELETED) !== 0) continue;
      words[file >>> 5]! |= 1 << (file % BITS);
    }
  }
  return buffer;
}

/** A file table in which the files that had a name do not become DELETED. */
export class KeptNames extends FileTable {
  readonly #named: Int32Array;

  /** `named` is what `namedFiles` returned. */
  constructor({ files, store, threads, mayBlock }: MachineParts, named: SharedArrayBuffer) {
    super(files.words, files.base, files.capacity, store, threads, mayBlock);
    this.#named = new Int32Array(named);
  }

  override kind(id: number): number {
    const isNamed = (this.#named[id >>> 5]! & (1 << (id % BITS))) !== 0;
    return isNamed ? super.kind(id) & ~FILE_KIND.DELETED : super.kind(id);
  }
}
