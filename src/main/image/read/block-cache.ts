/**
 * A cache for payloads of blocks that were read and checked, so that a reader which reads a block
 * page by page reads and checks it once. A reader of a block that is being read waits for it. The
 * least recently used payload is evicted first, and its buffer may be used again.
 *
 *   absent ──read──▶ loading ──filled──▶ held ──evicted──▶ absent
 *                       └──────failed──▶ absent
 */

/** Four blocks of 2 MiB, which no block exceeds. */
export const CACHE_BYTES = 0x80_0000;

/** Puts a payload into its buffer. If it throws, all readers that wait for the payload fail. */
export type Fill = (payload: Uint8Array) => Promise<void>;

interface Entry {
  readonly loaded: Promise<Buffer>;
  /** Readers that have not used the payload yet. While there are any, it is not evicted. */
  users: number;
}

interface Held {
  readonly payload: Buffer;
  readonly entry: Entry;
}

interface Waiter {
  readonly bytes: number;
  readonly begin: () => void;
}

export class BlockCache {
  /** Most bytes that are held and being read, taken together. One block may always be read. */
  readonly #limit: number;
  /** Payloads by key, in the order of their last use. */
  readonly #held = new Map<number, Held>();
  readonly #loading = new Map<number, Entry>();
  readonly #waiting: Waiter[] = [];
  #heldBytes = 0;
  #loadingBytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The payload with this key, if it is held. Use it before any `await`: it may be evicted. */
  get(key: number): Buffer | undefined {
    const held = this.#held.get(key);
    if (held === undefined) return undefined;
    this.#held.delete(key);
    this.#held.set(key, held);
    return held.payload;
  }

  /**
   * Calls `use` with the payload of this key. If it is not held, `fill` reads its `bytes` bytes.
   */
  async read(
    key: number,
    bytes: number,
    fill: Fill,
    use: (payload: Buffer) => void,
  ): Promise<void> {
    const held = this.get(key);
    if (held !== undefined) {
      use(held);
      return;
    }
    let entry = this.#loading.get(key);
    if (entry === undefined) {
      entry = { loaded: this.#load(key, bytes, fill), users: 0 };
      this.#loading.set(key, entry);
    }
    entry.users++;
    try {
      use(await entry.loaded);
    } finally {
      entry.users--;
      this.#evict();
    }
  }

  /** Evicts everything. */
  clear(): void {
    this.#held.clear();
    this.#heldBytes = 0;
  }

  async #load(key: number, bytes: number, fill: Fill): Promise<Buffer> {
    await this.#begin(bytes); // even if it does not wait, the entry is in #loading afterwards
    try {
      // The buffer is not zeroed: no reader gets it before all of it was read and checked.
      const payload = this.#evict(bytes) ?? Buffer.allocUnsafeSlow(bytes);
      await fill(payload);
      this.#held.set(key, { payload, entry: this.#loading.get(key)! });
      this.#heldBytes += bytes;
      return payload;
    } finally {
      this.#loading.delete(key);
      this.#end(bytes);
    }
  }

  /** Waits until `bytes` more bytes may be read. Readers are served in the order of their calls. */
  async #begin(bytes: number): Promise<void> {
    if (this.#waiting.length > 0 || !this.#fits(bytes)) {
      await new Promise<void>((begin) => {
        this.#waiting.push({ bytes, begin });
      });
      return; // #end has counted the bytes
    }
    this.#loadingBytes += bytes;
  }

  #end(bytes: number): void {
    this.#loadingBytes -= bytes;
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#fits(next.bytes)) return;
      this.#waiting.shift();
      this.#loadingBytes += next.bytes;
      next.begin();
    }
  }

  #fits(bytes: number): boolean {
    return this.#loadingBytes === 0 || this.#loadingBytes + bytes <= this.#limit;
  }

  /**
   * Evicts the least recently used payloads until the limit is kept. Returns the buffer of one that
   * had `wanted` bytes, since memory that was touched before is several times quicker.
   */
  #evict(wanted = 0): Buffer | undefined {
    let buffer: Buffer | undefined;
    for (const [key, { payload, entry }] of this.#held) {
      if (this.#heldBytes + this.#loadingBytes <= this.#limit) break;
      if (entry.users > 0) continue;
      this.#held.delete(key);
      this.#heldBytes -= payload.length;
      if (payload.length === wanted) buffer = payload;
    }
    return buffer;
  }
}
