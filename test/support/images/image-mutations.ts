/**
 * Images that no dump could have written: valid images are taken apart into their objects and
 * changed. By default the lengths, counts and crcs around the change are repaired, so that it
 * passes the first checks and reaches the later ones.
 */
import { crc32 } from 'node:zlib';
import { xxh3Outside } from '../reference/outside-xxh3.ts';

export interface Random {
  /** A whole number below `limit`. */
  below(limit: number): number;
  of<T>(items: readonly T[]): T;
}

/** mulberry32, seeded with a seed and a case number, so that each case can be repeated alone. */
export function randomOf(seed: number, item: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(item + 1, 0x85ebca6b)) | 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return { below, of: (items) => items[below(items.length)]! };
}

interface Field {
  readonly name: string;
  readonly at: number;
  readonly bytes: 2 | 4 | 8;
}

function fields(bytes: 2 | 4 | 8, ...pairs: readonly (readonly [string, number])[]): Field[] {
  return pairs.map(([name, at]) => ({ name, at, bytes }));
}

const HEAD_FIELDS = [
  ...fields(2, ['hdrlen', 4], ['version', 6], ['arch', 8], ['page_shift', 10]),
  ...fields(4, ['magic', 0], ['flags', 12], ['mm_count', 32], ['digest', 40], ['record_crc', 64]),
  ...fields(8, ['time', 16], ['total_len', 24], ['parent', 48]),
];

const OBJECT_FIELDS = [
  ...fields(8, ['len', 0]),
  ...fields(4, ['type', 8]),
  ...fields(2, ['hdrlen', 12], ['content', 14]),
];

interface Shape {
  readonly crcAt: number;
  readonly payloadCrcAt: number;
  readonly fields: readonly Field[];
}

const MM_WORDS = Array.from({ length: 14 }, (_, word) => [`u64_${word}`, 16 + word * 8] as const);
const RANGE = [
  ['start', 16],
  ['end', 24],
] as const;

const SHAPES: ReadonlyMap<number, Shape> = new Map([
  [1, { crcAt: 128, payloadCrcAt: 0, fields: fields(8, ...MM_WORDS) }],
  [
    1024,
    {
      crcAt: 88,
      payloadCrcAt: 0,
      fields: [
        ...fields(8, ['file', 16], ['anonvmaid', 32], ['start', 40], ['end', 48], ['flags', 56]),
        ...fields(8, ['pgprot', 64], ['pgoff', 72], ['page_num', 80]),
        ...fields(4, ['vma_type', 24], ['anonvma', 28]),
      ],
    },
  ],
  [1051, { crcAt: 20, payloadCrcAt: 16, fields: [] }],
  [8192, { crcAt: 20, payloadCrcAt: 16, fields: [] }],
  [
    8193,
    {
      crcAt: 36,
      payloadCrcAt: 32,
      fields: [...fields(8, ['state_bytes', 16]), ...fields(4, ['name_bytes', 24])],
    },
  ],
  [
    4098,
    {
      crcAt: 40,
      payloadCrcAt: 32,
      fields: [...fields(8, ...RANGE), ...fields(4, ['flags', 44], ['flags of version 1', 36])],
    },
  ],
  [4099, { crcAt: 40, payloadCrcAt: 0, fields: fields(8, ...RANGE, ['source', 32]) }],
  [
    4102,
    {
      crcAt: 40,
      payloadCrcAt: 36,
      fields: [...fields(8, ['file_id', 16], ['file_size', 24]), ...fields(4, ['file_kind', 32])],
    },
  ],
  [4103, { crcAt: 24, payloadCrcAt: 20, fields: fields(4, ['bytes', 16]) }],
]);

/** One object: its header and payload, both of which may be changed. */
interface Part {
  readonly header: Buffer;
  readonly payload: Buffer;
  readonly shape: Shape;
  /** COPYPAGES: the donor's MM. Its offset follows that MM, unless the mutation set it. */
  donor: Part | undefined;
}

export interface Taken {
  readonly head: Buffer;
  readonly parts: Part[];
}

function isVersion1(head: Buffer): boolean {
  return head.readUInt16LE(6) === 1;
}

/** Where the flags of PAGES lie in the version that the head names. */
function flagsAt(head: Buffer): number {
  return isVersion1(head) ? 36 : 44;
}

