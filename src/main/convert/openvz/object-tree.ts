/** The objects of an OpenVZ file that is made: a tree, whose lengths and positions follow from it. */
import { viewOf } from '../../../shared/formats/elf/words.ts';
import { PAGE_SIZE } from '../../../shared/page.ts';

/** Pages of the image that is read, which follow the record of an object. */
export interface TreePages {
  readonly mm: number;
  /** Address of the first page, in bytes. */
  readonly address: number;
  readonly pages: number;
}

/** A section or an object: its record, then its pages, then its children. */
export interface TreeNode {
  readonly record: Uint8Array;
  readonly pages?: TreePages;
  readonly children: TreeNode[];
  /** Fields that hold the position of another node, by their offsets in the record. */
  readonly references: { readonly at: number; readonly to: TreeNode }[];
  /** Where it lies in the file, once `place` has run. */
  position: number;
}

export function node(record: Uint8Array, children: TreeNode[] = [], pages?: TreePages): TreeNode {
  const made = { record, children, references: [], position: 0 };
  return pages === undefined ? made : { ...made, pages };
}

export function refer(from: TreeNode, at: number, to: TreeNode | undefined): void {
  if (to !== undefined) from.references.push({ at, to });
}

/** Gives a node and all below it their positions and lengths. Returns where it ends. */
export function place(from: TreeNode, position: number): number {
  from.position = position;
  let at = position + from.record.length + (from.pages?.pages ?? 0) * PAGE_SIZE;
  for (const child of from.children) at = place(child, at);
  viewOf(from.record).setBigUint64(0, BigInt(at - position), true);
  return at;
}

/** Writes the references into the records. Precondition: every node has its position. */
export function connect({ record, references, children }: TreeNode): void {
  for (const { at, to } of references) {
    viewOf(record).setBigUint64(at, BigInt(to.position), true);
  }
  for (const child of children) connect(child);
}

/** All nodes in the order of the file. */
export function* inOrder(from: TreeNode): Generator<TreeNode, void> {
  yield from;
  for (const child of from.children) yield* inOrder(child);
}
