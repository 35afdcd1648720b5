/** The FILE and INODE objects of an OpenVZ file that is made of an image. */
import {
  encodeFile,
  encodeInode,
  encodeName,
  encodePages,
  REFERENCE,
} from '../../../shared/formats/openvz/records.ts';
import { PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import type { Block } from '../../image/index/block-index.ts';
import { isUnreachable } from '../../image/index/file-pages.ts';
import type { ImageFile, ImageMm, ImageVma } from '../../image/index/image-mm.ts';
import { node, refer, type TreeNode } from './object-tree.ts';

const REGULAR = 0o100644;
const DIRECTORY = 0o40755;

/** Pages of a file that the image stores in one of its mappings. */
interface FilePages {
  readonly mm: number;
  readonly address: number;
  readonly pages: number;
  /** First page of the file. */
  readonly index: number;
}

/** Collects the files that mappings show, and the pages of those that nothing else can supply. */
export class FileObjects {
  readonly #files = new Map<number, { readonly file: ImageFile; readonly pages: FilePages[] }>();
  readonly #objects = new Map<number, TreeNode>();

  add(file: ImageFile): void {
    if (!this.#files.has(file.id)) this.#files.set(file.id, { file, pages: [] });
  }

  /** Adds a block of pages of the file that a mapping shows. */
  addPages(mm: ImageMm, vma: ImageVma, { start, pages }: Block): void {
    const index = vma.pgoff + (start - vpnOf(vma.start));
    const address = start * PAGE_SIZE;
    this.#files.get(vma.file!.id)!.pages.push({ mm: mm.ordinal, address, pages, index });
  }

  /** Makes the objects: those for the section INODE, and those for the section FILES. */
  build(): { readonly inodes: TreeNode[]; readonly files: TreeNode[] } {
    const inodes: TreeNode[] = [];
    const files: TreeNode[] = [];
    for (const [id, { file, pages }] of this.#files) {
      const record = encodeFile(REGULAR, file.isDeleted, false);
      const object = node(record, [node(encodeName(file.rawPath))]);
      if (isUnreachable(file)) {
        const inode = node(encodeInode(id, file.size, file.isMemoryBacked), pagesOf(pages));
        refer(object, REFERENCE.FILE_INODE, inode);
        inodes.push(inode);
      }
      files.push(object);
      this.#objects.set(id, object);
    }
    return { inodes, files };
  }

  /** The FILE of a file. Precondition: `build` has run. */
  object(file: ImageFile | null): TreeNode | undefined {
    return file === null ? undefined : this.#objects.get(file.id);
  }
}

/** Blocks of the file's pages, ascending. If two mappings store a page, the first one counts. */
function pagesOf(found: readonly FilePages[]): TreeNode[] {
  const blocks: TreeNode[] = [];
  let next = 0;
  for (const each of [...found].sort((a, b) => a.index - b.index)) {
    const skip = Math.max(0, next - each.index);
    const pages = each.pages - skip;
    if (pages <= 0) continue;
    const index = each.index + skip;
    const record = encodePages(index * PAGE_SIZE, (index + pages) * PAGE_SIZE);
    const address = each.address + skip * PAGE_SIZE;
    blocks.push(node(record, [], { mm: each.mm, address, pages }));
    next = index + pages;
  }
  return blocks;
}

/** The root or the working directory of a process. */
export function directory(isRoot: boolean): TreeNode {
  const name = node(encodeName(new TextEncoder().encode('/')));
  return node(encodeFile(DIRECTORY, false, isRoot), [name]);
}