/** Takes a valid image apart. */
export function takeApart(bytes: Buffer): Taken {
  const parts: Part[] = [];
  const byOffset = new Map<number, Part>();
  for (let at = 72; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    const headerBytes = bytes.readUInt16LE(at + 12);
    const type = bytes.readUInt32LE(at + 8);
    const part: Part = {
      header: Buffer.from(bytes.subarray(at, at + headerBytes)),
      payload: Buffer.from(bytes.subarray(at + headerBytes, at + length)),
      shape: SHAPES.get(type)!,
      donor: type === 4099 ? byOffset.get(Number(bytes.readBigUInt64LE(at + 32))) : undefined,
    };
    parts.push(part);
    byOffset.set(at, part);
    at += length;
  }
  return { head: Buffer.from(bytes.subarray(0, 72)), parts };
}

function copyOf({ head, parts }: Taken): Taken {
  const copies = new Map<Part, Part>();
  for (const part of parts) {
    const { header, payload, shape, donor } = part;
    const copied = { header: Buffer.from(header), payload: Buffer.from(payload), shape };
    copies.set(part, { ...copied, donor: donor && copies.get(donor) });
  }
  return { head: Buffer.from(head), parts: [...copies.values()] };
}

const VALUES = [
  ...[0n, 1n, 2n, 3n, 4n, 7n, 8n, 15n, 16n, 24n, 4095n, 4096n, 4097n, 8192n, 65_536n, 65_544n],
  ...[2n ** 21n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 44n],
  ...[2n ** 47n - 8192n, 2n ** 47n - 4096n, 2n ** 47n, 2n ** 52n - 1n, 2n ** 52n, 2n ** 53n - 1n],
  ...[2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 4096n, 2n ** 64n - 8n, 2n ** 64n - 1n],
];
const STEPS = [1n, -1n, 8n, -8n, 4096n, -4096n, 8192n, -8192n, 2n ** 21n, 2n ** 32n];

/** Reads a field; a truncated header no longer has it, and reads as 0, as the reader sees it. */
function read(buffer: Buffer, { at, bytes }: Field): bigint {
  if (at + bytes > buffer.length) return 0n;
  if (bytes === 8) return buffer.readBigUInt64LE(at);
  return BigInt(buffer.readUIntLE(at, bytes));
}

function write(buffer: Buffer, { at, bytes }: Field, value: bigint): void {
  if (at + bytes > buffer.length) return;
  if (bytes === 8) buffer.writeBigUInt64LE(BigInt.asUintN(64, value), at);
  else buffer.writeUIntLE(Number(BigInt.asUintN(bytes * 8, value)), at, bytes);
}

/**
 * Returns another value for a field: an extreme, a neighbour, one bit flipped, or another record's.
 */
function otherValue(random: Random, taken: Taken, value: bigint, field: Field): bigint {
  const kind = random.below(5);
  if (kind === 0) return random.of(VALUES);
  if (kind === 1) return value + random.of(STEPS);
  if (kind === 2) return value ^ (1n << BigInt(random.below(field.bytes * 8)));
  if (kind === 3) return BigInt(random.below(2 ** 32)) * BigInt(random.below(2 ** 32));
  const part = random.of(taken.parts);
  const other = random.of([...part.shape.fields, ...OBJECT_FIELDS]);
  return read(part.header, other);
}

/** A mutation of one image; may take objects from `others`. Returns its name, for messages. */
type Mutation = (random: Random, taken: Taken, others: readonly Taken[]) => string;

function place(random: Random, { parts }: Taken): number {
  return random.below(parts.length + 1);
}

function ofType(random: Random, { parts }: Taken, type: number): Part | undefined {
  const found = parts.filter(({ header, shape }) => {
    return shape === SHAPES.get(type) && header.length > shape.crcAt;
  });
  return found.length === 0 ? undefined : random.of(found);
}

