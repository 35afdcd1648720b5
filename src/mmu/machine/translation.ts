/** What a translator (`translator.ts`) tells: where bytes lie, and in which epoch that holds. */

/** What an access is for. */
export type Access = 'read' | 'write' | 'execute';

/**
 * Where the bytes of an address lie. It may be used inside the call of `inside` in which it was
 * made, and as long as `mm.epoch()` equals `epoch`.
 */
export interface Translation {
  /** The 32-bit words of the bank of memory that holds the page. */
  readonly words: Int32Array;
  /** The bytes of that bank. */
  readonly bytes: Uint8Array;
  /** Where the address lies in `bytes`. */
  readonly offset: number;
  /** The address at which the translation ends: the bytes up to there follow each other. */
  readonly end: number;
  /** The epoch of the address space in which this holds. */
  readonly epoch: number;
}

/** A table that takes translations over from a translator, and forgets them when that does. */
export interface TranslationTable {
  /** Its entries may be used from now on, as long as the epoch is this one. */
  open(epoch: number): void;
  /** They may not be used any more. */
  shut(): void;
  forgetAll(): void;
  forget(page: number): void;
  dropViews(): void;
}
