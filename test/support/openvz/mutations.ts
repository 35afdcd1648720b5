/** Changes OpenVZ 6 files in ways that do harm. It shares no code with src. */
import type { Random } from '../images/image-mutations.ts';

/** Values that readers get wrong. */
const EXTREMES = [
  0n,
  1n,
  7n,
  8n,
  16n,
  0xfffn,
  0x1000n,
  0x7fff_ffff_f000n,
  0x8000_0000_0000n,
  2n ** 31n,
  2n ** 52n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 4096n,
  2n ** 64n - 1n,
];

/** Objects in which others lie. */
const PARENTS = new Set([0, 1, 2, 4, 12, 1024]);
const TYPES = [0, 1, 4, 12, 1024, 1051, 4096, 4097, 4098, 4099, 4100, 4101, 4102, 4103, 4105, 77];

/** A section or an object. */
interface Piece {
  readonly at: number;
  readonly bytes: number;
  readonly headerBytes: number;
  /** That of a section is -1. */
  readonly type: number;
  /** Where the objects begin in which it lies, the section first. */
  readonly parents: readonly number[];
}

interface Change {
  readonly name: string;
  readonly apply: (bytes: Buffer, random: Random) => Buffer;
}

/** The pieces of a sound file; of one that was changed, those before the first strange length. */
function piecesOf(bytes: Buffer): Piece[] {
  const pieces: Piece[] = [];
  const walk = (from: number, end: number, parents: readonly number[]): void => {
    for (let at = from; at + 16 <= end; ) {
      const length = Number(bytes.readBigUInt64LE(at));
      const headerBytes = bytes.readUInt16LE(at + 12);
      if (length < 16 || length > end - at || headerBytes > length || headerBytes < 16) return;
      const type = parents.length === 0 ? -1 : bytes.readUInt32LE(at + 8);
      pieces.push({ at, bytes: length, headerBytes, type, parents });
      if (type === -1 || PARENTS.has(type)) walk(at + headerBytes, at + length, [...parents, at]);
      at += length;
    }
  };
  walk(80, bytes.length, []);
  return pieces;
}

/** A piece at random: every type of object is as likely as every other. */
function pieceOf(bytes: Buffer, random: Random): Piece | undefined {
  const pieces = piecesOf(bytes);
  const types = [...new Set(pieces.map(({ type }) => type))];
  const type = types[random.below(types.length)];
  const some = pieces.filter((piece) => piece.type === type);
  return some[random.below(some.length)];
}

/** A field of 8 bytes in the header of a piece, mostly behind the part that all have. */
function fieldOf({ at, headerBytes }: Piece, random: Random): number {
  const words = headerBytes / 8;
  const first = words > 2 && random.below(6) > 0 ? 2 : 0;
  return at + (first + random.below(Math.floor(words - first))) * 8;
}

function put(bytes: Buffer, at: number, value: bigint): Buffer {
  if (at + 8 <= bytes.length) bytes.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  return bytes;
}

/** Puts `added` in place of a piece, and repairs the lengths around it and the trailer. */
function replaced(bytes: Buffer, piece: Piece, added: Buffer): Buffer {
  const grown = added.length - piece.bytes;
  const end = piece.at + piece.bytes;
  const made = Buffer.concat([bytes.subarray(0, piece.at), added, bytes.subarray(end)]);
  for (const at of piece.parents) put(made, at, made.readBigUInt64LE(at) + BigInt(grown));
  if (made.length < 344) return made;
  const tail = made.length - 248;
  for (let section = 0; section < 27; section++) {
    const at = tail + 24 + section * 8;
    const position = made.readBigUInt64LE(at);
    if (position < 2n ** 63n && position >= BigInt(end)) put(made, at, position + BigInt(grown));
  }
  return made;
}

/** Changes one piece, if there is one. */
function change(
  name: string,
  apply: (bytes: Buffer, piece: Piece, random: Random) => Buffer,
): Change {
  return {
    name,
    apply: (bytes, random) => {
      const piece = pieceOf(bytes, random);
      return piece === undefined ? bytes : apply(bytes, piece, random);
    },
  };
}