/** Changes that usually leave the image valid, but change its meaning. */
const MEANINGS: readonly Mutation[] = [
  function flags(random, taken) {
    const vma = ofType(random, taken, 1024);
    for (let count = 1 + random.below(3); vma && count > 0; count--) {
      const bit = 2 ** random.below(32);
      vma.header.writeUInt32LE((vma.header.readUInt32LE(56) ^ bit) >>> 0, 56);
    }
    return 'flags of a mapping';
  },
  function pgoff(random, taken) {
    const vma = ofType(random, taken, 1024);
    const value = random.of([0n, 1n, 2n, 3n, 2n ** 31n, 2n ** 50n, 2n ** 52n - 9n, 2n ** 52n]);
    vma?.header.writeBigUInt64LE(value, 72);
    return 'pgoff';
  },
  function anonvmaid(random, taken) {
    const vma = ofType(random, taken, 1024);
    const id = random.below(4);
    vma?.header.writeUInt32LE(id === 0 ? 0 : 1, 28);
    vma?.header.writeUInt32LE(id, 32);
    return 'anonvmaid';
  },
  function vdso(random, taken) {
    const vma = ofType(random, taken, 1024);
    if (vma?.header.readUInt32LE(16) !== 0) vma?.header.writeUInt32LE(random.of([0, 2]), 24);
    return 'vdso';
  },
  function file(random, taken) {
    // Every NAME of the file changes, so that they agree.
    const [id, kind] = [random.below(4), random.below(8)];
    const size = random.of([0, 1, 4096, 8192, 2 ** 31]);
    for (const { header } of taken.parts) {
      if (header.length < 40 || header.readUInt32LE(8) !== 4102) continue;
      if (header.readUInt32LE(16) !== id) continue;
      header.writeUInt32LE(size, 24);
      header.writeUInt32LE(kind, 32);
    }
    return 'kind and size of a file';
  },
  function bound(random, taken) {
    const vma = ofType(random, taken, 1024);
    const at = random.of([40, 48]);
    const by = BigInt(random.of([-2, -1, 1, 2, 600])) * 4096n;
    vma?.header.writeBigUInt64LE(BigInt.asUintN(64, vma.header.readBigUInt64LE(at) + by), at);
    return 'bound of a mapping';
  },
  function block(random, taken) {
    const pages = ofType(random, taken, 4098);
    pages?.header.writeUInt32LE(random.below(8), flagsAt(taken.head));
    return 'flags of pages';
  },
  function empty(random, taken) {
    // Turns pages of data into zeros or guards.
    const part = ofType(random, taken, 4098);
    if (part === undefined) return 'nothing';
    part.header.writeUInt16LE(0, 14);
    part.header.writeUInt32LE(random.of([0, 2, 4, 6]), flagsAt(taken.head));
    taken.parts[taken.parts.indexOf(part)] = { ...part, payload: Buffer.alloc(0) };
    return 'emptied';
  },
  function donor(random, taken) {
    const clone = ofType(random, taken, 4099);
    if (clone !== undefined) clone.donor = ofType(random, taken, 1);
    return 'donor';
  },
  function stateName(random, taken) {
    // Other names may be out of order, equal, or no UTF-8.
    const state = ofType(random, taken, 8193);
    if (state !== undefined && state.payload.length > 0) {
      state.payload[random.below(8)] = random.of([0, 0x41, 0x62, 0x7f, 0x80, 0xc3, 0xff]);
    }
    return 'name of a state';
  },
  function stateLength(random, taken) {
    const state = ofType(random, taken, 8193);
    state?.header.writeUInt32LE(random.below(20), random.of([16, 24]));
    return 'length of a state or of its name';
  },
  function version(_random, taken) {
    // The other version: the records are still those of the first one.
    taken.head.writeUInt16LE(isVersion1(taken.head) ? 2 : 1, 6);
    return 'version';
  },
];

const MUTATIONS: readonly Mutation[] = [
  function meaning(random, taken, others) {
    return random.of(MEANINGS)(random, taken, others);
  },
  function meanings(random, taken, others) {
    return [0, 1, 2].map(() => random.of(MEANINGS)(random, taken, others)).join(', ');
  },
  function value(random, taken) {
    const part = random.of(taken.parts);
    // Chooses a field of this object type twice as often as one that every object has.
    const own = part.shape.fields.length > 0 && random.below(3) > 0;
    const field = random.of(own ? part.shape.fields : OBJECT_FIELDS);
    write(part.header, field, otherValue(random, taken, read(part.header, field), field));
    if (field.name === 'source') part.donor = undefined;
    return `field ${field.name}`;
  },
  function head(random, taken) {
    const field = random.of(HEAD_FIELDS);
    write(taken.head, field, otherValue(random, taken, read(taken.head, field), field));
    return `head ${field.name}`;
  },
  function range(random, taken) {
    // Puts two records at the same place, or makes one overlap its neighbour.
    const [from, to] = [random.of(taken.parts), random.of(taken.parts)];
    const named = (part: Part, name: string) => part.shape.fields.find((f) => f.name === name);
    for (const name of random.of([['start'], ['end'], ['start', 'end']])) {
      const [source, target] = [named(from, name), named(to, name)];
      if (source !== undefined && target !== undefined) {
        write(to.header, target, read(from.header, source));
      }
    }
    return 'range of another';
  },
  function remove(random, taken) {
    taken.parts.splice(random.below(taken.parts.length), 1 + random.below(3));
    return 'removed';
  },
  function duplicate(random, taken) {
    const part = random.of(taken.parts);
    taken.parts.splice(place(random, taken), 0, { ...part, header: Buffer.from(part.header) });
    return 'duplicated';
  },
  function swap(random, taken) {
    const { parts } = taken;
    const [a, b] = [random.below(parts.length), random.below(parts.length)];
    [parts[a], parts[b]] = [parts[b]!, parts[a]!];
    return 'swapped';
  },
  function move(random, taken) {
    const moved = taken.parts.splice(random.below(taken.parts.length), 1 + random.below(4));
    taken.parts.splice(place(random, taken), 0, ...moved);
    return 'moved';
  },
  function graft(random, taken, others) {
    const { parts } = random.of(others);
    const from = random.below(parts.length);
    const grafted = parts.slice(from, from + 1 + random.below(6));
    const own = grafted.map((part) => ({ ...part, header: Buffer.from(part.header) }));
    taken.parts.splice(place(random, taken), 0, ...own);
    return 'grafted';
  },
  function payload(random, taken) {
    const at = random.below(taken.parts.length);
    const part = taken.parts[at]!;
    const noise = random.below(2) === 0;
    if (noise && part.payload.length > 0) {
      part.payload[random.below(part.payload.length)] = random.below(256);
      return 'payload noise';
    }
    const bytes = random.of([0, 8, 4096, part.payload.length + 8, part.payload.length - 8, 8200]);
    const resized = Buffer.alloc(Math.max(0, bytes));
    part.payload.copy(resized);
    taken.parts[at] = { ...part, payload: resized };
    return 'payload length';
  },
  function header(random, taken) {
    const at = random.below(taken.parts.length);
    const part = taken.parts[at]!;
    const bytes = random.of([16, 24, 40, part.header.length + 8, 200, 4096, 4104, 65_528]);
    const resized = Buffer.alloc(Math.min(bytes, 65_528));
    part.header.copy(resized);
    resized.writeUInt16LE(resized.length, 12);
    taken.parts[at] = { ...part, header: resized };
    return 'header length';
  },
];

