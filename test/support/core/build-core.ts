/** Core files as other programs write them, built from the tables of elf(5) alone. */

export interface BuiltSegment {
  readonly address: bigint;
  readonly flags: number;
  readonly bytes: bigint;
  /** What the file has of it. */
  readonly content: Buffer;
}

export interface BuiltNote {
  readonly owner: string;
  readonly type: number;
  readonly payload: Buffer;
}

/** How a core is laid out. */
export interface CoreLayout {
  /** Byte of the file modulo 4096 at which pages begin. */
  readonly remainder?: number;
  /** Whether the number of segments is in section header 0. */
  readonly isExtended?: boolean;
}

function words(...values: readonly (number | bigint)[]): Buffer {
  return Buffer.from(BigUint64Array.from(values.map(BigInt)).buffer);
}

export function note({ owner, type, payload }: BuiltNote): Buffer {
  const pad = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
  const header = Buffer.alloc(12);
  header.writeUInt32LE(owner.length + 1, 0);
  header.writeUInt32LE(payload.length, 4);
  header.writeUInt32LE(type, 8);
  return Buffer.concat([header, pad(Buffer.from(`${owner}\0`)), pad(payload)]);
}

/** NT_AUXV with these pairs. */
export function auxvNote(...pairs: readonly (readonly [number, bigint])[]): BuiltNote {
  return { owner: 'CORE', type: 6, payload: words(...pairs.flat(), 0, 0) };
}

/** NT_FILE, with offsets in pages. */
export function fileNote(
  ranges: readonly (readonly [start: bigint, end: bigint, page: bigint, path: string])[],
): BuiltNote {
  const numbers = ranges.flatMap((range) => range.slice(0, 3) as bigint[]);
  const names = ranges.map(([, , , path]) => Buffer.from(`${path}\0`));
  const payload = Buffer.concat([words(ranges.length, 4096, ...numbers), ...names]);
  return { owner: 'CORE', type: 0x4649_4c45, payload };
}

/** NT_PRSTATUS of a thread, with its registers in the order of struct user_regs_struct. */
export function threadNote(id: number, registers: readonly bigint[], signal = 0): BuiltNote {
  const payload = Buffer.alloc(336);
  payload.writeUInt16LE(signal, 12);
  payload.writeUInt32LE(id, 32);
  words(...registers).copy(payload, 112);
  return { owner: 'CORE', type: 1, payload };
}

function programHeader(
  type: number,
  flags: number,
  offset: number,
  address: bigint,
  fileBytes: number,
  bytes: bigint,
): Buffer {
  const kind = Buffer.alloc(8);
  kind.writeUInt32LE(type, 0);
  kind.writeUInt32LE(flags, 4);
  return Buffer.concat([kind, words(offset, address, 0, fileBytes, bytes, type === 4 ? 4 : 4096)]);
}

/** Builds the bytes of a core: header, program headers, notes, pages. */
export function buildCore(
  segments: readonly BuiltSegment[],
  notes: readonly BuiltNote[],
  { remainder = 0, isExtended = false }: CoreLayout = {},
): Buffer {
  const count = segments.length + 1;
  const noteBytes = Buffer.concat(notes.map(note));
  const sections = isExtended ? 64 : 0;
  const notesAt = 64 + count * 56 + sections;
  let at = Math.ceil((notesAt + noteBytes.length) / 4096) * 4096 + remainder;
  const pagesAt = at;
  const headers = [programHeader(4, 0, notesAt, 0n, noteBytes.length, 0n)];
  for (const { address, flags, bytes, content } of segments) {
    headers.push(programHeader(1, flags, at, address, content.length, bytes));
    at += content.length;
  }
  const head = Buffer.alloc(64);
  head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
  head.writeUInt16LE(4, 16);
  head.writeUInt16LE(62, 18);
  head.writeUInt32LE(1, 20);
  words(64, isExtended ? 64 + count * 56 : 0).copy(head, 32);
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(isExtended ? 0xffff : count, 56);
  head.writeUInt16LE(64, 58);
  const section = Buffer.alloc(sections);
  if (isExtended) section.writeUInt32LE(count, 44);
  const front = Buffer.concat([head, ...headers, section, noteBytes]);
  const gap = Buffer.alloc(pagesAt - front.length);
  return Buffer.concat([front, gap, ...segments.map(({ content }) => content)]);
}
