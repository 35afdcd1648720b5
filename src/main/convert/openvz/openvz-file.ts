/** Lays out the smallest OpenVZ file that holds the address spaces of an image. */
import { decodeProcess } from '../../../shared/formats/elf/notes/decode-process.ts';
import { viewOf } from '../../../shared/formats/elf/words.ts';
import {
  AUXV_WORDS,
  encodeBare,
  encodeFiles,
  encodeFs,
  encodeMajorHeader,
  encodeSection,
  encodeTail,
  OBJECT,
  SECTION,
} from '../../../shared/formats/openvz/records.ts';
import { PAGE_SIZE } from '../../../shared/page.ts';
import type { ImageMm } from '../../image/index/image-mm.ts';
import type { ImageContents } from '../../image/read/image-contents.ts';
import { directory, FileObjects } from './file-objects.ts';
import { MmObjects } from './mm-objects.ts';
import { connect, node, place, type TreeNode } from './object-tree.ts';
import { taskObjects } from './task-objects.ts';

const AT_PAGESZ = 6;
/** The first id of processes whose ids are not known. */
const FIRST_ID = 1000;

/** A file that is laid out. */
export interface OpenvzFile {
  readonly head: Uint8Array;
  /** Its sections in their order, with everything in them. */
  readonly sections: readonly TreeNode[];
  readonly bytes: number;
}

/** Lays out a file with these mms of an image. */
export async function layOut(image: ImageContents, mms: readonly ImageMm[]): Promise<OpenvzFile> {
  const files = new FileObjects();
  const objects = new MmObjects(image, files);
  for (const mm of mms) objects.collectFiles(mm);
  const { inodes, files: opened } = files.build();
  const shared = {
    files: node(encodeFiles()),
    fs: node(encodeFs(), [directory(true), directory(false)]),
    handlers: node(encodeBare(OBJECT.SIGHAND_STRUCT)),
    namespace: node(encodeBare(OBJECT.NAMESPACE)),
  };
  const spaces: TreeNode[] = [];
  const tasks: TreeNode[] = [];
  for (const [index, mm] of mms.entries()) {
    const ldt = await image.payload(mm, 'ldt');
    const object = objects.mm(mm, auxvOf(await image.payload(mm, 'auxv')), ldt);
    spaces.push(object);
    const notes = await image.payload(mm, 'notes');
    const parts = { ...shared, mm: object };
    tasks.push(...taskObjects(decodeProcess(notes), notes, parts, FIRST_ID + index));
  }
  return placed(
    [
      [SECTION.NAMESPACE, [shared.namespace]],
      [SECTION.INODE, inodes],
      [SECTION.FILES, opened],
      [SECTION.FILES_STRUCT, [shared.files]],
      [SECTION.FS, [shared.fs]],
      [SECTION.SIGHAND_STRUCT, [shared.handlers]],
      [SECTION.MM, spaces],
      [SECTION.TASKS, tasks],
    ],
    tasks.length,
  );
}

function placed(
  contents: readonly (readonly [section: number, objects: TreeNode[]])[],
  tasks: number,
): OpenvzFile {
  const head = encodeMajorHeader();
  const positions = new Map<number, number>();
  const sections: TreeNode[] = [];
  let at = head.length;
  for (const [section, objects] of contents) {
    if (objects.length === 0) continue;
    const made = node(encodeSection(section), objects);
    positions.set(section, at);
    at = place(made, at);
    sections.push(made);
  }
  positions.set(SECTION.TRAILER, at);
  const trailer = node(encodeSection(SECTION.TRAILER), [node(encodeTail(tasks, positions))]);
  sections.push(trailer);
  const bytes = place(trailer, at);
  for (const section of sections) connect(section);
  return { head, sections, bytes };
}

/** The vector without its end, and at least one pair. */
export function auxvOf(auxv: Uint8Array): Uint8Array {
  const view = viewOf(auxv);
  let end = 0;
  while (end + 16 <= auxv.length && view.getBigUint64(end, true) !== 0n) end += 16;
  if (end > 0) return auxv.subarray(0, Math.min(end, AUXV_WORDS * 8));
  const least = new Uint8Array(16);
  viewOf(least).setBigUint64(0, BigInt(AT_PAGESZ), true);
  viewOf(least).setBigUint64(8, BigInt(PAGE_SIZE), true);
  return least;
}
