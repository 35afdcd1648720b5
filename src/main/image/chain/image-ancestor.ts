/** What an open image says of the images that it needs. */
import { imageOfFirstPart } from '../../../shared/formats/parts.ts';
import type { Ancestor } from './ancestors.ts';

/** An image that another one needs: its parent, the parent of that, and so on. */
export interface ImageAncestor {
  /** Its id. */
  readonly id: string;
  /** Its path, that of an image in parts without a number; null for an image in memory. */
  readonly path: string | null;
  /** Its length, in bytes. */
  readonly bytes: number;
}

export function ancestorInfo({ id, from, head }: Ancestor): ImageAncestor {
  const path = typeof from === 'string' ? (imageOfFirstPart(from) ?? from) : null;
  return { id, path, bytes: head.totalLen };
}
