/**
 * crc32 (IEEE, as zlib computes it) of records: a few dozen bytes, whole 32-bit words, which may
 * lie in shared memory. A call into zlib would cost more than the checksum of a record. Payloads go
 * through zlib.crc32.
 */

const POLYNOMIAL = 0xedb88320;

/** Four tables of 256 entries: the crc of a byte that 0, 1, 2 or 3 zero bytes follow. */
const TABLES: Int32Array = buildTables();

function buildTables(): Int32Array {
  const tables = new Int32Array(1024);
  // The crc of a byte is the xor of those of its bits. Every thread builds the tables as it starts.
  for (let bit = 128, crc = 1; bit > 0; bit >>= 1) {
    crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    for (let byte = 0; byte < 256; byte += 2 * bit) tables[bit + byte] = crc ^ tables[byte]!;
  }
  for (let at = 256; at < 1024; at++) {
    const shorter = tables[at - 256]!;
    tables[at] = (shorter >>> 8) ^ tables[shorter & 0xff]!;
  }
  return tables;
}

/** The crc32, unsigned, of `count` words from word `at` on, taken as little-endian bytes. */
export function crc32Words(words: Int32Array, at: number, count: number): number {
  const tables = TABLES;
  let crc = -1;
  for (let end = at + count; at < end; at++) {
    const mixed = crc ^ words[at]!;
    crc =
      tables[768 + (mixed & 0xff)]! ^
      tables[512 + ((mixed >>> 8) & 0xff)]! ^
      tables[256 + ((mixed >>> 16) & 0xff)]! ^
      tables[mixed >>> 24]!;
  }
  return ~crc >>> 0;
}
