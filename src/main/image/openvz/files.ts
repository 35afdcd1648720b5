/** The files that the mappings of an OpenVZ 6 container file show, as NAME objects. */
import type { NameObject } from '../../../shared/formats/cpt/objects.ts';
import { NAME_KIND } from '../../../shared/formats/cpt/records.ts';
import { ImageProblem } from '../../../shared/formats/problem.ts';
import { PAGE_SIZE } from '../../../shared/page.ts';
import type { Container, FoundFile, FoundVma } from './container.ts';
import { inodeOf } from './place-file-pages.ts';

/** A file, with the length that the mappings of it tell if no INODE does. */
interface Known {
  readonly kind: number;
  readonly path: Uint8Array;
  size: number;
  /** Number of the NAME, once one was made. */
  id: number;
}

/** The files of a container file. */
export class ContainerFiles {
  readonly #container: Container;
  readonly #known = new Map<string, Known>();
  #count = 0;

  /** Looks at all mappings: the length of a file without an INODE reaches to the last of them. */
  constructor(container: Container) {
    this.#container = container;
    for (const { vmas } of container.mms) {
      for (const vma of vmas) {
        if (vma.file === null) continue;
        const known = this.#find(vma);
        if (inodeOf(container, vma) !== undefined) continue;
        const end = vma.pgoff * PAGE_SIZE + (vma.end - vma.start);
        known.size = Math.max(known.size, Math.min(end, Number.MAX_SAFE_INTEGER));
      }
    }
  }

  /** The NAME of the file that a mapping shows, and its payload. */
  name(vma: FoundVma): { readonly object: NameObject; readonly payload: Uint8Array } {
    const known = this.#find(vma);
    if (known.id === 0) known.id = ++this.#count;
    const { id, size, kind, path } = known;
    const place = { offset: vma.file!, length: 0, headerLength: 0, recordCrc: 0 };
    const fields = { fileId: id, fileSize: size, kind, payloadCrc: 0 };
    const payload = new Uint8Array(path.length + 1);
    payload.set(path);
    return { object: { type: 'NAME', ...place, ...fields }, payload };
  }

  /**
   * Two open files are one file if they have the same INODE, or the same path and none. The paths
   * are told apart by their bytes.
   */
  #find(vma: FoundVma): Known {
    const inode = inodeOf(this.#container, vma);
    const file = this.#container.files.get(vma.file!)!;
    const path = pathOf(file);
    const bytes = Buffer.from(path).toString('latin1');
    const key = file.inode === null ? `${Number(file.isDeleted)}${bytes}` : `@${file.inode}`;
    const found = this.#known.get(key);
    if (found !== undefined) return found;
    const kind =
      (file.isDeleted ? NAME_KIND.DELETED : 0) |
      (inode?.isMemoryBacked === true ? NAME_KIND.MEMORY_BACKED : 0);
    const known = { kind, path, size: inode?.bytes ?? 0, id: 0 };
    this.#known.set(key, known);
    return known;
  }
}

function pathOf({ path, offset }: FoundFile): Uint8Array {
  if (path !== null) return path;
  const text = `FILE at byte ${offset}: it has no NAME, and a mapping shows it`;
  throw new ImageProblem('IMAGE_CORRUPT', offset, text);
}