/** What to repair after a mutation. */
interface Mending {
  readonly lengths: boolean;
  readonly counts: boolean;
  readonly recordCrcs: boolean;
  readonly payloadCrcs: boolean;
}

function mendingOf(random: Random): Mending {
  const kind = random.below(8);
  return {
    lengths: kind > 0,
    counts: kind > 2,
    recordCrcs: kind > 0,
    payloadCrcs: kind > 1,
  };
}

/** Sets map_count, page_num and mm_count to match what follows. */
function mendCounts({ head, parts }: Taken): void {
  let [mms, mm, vma]: [number, Part | undefined, Part | undefined] = [0, undefined, undefined];
  for (const part of parts) {
    const type = part.header.readUInt32LE(8);
    const count = (into: Part | undefined, at: number, by: bigint): void => {
      if (into === undefined || into.header.length < at + 8) return;
      const value = into.header.readBigUInt64LE(at) + by;
      into.header.writeBigUInt64LE(BigInt.asUintN(64, value), at);
    };
    if (type === 1) {
      mms++;
      [mm, vma] = [part, undefined];
      if (part.header.length >= 128) part.header.writeBigUInt64LE(0n, 120);
    } else if (type === 1024) {
      count(mm, 120, 1n);
      vma = part;
      if (part.header.length >= 88) part.header.writeBigUInt64LE(0n, 80);
    } else if ((type === 4098 || type === 4099) && part.header.length >= 48) {
      const isGuard = type === 4098 && (part.header.readUInt32LE(flagsAt(head)) & 2) !== 0;
      const bytes = part.header.readBigUInt64LE(24) - part.header.readBigUInt64LE(16);
      if (!isGuard) count(vma, 80, bytes / 4096n);
    }
  }
  head.writeUInt32LE(mms, 32);
}

/** Recomputes the digest of a PAGES record, of the version and kind that the head names. */
function mendDigest(head: Buffer, header: Buffer, payload: Buffer): void {
  if (header.length < 48 || (header[flagsAt(head)]! & 1) === 0) return;
  if (isVersion1(head)) {
    header.writeUInt32LE(crc32(payload), 32);
    return;
  }
  header.fill(0, 32, 40);
  if (head.readUInt32LE(40) === 2) xxh3Outside(payload).copy(header, 32);
  else header.writeUInt32LE(crc32(payload), 32);
}

/** Recomputes the checksums of a STATE: that of its name, and that of its bytes. */
function mendState(header: Buffer, payload: Buffer): void {
  if (header.length < 40) return;
  const named = Math.ceil(header.readUInt32LE(24) / 8) * 8;
  header.writeUInt32LE(crc32(payload.subarray(0, named)), 28);
  header.writeUInt32LE(crc32(payload.subarray(named)), 32);
}

