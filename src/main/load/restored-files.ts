/** The files of an image in the machine that it is restored into. */
import { runInGateAsync } from '../../mmu/enter.ts';
import { cacheContext, createHostFile } from '../../mmu/files/file.ts';
import { FILE_BACKING, FILE_KIND } from '../../mmu/files/file-table.ts';
import { putFile } from '../../mmu/files/page-cache.ts';
import type { MachineParts } from '../../mmu/machine-parts.ts';
import { withoutDeletedSuffix } from '../deleted-suffix.ts';
import type { ImageFile, ImageMm } from '../image/image-mm.ts';

/** Ids in the machine, by the image's file id. */
export type FileIds = ReadonlyMap<number, number>;

/** Files that are opened at a stretch: the gate is free in between. */
const AT_ONCE = 1024;

/**
 * Each file is held from `open` to `letGo`: one that the machine has already might be closed by its
 * owner before a mapping has taken a reference on it.
 */
export class RestoredFiles {
  readonly #machine: MachineParts;
  readonly #ids = new Map<number, number>();
  readonly #held: number[] = [];

  constructor(machine: MachineParts) {
    this.#machine = machine;
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
      const openSome = (): void => {
        for (const file of some) this.#open(file);
      };
      await runInGateAsync(this.#machine, openSome, signal);
    }
  }

  #open(file: ImageFile): void {
    if (this.#ids.has(file.id)) return; // the step runs again where memory was short
    const id = this.#find(file) ?? create(this.#machine, file);
    this.#held.push(id);
    this.#ids.set(file.id, id);
  }

  /** A living file that the machine has, by its path, with a reference. */
  #find({ isDeleted, isMemoryBacked, rawPath }: ImageFile): number | undefined {
    if (isDeleted || isMemoryBacked) return undefined;
    const { files } = this.#machine;
    const known = files.lookup(rawPath);
    return known !== 0 && files.tryGet(known) ? known : undefined;
  }

  /** Waits for the gate; nothing ends that. A poisoned machine has nothing to give back to. */
  async letGo(): Promise<void> {
    const machine = this.#machine;
    if (this.#held.length === 0 || machine.threads.isPoisoned) return;
    await runInGateAsync(machine, (thread) => {
      for (const file of this.#held.splice(0)) putFile(cacheContext(machine, thread), file);
    });
  }
}

/** A living file is one of the host; all others have no more than the image holds of them. */
function create(machine: MachineParts, file: ImageFile): number {
  const { isDeleted, isMemoryBacked, isIncomplete, rawPath, size } = file;
  if (!isDeleted && !isMemoryBacked) return createHostFile(machine, rawPath, size);
  return machine.files.create({
    path: isDeleted ? withoutDeletedSuffix(rawPath) : rawPath,
    kind: (isDeleted ? FILE_KIND.DELETED : 0) | (isMemoryBacked ? FILE_KIND.MEMORY : 0),
    backing: isMemoryBacked && !isIncomplete ? FILE_BACKING.NONE : FILE_BACKING.LOST,
    size,
    contentAt: 0,
  });
}
