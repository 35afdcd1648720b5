/**
 * The NAME records of all files that the mms of a dump map. The coordinator encodes each once,
 * before the pass, because the same bytes follow every VMA of a file.
 *
 *   INDEX | unused | file 1 | file 2 | …     by file id of the machine; each entry says where the
 *                                            record lies in `records`, and how long it is
 */

/** The words of an entry. */
export const NAME_INDEX = {
  AT: 0, //    first byte in `records`, a multiple of 8
  BYTES: 1, // 0 if no mm of the dump maps the file
  CRC: 2, //   record_crc of the record
  WORDS: 4,
} as const;

const { AT, BYTES, CRC, WORDS } = NAME_INDEX;

/** Both tables, as they are posted. Immutable once the pass begins. */
export interface NameBuffers {
  readonly index: SharedArrayBuffer;
  readonly records: SharedArrayBuffer;
}

/** Bytes of the index, for file ids up to `highestFile`. */
export function nameIndexBytes(highestFile: number): number {
  return (highestFile + 1) * WORDS * 4;
}

/** The NAME records by file id. */
export class NameTable {
  readonly #index: Int32Array;
  /** The records as words. A worker copies them into the image. */
  readonly words: Int32Array;

  constructor({ index, records }: NameBuffers) {
    this.#index = new Int32Array(index);
    this.words = new Int32Array(records);
  }

  set(file: number, at: number, bytes: number, crc: number): void {
    this.#index[file * WORDS + AT] = at;
    this.#index[file * WORDS + BYTES] = bytes;
    this.#index[file * WORDS + CRC] = crc;
  }

  at(file: number): number {
    return this.#index[file * WORDS + AT]!;
  }

  bytes(file: number): number {
    return this.#index[file * WORDS + BYTES]!;
  }

  crc(file: number): number {
    return this.#index[file * WORDS + CRC]!;
  }
}
