/**
 * Payloads of blocks that were read and checked, the last ones used: whoever reads a block page by
 * page reads and checks it once. Who asks for a block that is being read waits for it.
 */

/** Four blocks of 2 MiB, which no block exceeds. */
export const CACHE_BYTES = 0x80_0000;

interface Waiter {
  readonly bytes: number;
  readonly begin: () => void;
}

export class BlockCache {
  /** Bytes that are kept, and that may be read at the same time; one block in any case. */
  readonly #limit: number;
  /** By key, in the order of their last use. */
  readonly #held = new Map<number, Uint8Array>();
  readonly #loading = new Map<number, Promise<Uint8Array>>();
  readonly #waiting: Waiter[] = [];
  #heldBytes = 0;
  #loadingBytes = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The payload with this key, if it is held. Use it at once: it is not kept for you. */
  get(key: number): Uint8Array | undefined {
    const payload = this.#held.get(key);
    if (payload === undefined) return undefined;
    this.#held.delete(key);
    this.#held.set(key, payload);
    return payload;
  }

  /** The payload with this key; `fill` puts it into a buffer of `bytes` bytes if it is not held. */
  async load(
    key: number,
    bytes: number,
    fill: (payload: Uint8Array) => Promise<void>,
  ): Promise<Uint8Array> {
    const found = this.get(key) ?? this.#loading.get(key);
    if (found !== undefined) return await found;
    const loading = this.#loadNew(key, bytes, fill);
    this.#loading.set(key, loading);
    return await loading;
  }

  /** Lets go of everything. */
  clear(): void {
    this.#held.clear();
    this.#heldBytes = 0;
  }

  async #loadNew(
    key: number,
    bytes: number,
    fill: (payload: Uint8Array) => Promise<void>,
  ): Promise<Uint8Array> {
    try {
      await this.#begin(bytes);
      try {
        this.#evict();
        // Not zeroed: nobody is given the buffer before all of it was read and checked.
        const payload = Buffer.allocUnsafeSlow(bytes);
        await fill(payload);
        this.#held.set(key, payload);
        this.#heldBytes += bytes;
        return payload;
      } finally {
        this.#end(bytes);
        this.#evict();
      }
    } finally {
      this.#loading.delete(key);
    }
  }

  /** Waits until so many bytes may be read beside the others. First come, first served. */
  async #begin(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#loadingBytes += bytes;
      return;
    }
    await new Promise<void>((begin) => {
      this.#waiting.push({ bytes, begin });
    });
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

  /** Lets go of those that were not used for longest. */
  #evict(): void {
    for (const [key, payload] of this.#held) {
      if (this.#heldBytes + this.#loadingBytes <= this.#limit) return;
      this.#held.delete(key);
      this.#heldBytes -= payload.length;
    }
  }
}
