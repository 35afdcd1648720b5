/**
 * The files that NT_FILE names. A file that is at hand supplies the pages that the core lacks. A
 * path proves nothing: the core may be of another host, or the file may have been replaced since. So
 * the first page of the file, which most cores hold of programs and libraries, has to be the same.
 * A file that is not at hand counts as deleted, and reading a page that the core lacks fails.
 */
import { open, stat } from 'node:fs/promises';
import { FILE_BACKING, FILE_KIND } from '../../../mmu/files/file-record.ts';
import type { FileFields } from '../../../mmu/files/file-table.ts';
import { hostFileFields } from '../../../mmu/machine/file.ts';
import { withoutDeletedSuffix } from '../../../shared/formats/deleted-suffix.ts';
import { PAGE_SIZE } from '../../../shared/page.ts';
import { VM } from '../../../shared/vm-flags.ts';
import type { CoreFile } from './core-file.ts';
import type { Piece } from './core-mappings.ts';

/** A file that mappings of a core show. */
interface NamedFile {
  readonly path: Buffer;
  /** The end of its furthest mapping, in bytes of the file. */
  reach: number;
  /** Byte of the core with the unwritten first page of the file; -1 if the core lacks it. */
  firstPage: number;
}

/** Collects the files of pieces, and finds out which of them are at hand. */
export class CoreFiles {
  readonly #files = new Map<string, NamedFile>();

  add({ start, end, file, flags, stored, offset }: Piece): void {
    if (file === null) return;
    const key = keyOf(file.path);
    let named = this.#files.get(key);
    if (named === undefined) {
      named = { path: Buffer.from(file.path), reach: 0, firstPage: -1 };
      this.#files.set(key, named);
    }
    const position = file.offset + (start - file.start);
    named.reach = Math.max(named.reach, position + (end - start));
    if (position === 0 && stored > 0 && (flags & VM.WRITE) === 0) named.firstPage = offset;
  }

  /** For each file what the machine has to know about it, and the paths of those not at hand. */
  async describe(core: CoreFile): Promise<{
    readonly fields: ReadonlyMap<string, FileFields>;
    readonly missing: readonly string[];
  }> {
    const fields = new Map<string, FileFields>();
    const missing: string[] = [];
    for (const [key, file] of this.#files) {
      const size = await sizeAtHand(core, file);
      if (size !== undefined) {
        fields.set(key, hostFileFields(file.path, size));
        continue;
      }
      const path = withoutDeletedSuffix(file.path);
      missing.push(path.toString());
      const { DELETED } = FILE_KIND;
      const { UNREACHABLE } = FILE_BACKING;
      fields.set(key, { path, kind: DELETED, backing: UNREACHABLE, size: file.reach });
    }
    return { fields, missing };
  }
}

/** What names a file in the maps. */
export function keyOf(path: Uint8Array): string {
  return Buffer.from(path).toString('latin1');
}

/** The length of the file if it is at hand and is the one that was mapped. */
async function sizeAtHand(
  core: CoreFile,
  { path, firstPage }: NamedFile,
): Promise<number | undefined> {
  if (path[0] !== 0x2f) return undefined; // it would be taken for a relative path
  try {
    const stats = await stat(path); // to open a device may have side effects
    if (!stats.isFile()) return undefined;
    if (firstPage >= 0 && !(await hasFirstPage(core, path, firstPage))) return undefined;
    return stats.size;
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) return undefined; // not there, or not ours
    throw error;
  }
}

async function hasFirstPage(core: CoreFile, path: Buffer, offset: number): Promise<boolean> {
  const expected = await core.read(offset, PAGE_SIZE);
  const page = new Uint8Array(PAGE_SIZE);
  const handle = await open(path, 'r');
  try {
    for (let done = 0; done < PAGE_SIZE; ) {
      const { bytesRead } = await handle.read(page, done, PAGE_SIZE - done, done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
  } finally {
    await handle.close();
  }
  return Buffer.compare(page, expected) === 0;
}