/** Puts the objects back together. */
function putTogether({ head, parts }: Taken, mending: Mending, changed: string): Buffer {
  const offsets = new Map<Part, number>();
  let end = 72;
  for (const part of parts) {
    offsets.set(part, end);
    end += part.header.length + part.payload.length;
  }
  for (const part of parts) {
    const { header, payload, shape, donor } = part;
    if (mending.lengths && changed !== 'field len') {
      header.writeBigUInt64LE(BigInt(header.length + payload.length), 0);
    }
    const source = donor && offsets.get(donor);
    if (source !== undefined && header.length >= 40) {
      header.writeBigUInt64LE(BigInt(source), 32);
    }
    if (!mending.payloadCrcs || shape.payloadCrcAt === 0) continue;
    if (shape === SHAPES.get(8193)) mendState(header, payload);
    else if (shape.crcAt === 40 && shape.payloadCrcAt === 32) mendDigest(head, header, payload);
    else if (header.length > shape.payloadCrcAt + 4) {
      header.writeUInt32LE(crc32(payload), shape.payloadCrcAt);
    }
  }
  if (mending.lengths && changed !== 'head total_len') head.writeBigUInt64LE(BigInt(end), 24);
  const bytes = Buffer.concat([head, ...parts.flatMap((part) => [part.header, part.payload])]);
  if (!mending.recordCrcs) return bytes;
  seal(bytes, 0, 72, 64);
  for (const [{ header, shape }, at] of offsets)
    seal(bytes, at, header.readUInt16LE(12), shape.crcAt);
  return bytes;
}

/** Sets a record_crc over the length that the header states. */
export function seal(bytes: Buffer, at: number, length: number, crcAt: number): void {
  if (at + crcAt + 4 > bytes.length) return;
  bytes.writeUInt32LE(0, at + crcAt);
  bytes.writeUInt32LE(crc32(bytes.subarray(at, at + length)), at + crcAt);
}

/** Damages bytes without regard to records. */
function damageBytes(random: Random, good: Buffer): readonly [Buffer, string] {
  const bytes = Buffer.from(good);
  const at = random.below(bytes.length);
  const length = Math.min(bytes.length - at, 1 + random.below(random.of([4, 64, 5000])));
  switch (random.below(7)) {
    case 0:
      bytes[at]! ^= 1 << random.below(8);
      return [bytes, 'a bit'];
    case 1:
      for (let byte = at; byte < at + length; byte++) bytes[byte] = random.below(256);
      return [bytes, 'noise'];
    case 2:
      return [bytes.fill(random.of([0, 255]), at, at + length), 'filled'];
    case 3:
      bytes.copyWithin(at, random.below(bytes.length - length + 1), bytes.length);
      return [bytes, 'copied within'];
    case 4:
      return [bytes.subarray(0, at), 'cut'];
    case 5:
      return [Buffer.concat([bytes, Buffer.alloc(length, random.below(256))]), 'grown'];
    default:
      return [Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]), 'bytes removed'];
  }
}

/** Returns bytes that were never an image, although some begin with its first four bytes. */
function noise(random: Random): Buffer {
  const bytes = Buffer.alloc(random.below(600));
  for (let at = 0; at < bytes.length; at++) bytes[at] = random.below(256);
  if (random.below(2) === 0) bytes.write('MMCP');
  return bytes;
}

export interface Hostile {
  readonly bytes: Buffer;
  /** A description of the changes. */
  readonly what: string;
  /** Version of the valid image that was changed, or 0 if there was none. */
  readonly version: number;
}

/** Returns hostile bytes made from valid images. */
export function hostileImage(
  random: Random,
  images: readonly Buffer[],
  taken: readonly Taken[],
): Hostile {
  const kind = random.below(20);
  const chosen = random.below(images.length);
  if (kind === 0) return { bytes: noise(random), what: 'nothing but noise', version: 0 };
  const version = images[chosen]!.readUInt16LE(6);
  if (kind < 5) {
    const [bytes, what] = damageBytes(random, images[chosen]!);
    return { bytes, what, version };
  }
  const copy = copyOf(taken[chosen]!);
  const done: string[] = [];
  for (let count = random.of([1, 1, 1, 2, 2, 3, 5]); count > 0 && copy.parts.length > 0; count--) {
    done.push(random.of(MUTATIONS)(random, copy, taken));
  }
  const mending = mendingOf(random);
  const last = done.at(-1) ?? '';
  const isCount = /map_count|page_num|mm_count|u64_13/.test(last);
  if (mending.counts && !isCount) mendCounts(copy);
  return { bytes: putTogether(copy, mending, last), what: done.join(', '), version };
}
