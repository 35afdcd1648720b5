/**
 * A second reader of core files, slow and obvious. It shares no code with src, and uses BigInt for
 * every number. It refuses what docs/decisions/core-files.md says that an import refuses.
 */

export class RefusedCore extends Error {}

export interface SlowSegment {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly offset: number;
  readonly stored: number;
}

export interface SlowCore {
  /** Ascending by address. */
  readonly segments: readonly SlowSegment[];
  readonly notes: Buffer;
}

const USER_END = 0x7fff_ffff_f000n;
const PAGE = 4096n;

function check(isFine: boolean, message: string): asserts isFine {
  if (!isFine) throw new RefusedCore(message);
}

/** The segments and the notes of a core, or RefusedCore. */
export function readCore(bytes: Buffer): SlowCore {
  const size = BigInt(bytes.length);
  check(bytes.length >= 64 && bytes.readUInt32BE(0) === 0x7f45_4c46, 'no ELF file');
  check(bytes[4] === 2 && bytes[5] === 1, '64-bit, little-endian');
  check(bytes.readUInt16LE(16) === 4 && bytes.readUInt16LE(18) === 62, 'a core of x86-64');
  check(bytes.readUInt16LE(54) === 56, 'headers of 56 bytes');
  let count = BigInt(bytes.readUInt16LE(56));
  check(count > 0n, 'headers');
  if (count === 0xffffn) {
    const section = bytes.readBigUInt64LE(40);
    check(section + 64n <= size, 'the section header');
    count = BigInt(bytes.readUInt32LE(Number(section) + 44));
  }
  const table = bytes.readBigUInt64LE(32);
  check(count <= 0x10_0000n && table + count * 56n <= size, 'the headers');
  const segments: SlowSegment[] = [];
  const notes: Buffer[] = [];
  for (let index = 0n; index < count; index++) {
    const at = Number(table + index * 56n);
    const type = bytes.readUInt32LE(at);
    const [offset, address, , stored, length, align] = [8, 16, 24, 32, 40, 48].map((field) =>
      bytes.readBigUInt64LE(at + field),
    ) as [bigint, bigint, bigint, bigint, bigint, bigint];
    if (type === 4) {
      check(offset + stored <= size, 'notes');
      notes.push(readNotes(bytes.subarray(Number(offset), Number(offset + stored)), align === 8n));
    }
    if (type !== 1 || length === 0n || address === 0xffff_ffff_ff60_0000n) continue;
    check(address + length <= USER_END, 'user space');
    check(
      [address, length, stored].every((value) => value % PAGE === 0n),
      'pages',
    );
    check(stored <= length && (stored === 0n || offset + stored <= size), 'the file');
    segments.push({
      start: Number(address),
      end: Number(address + length),
      flags: bytes.readUInt32LE(at + 4) & 7,
      offset: Number(offset),
      stored: Number(stored),
    });
  }
  segments.sort((a, b) => a.start - b.start);
  segments.reduce((end, { start, end: next }) => {
    check(start >= end, 'overlap in memory');
    return next;
  }, 0);
  const stored = segments.filter((each) => each.stored > 0).sort((a, b) => a.offset - b.offset);
  stored.reduce((end, each) => {
    check(each.offset >= end, 'overlap in the file');
    return each.offset + each.stored;
  }, 0);
  return { segments, notes: Buffer.concat(notes) };
}

/** The notes with padding to 4 bytes. Checks their lengths, and those of the notes that are read. */
function readNotes(bytes: Buffer, isWide: boolean): Buffer {
  const unit = isWide ? 8 : 4;
  const up = (value: number): number => Math.ceil(value / unit) * unit;
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    if (left < 12) {
      check(isWide || bytes.subarray(at).every((byte) => byte === 0), 'a note');
      if (!isWide) found.push(bytes.subarray(at), Buffer.alloc(-left & 3));
      break;
    }
    const name = bytes.readUInt32LE(at);
    const length = bytes.readUInt32LE(at + 4);
    const from = isWide ? up(12 + name) : 12 + up(name);
    check(from + length <= left, 'a note');
    if (isWide) {
      found.push(bytes.subarray(at, at + 12 + name), Buffer.alloc(-name & 3));
      found.push(bytes.subarray(at + from, at + from + length), Buffer.alloc(-length & 3));
    } else {
      const end = Math.min(left, from + up(length));
      found.push(bytes.subarray(at, at + end), Buffer.alloc(from + up(length) - end));
    }
    at += up(from + length);
  }
  return Buffer.concat(found);
}

/** The bytes of a page: those of the file, or null where the core has none. */
export function pageOf(bytes: Buffer, core: SlowCore, address: number): Buffer | null {
  const segment = core.segments.find(({ start, end }) => start <= address && address < end);
  if (segment === undefined || address - segment.start >= segment.stored) return null;
  const at = segment.offset + (address - segment.start);
  return bytes.subarray(at, at + 4096);
}
