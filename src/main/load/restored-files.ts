/** The files of an image in the machine that it is restored into. */

import { FILE_BACKING, FILE_KIND } from '../../mmu/files/file-record.ts';
import { hostFileFields } from '../../mmu/machine/file.ts';
import { type FileTaker, HeldFiles } from '../../mmu/machine/held-files.ts';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { withoutDeletedSuffix } from '../../shared/formats/deleted-suffix.ts';
import { isUnreachable } from '../image/index/file-pages.ts';
import type { ImageFile, ImageMm } from '../image/index/image-mm.ts';

/** The file ids of the machine, by the file ids of the image. */
export type FileIds = ReadonlyMap<number, number>;

/** Files that are opened in one passage of the gate. */
const AT_ONCE = 1024;

/**
 * Opens the files of an image, and holds each of them from `open` to `release`. Otherwise the owner
 * of a file that the machine has already could close it before a mapping takes a reference on it.
 */
export class RestoredFiles {
  readonly #ids = new Map<number, number>();
  readonly #held: HeldFiles;

  constructor(machine: MachineParts) {
    this.#held = new HeldFiles(machine);
  }

  get ids(): FileIds {
    return this.#ids;
  }

  /**
   * Opens the files of an mm that are not open yet. Waits for the gate. Throws AbortError when the
   * signal fires, and ENOSPC or EMFILE if the machine has no room for another file.
   */
  async open({ vmas }: ImageMm, signal: AbortSignal | undefined): Promise<void> {
    const wanted = new Map<number, ImageFile>();
    for (const { file } of vmas)
      if (file !== null && !this.#ids.has(file.id)) wanted.set(file.id, file);
    const files = [...wanted.values()];
    for (let from = 0; from < files.length; from += AT_ONCE) {
      const some = files.slice(from, from + AT_ONCE);
      await this.#held.take((taker) => {
        for (const file of some) this.#ids.set(file.id, takeFile(taker, file));
      }, signal);
    }
  }

  /**
   * Releases all files. Waits for the gate without a limit. Does nothing on a poisoned machine.
   */
  release(): Promise<void> {
    return this.#held.release();
  }
}

/**
 * Takes a living file by its path: the machine's file if there is one, else a file of the host. An
 * unreachable file has only what the image holds of it.
 */
function takeFile(taker: FileTaker, file: ImageFile): number {
  const { isDeleted, isMemoryBacked, isIncomplete, rawPath, size } = file;
  if (!isUnreachable(file))
    return taker.open(rawPath) || taker.create(hostFileFields(rawPath, size));
  return taker.create({
    path: isDeleted ? withoutDeletedSuffix(rawPath) : rawPath,
    kind: (isDeleted ? FILE_KIND.DELETED : 0) | (isMemoryBacked ? FILE_KIND.MEMORY : 0),
    backing: isMemoryBacked && !isIncomplete ? FILE_BACKING.NONE : FILE_BACKING.UNREACHABLE,
    size,
  });
}
