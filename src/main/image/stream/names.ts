/** The files that the NAME objects of an image describe, by file_id. */

import type { NameObject } from '../../../shared/formats/cpt/objects.ts';
import { NAME_KIND } from '../../../shared/formats/cpt/records.ts';
import type { ImageFile } from '../index/image-mm.ts';
import { INDEX_COST, type IndexBudget } from '../index/index-budget.ts';
import { wrong } from './blocks.ts';

/** Most bytes of a payload: at most 4096 bytes of path, ' (deleted)' and the padding. */
export const MAX_NAME_PAYLOAD = 8192;

export class ImageFiles {
  readonly #files = new Map<number, ImageFile>();
  readonly #budget: IndexBudget;

  constructor(budget: IndexBudget) {
    this.#budget = budget;
  }

  /**
   * Returns the file of a NAME. The same id means the same file wherever it is named, and new ids
   * ascend from 1. Throws an ImageProblem otherwise. `address` is that of the VMA.
   */
  take(object: NameObject, payload: Uint8Array, address: number): ImageFile {
    const file = decodeFile(object, payload);
    const known = this.#files.get(file.id);
    if (known === undefined) {
      const expected = this.#files.size + 1;
      if (file.id !== expected)
        throw wrong(object, `file_id ${file.id}, expected ${expected}`, address);
      this.#budget.take(INDEX_COST.FILE + 3 * file.rawPath.length);
      this.#files.set(file.id, file);
      return file;
    }
    if (isSameFile(known, file)) return known;
    throw wrong(object, `file_id ${file.id} has another name, size or kind elsewhere`, address);
  }
}

function decodeFile(object: NameObject, payload: Uint8Array): ImageFile {
  const end = payload.indexOf(0);
  if (end <= 0) throw wrong(object, 'its path is empty or has no end');
  if (payload.subarray(end).some((byte) => byte !== 0)) {
    throw wrong(object, 'bytes after the end of its path are not zero');
  }
  const rawPath = payload.slice(0, end);
  return {
    id: object.fileId,
    path: Buffer.from(rawPath).toString(),
    rawPath,
    size: object.fileSize,
    isDeleted: (object.kind & NAME_KIND.DELETED) !== 0,
    isMemoryBacked: (object.kind & NAME_KIND.MEMORY_BACKED) !== 0,
    isIncomplete: (object.kind & NAME_KIND.INCOMPLETE) !== 0,
  };
}

function isSameFile(a: ImageFile, b: ImageFile): boolean {
  return (
    a.size === b.size &&
    a.isDeleted === b.isDeleted &&
    a.isMemoryBacked === b.isMemoryBacked &&
    a.isIncomplete === b.isIncomplete &&
    Buffer.compare(a.rawPath, b.rawPath) === 0
  );
}