const CHANGES: readonly Change[] = [
  change('an extreme field', (bytes, piece, random) => {
    return put(bytes, fieldOf(piece, random), random.of(EXTREMES));
  }),
  change('a neighbouring value of a field', (bytes, piece, random) => {
    const at = fieldOf(piece, random);
    const step = random.of([1n, -1n, 8n, -8n, 4096n, -4096n, 0x20_0000n]);
    return put(bytes, at, bytes.readBigUInt64LE(at) + step);
  }),
  change('a field of another object', (bytes, piece, random) => {
    const same = piecesOf(bytes).filter(({ type }) => type === piece.type);
    const at = fieldOf(piece, random);
    return put(bytes, at, bytes.readBigUInt64LE(random.of(same).at + (at - piece.at)));
  }),
  change('a reference to another object', (bytes, piece, random) => {
    const fields: { readonly [type: number]: number } = { 1024: 16, 4099: 32, 4: 48, 0: 96 };
    const other = random.of(piecesOf(bytes));
    return put(bytes, piece.at + (fields[piece.type] ?? 16), BigInt(other.at));
  }),
  change('another type, header or content', (bytes, { at }, random) => {
    const kind = random.below(3);
    if (kind === 0) bytes.writeUInt32LE(random.of(TYPES), at + 8);
    else if (kind === 1) bytes.writeUInt16LE(random.of([0, 8, 16, 24, 32, 80, 4096]), at + 12);
    else bytes.writeUInt16LE(random.below(9), at + 14);
    return bytes;
  }),
  change('bits of a record', (bytes, piece, random) => {
    const at = piece.at + random.below(piece.headerBytes);
    bytes[at] = bytes[at]! ^ (1 << random.below(8));
    return bytes;
  }),
  change('an object that is missing', (bytes, piece) => replaced(bytes, piece, Buffer.alloc(0))),
  change('an object that comes twice', (bytes, piece) => {
    const twice = bytes.subarray(piece.at, piece.at + piece.bytes);
    return replaced(bytes, piece, Buffer.concat([twice, twice]));
  }),
  change('an unknown object before another one', (bytes, piece, random) => {
    const added = Buffer.alloc(16 + 8 * random.below(8), 0xee);
    put(added, 0, BigInt(added.length));
    added.writeUInt32LE(random.of([random.of(TYPES), 500]), 8);
    added.writeUInt16LE(16, 12);
    const old = bytes.subarray(piece.at, piece.at + piece.bytes);
    return replaced(bytes, piece, Buffer.concat([added, old]));
  }),
  {
    name: 'another head',
    apply: (bytes, random) => {
      const at = random.below(24);
      bytes[at] = random.of([0, 1, 2, 0x79, 0x7f, 0xff]);
      return bytes;
    },
  },
  {
    name: 'another trailer',
    apply: (bytes, random) => {
      if (bytes.length < 344) return bytes;
      return put(bytes, bytes.length - 248 + random.below(31) * 8, random.of(EXTREMES));
    },
  },
  { name: 'a cut', apply: (bytes, random) => bytes.subarray(0, random.below(bytes.length)) },
  {
    name: 'a cut before the trailer',
    apply: (bytes, random) => {
      const end = random.below(Math.max(1, bytes.length - 264));
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(-264)]);
    },
  },
];

/** A file made of one of `files`, and what was changed. */
export function hostileOpenvz(
  random: Random,
  files: readonly Buffer[],
): { readonly bytes: Buffer; readonly what: string } {
  let bytes: Buffer = Buffer.from(random.of(files));
  const names: string[] = [];
  for (let left = 1 + random.below(3); left > 0 && bytes.length >= 512; left--) {
    const { name, apply } = random.of(CHANGES);
    names.push(name);
    bytes = apply(bytes, random);
  }
  return { bytes, what: names.join(', ') };
}
