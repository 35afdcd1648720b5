/**
 * Payloads of blocks that were read and checked, the last ones used: whoever reads a block page by
 * page reads and checks it once. Who asks for a block that is being read waits for it.
 *
 *   absent ──read──▶ loading ──filled──▶ held ──not used for longest──▶ absent, its buffer used again
 *                       └──────failed──▶ absent
 */

/** Four blocks of 2 MiB, which no block exceeds. */
export const CACHE_BYTES = 0x80_0000;

/** Puts a payload into its buffer; what it throws is the failure of all who wait for it. */
export type Fill = (payload: Uint8Array) => Promise<void>;

interface Entry {
  readonly loaded: Promise<Buffer>;
  /** Who waits for it, or was told and has not used it yet: so long its buffer is not used again. */
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
  /** Bytes that are kept, and that may be read at the same time; one block in any case. */
  readonly #limit: number;
  /** By key, in the order of their last use. */
  readonly #held = new Map<number, Held>();
  readonly #loading = new Map<number, Entry>();
  readonly #waiting: Waiter[] = [];
  #heldBytes = 0;
  #loadingBytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The payload with this key, if it is held. Use it at once: its buffer may be used again. */
  get(key: number): Buffer | undefined {
    const held = this.#held.get(key);
    if (held === undefined) return undefined;
    this.#held.delete(key);
    this.#held.set(key, held);
    return held.payload;
  }

  /** Calls `use` with the payload with this key; `fill` reads its `bytes` bytes if it is not held. */
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

  /** Lets go of everything. */
  clear(): void {
    this.#held.clear();
    this.#heldBytes = 0;
  }

  async #load(key: number, bytes: number, fill: Fill): Promise<Buffer> {
    await this.#begin(bytes); // and so the entry is in its table before there is a payload
    try {
      // Not zeroed: nobody is given the buffer before all of it was read and checked.
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

  /** Waits until so many bytes may be read beside the others. First come, first served. */
  async #begin(bytes: number): Promise<void> {
    if (this.#waiting.length > 0 || !this.#fits(bytes)) {
      await new Promise<void>((begin) => {
        this.#waiting.push({ bytes, begin });
      });
      return; // whoever ended has counted it
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
   * Lets go of those that were not used for longest, until there is room. Returns the buffer of one
   * that had `wanted` bytes: memory that was touched before is several times quicker.
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
