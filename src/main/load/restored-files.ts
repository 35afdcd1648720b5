/** The files of an image in the machine that it is restored into. */

import { FILE_BACKING, FILE_KIND } from '../../mmu/files/file-record.ts';
import { hostFileFields } from '../../mmu/machine/file.ts';
import { type FileTaker, HeldFiles } from '../../mmu/machine/held-files.ts';
import type { MachineParts } from '../../mmu/mm/machine-parts.ts';
import { withoutDeletedSuffix } from '../../shared/formats/deleted-suffix.ts';
import { isUnreachable } from '../image/index/file-pages.ts';
import type { ImageFile, ImageMm } from '../image/index/image-mm.ts';

/** Ids in the machine, by the image's file id. */
export type FileIds = ReadonlyMap<number, number>;

/** Files that are opened at a stretch: the gate is free in between. */
const AT_ONCE = 1024;

/**
 * Each file is held from `open` to `letGo`: one that the machine has already might be closed by its
 * owner before a mapping has taken a reference on it.
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

  /** Opens the files of an mm that are not open yet. Waits for the gate; AbortError by the signal. */
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

  /** Waits for the gate; nothing ends that. A poisoned machine has nothing to give back to. */
  letGo(): Promise<void> {
    return this.#held.letGo();
  }
}

/**
 * A living file by its path: one that the machine has, else one of the host. All others have no more
 * than the image holds of them.
 */
function takeFile(taker: FileTaker, file: ImageFile): number {
  const { isDeleted, isMemoryBacked, isIncomplete, rawPath, size } = file;
  if (!isUnreachable(file))
    return taker.open(rawPath) || taker.create(hostFileFields(rawPath, size));
  return taker.create({
    path: isDeleted ? withoutDeletedSuffix(rawPath) : rawPath,
    kind: (isDeleted ? FILE_KIND.DELETED : 0) | (isMemoryBacked ? FILE_KIND.MEMORY : 0),
    backing: isMemoryBacked && !isIncomplete ? FILE_BACKING.NONE : FILE_BACKING.LOST,
    size,
  });
}
