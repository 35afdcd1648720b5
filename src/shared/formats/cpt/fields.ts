/** The header of one record, as little-endian fields. Fields beyond its end read as 0. */

import { crc32Words } from '../../digest/crc32.ts';
import { ImageProblem } from '../problem.ts';
import { MM_RECORD } from './records.ts';

/** The longest header that is read, in bytes. No version needs a longer one. */
export const MAX_HEADER = 4096;
/** The longest header of any record of versions 1 and 2. */
const LONGEST_RECORD = MM_RECORD.SIZE;

/** One header at a time. An image has many records, so one object is used for all of them. */
export class Fields {
  readonly #bytes = new Uint8Array(MAX_HEADER);
  readonly #words = new Int32Array(this.#bytes.buffer);
  readonly #view = new DataView(this.#bytes.buffer);
  #name = '';
  #offset = 0;
  #length = 0;

  /** Loads the whole header of the record that begins at byte `offset` of the image. */
  load(record: Uint8Array, offset: number, name: string): void {
    this.#bytes.set(record);
    if (record.length < LONGEST_RECORD) this.#bytes.fill(0, record.length, LONGEST_RECORD);
    this.#name = name;
    this.#offset = offset;
    this.#length = record.length;
  }

  /** Where the record is, for messages: `VMA at byte 208`. */
  get where(): string {
    return `${this.#name} at byte ${this.#offset}`;
  }

  u16(at: number): number {
    return this.#view.getUint16(at, true);
  }

  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }

  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }

  /**
   * A u64 that is an address, or a number of bytes or pages. IMAGE_CORRUPT from 2^53 on, because no
   * valid image has such a value. `name` is for the message.
   */
  number(at: number, name: string): number {
    const high = this.#view.getUint32(at + 4, true);
    if (high < 0x20_0000) return high * 0x1_0000_0000 + this.#view.getUint32(at, true);
    throw this.problem(`${name} 0x${this.u64(at).toString(16)} is out of range`);
  }

  /**
   * Checks the record_crc at byte `at`, which is computed over the whole header with that field 0.
   * IMAGE_CHECKSUM if it is wrong.
   */
  assertChecksum(at: number): void {
    const stored = this.u32(at);
    this.#view.setUint32(at, 0, true);
    const computed = crc32Words(this.#words, 0, this.#length / 4);
    this.#view.setUint32(at, stored, true);
    if (stored === computed) return;
    throw new ImageProblem(
      'IMAGE_CHECKSUM',
      this.#offset,
      `${this.where}: record_crc is 0x${stored.toString(16)}, its bytes give 0x${computed.toString(16)}`,
    );
  }

  /** The problem IMAGE_CORRUPT at this record. It is returned, not thrown. */
  problem(message: string, address: number | null = null): ImageProblem {
    return new ImageProblem('IMAGE_CORRUPT', this.#offset, `${this.where}: ${message}`, address);
  }
}
