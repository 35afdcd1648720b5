/**
 * The page digests of images that were the parents of dumps, or that dumps have written with a
 * parent. They are kept in memory, 8 bytes per page that the image describes, until the dumper is
 * closed or younger ones need the room.
 */
import type { PageDigestBuffers } from '../../shared/dump/page-digests.ts';
import { MiB } from '../../shared/page.ts';

/** Bytes of digests that a dumper keeps: those of 32 GiB of memory, or of 64 images of 512 MiB. */
export const KEPT_DIGEST_BYTES: number = 64 * MiB;

/** The digests of the images of one dumper, by id. */
export class PageDigestCache {
  readonly #limit: number;
  /** In the order of their last use. */
  readonly #images = new Map<string, PageDigestBuffers>();
  #bytes = 0;

  constructor(limit: number = KEPT_DIGEST_BYTES) {
    this.#limit = limit;
  }

  /** The digests of the image with this id, if they are kept. */
  get(id: string): PageDigestBuffers | undefined {
    const found = this.#images.get(id);
    if (found === undefined) return undefined;
    this.#images.delete(id);
    this.#images.set(id, found);
    return found;
  }

  /** Whether digests of so many bytes can be kept at all. */
  takes(bytes: number): boolean {
    return bytes <= this.#limit;
  }

  /** Keeps the digests of an image, and lets go of those that were not used for the longest time. */
  keep(id: string, digests: PageDigestBuffers): void {
    const bytes = digests.digests.byteLength;
    if (!this.takes(bytes) || this.#images.has(id)) return;
    this.#images.set(id, digests);
    this.#bytes += bytes;
    for (const [oldest, { digests: buffer }] of this.#images) {
      if (this.#bytes <= this.#limit) return;
      this.#images.delete(oldest);
      this.#bytes -= buffer.byteLength;
    }
  }

  clear(): void {
    this.#images.clear();
    this.#bytes = 0;
  }
}
