/**
 * A second reader of native images, written from docs/IMAGE_FORMAT.md alone. It is slow and simple:
 * one pass over bytes in memory, with every page an entry of a map. The real reader must refuse
 * what this one refuses, accept what it accepts, and agree on every page.
 */
import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { xxh3Outside } from '../reference/outside-xxh3.ts';
import { fromZstd } from './zstd.ts';

const PAGE = 4096;
const GRANULE = 2 * 1024 * 1024;
const USER_END = 2 ** 47 - PAGE;
const CPT_NULL = 0xffff_ffff_ffff_ffffn;
const MAYSHARE = 0x80;
const PFNMAP = 0x400;
const IO = 0x4000;
const HUGETLB = 0x40_0000;

/** Why an image is refused. */
export class Refused extends Error {}

export interface SlowPage {
  readonly kind: 'copy' | 'zero' | 'clone' | 'guard';
  /** copy: offset in the image · clone: offset of the donor's MM. */
  readonly source: number;
  /** copy: start of the payload that contains the page. */
  readonly payloadAt: number;
  readonly isFilePage: boolean;
  /** Of a page in a compressed block, if that is whole. */
  readonly bytes: Buffer | undefined;
}

export interface SlowFile {
  readonly id: number;
  readonly path: Buffer;
  readonly size: number;
  readonly kind: number; // bits: deleted, memory-backed, incomplete
}

export interface SlowVma {
  readonly start: number;
  readonly end: number;
  readonly flags: number;
  readonly pgoff: number;
  readonly type: number;
  readonly anonvmaid: number;
  file: SlowFile | null;
  /** Keyed by address. */
  readonly pages: Map<number, SlowPage>;
}

export interface SlowMm {
  readonly offset: number;
  readonly vmas: SlowVma[];
  auxv: Buffer | null;
  notes: Buffer | null;
  ldt: Buffer | null;
}

/** A stretch of the image that one record or payload fills; together they map the image. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly what: 'head' | 'record' | 'payload';
  readonly type: string;
  readonly mm: number;
  /** Range of the mapping or of the block; null if the record has none. */
  readonly vma: readonly [start: number, end: number] | null;
  readonly pages: readonly [start: number, end: number] | null;
}

/** State beside memory, with its name. */
export interface SlowState {
  readonly name: Buffer;
  readonly bytes: Buffer;
}

export interface SlowImage {
  readonly states: readonly SlowState[];
  readonly mms: readonly SlowMm[];
  readonly stretches: readonly Stretch[];
  /** Starts of the payloads with a wrong crc. (The payload of a NAME is checked earlier.) */
  readonly badPayloads: readonly number[];
}

interface Kind {
  readonly name: string;
  readonly crcAt: number;
  readonly contents: readonly number[];
}

const KINDS: ReadonlyMap<number, Kind> = new Map([
  [1, { name: 'MM', crcAt: 128, contents: [1] }],
  [1024, { name: 'VMA', crcAt: 88, contents: [1] }],
  [1051, { name: 'MM_AUXV', crcAt: 20, contents: [2] }],
  [4098, { name: 'PAGES', crcAt: 40, contents: [0, 2] }],
  [4099, { name: 'COPYPAGES', crcAt: 40, contents: [0] }],
  [4102, { name: 'NAME', crcAt: 40, contents: [3] }],
  [4103, { name: 'BITS', crcAt: 24, contents: [7] }],
  [8192, { name: 'CORE_NOTES', crcAt: 20, contents: [2] }],
  [8193, { name: 'STATE', crcAt: 36, contents: [2] }],
]);

function refuse(condition: boolean, why: string): asserts condition {
  if (!condition) throw new Refused(why);
}

/** One object; its header is padded with zeros. */
interface SlowObject {
  readonly kind: Kind;
  readonly offset: number;
  readonly header: Buffer;
  readonly payload: Buffer;
  readonly payloadAt: number;
  readonly content: number;
}

function number(header: Buffer, at: number): number {
  const value = header.readBigUInt64LE(at);
  refuse(value < 2n ** 53n, `a number at ${at} that is none`);
  return Number(value);
}

function slowObject(bytes: Buffer, offset: number): SlowObject {
  refuse(offset + 16 <= bytes.length, 'cut');
  const kind = KINDS.get(bytes.readUInt32LE(offset + 8));
  refuse(kind !== undefined, 'type');
  const headerBytes = bytes.readUInt16LE(offset + 12);
  refuse(headerBytes >= 16 && headerBytes <= 4096 && headerBytes % 8 === 0, 'header length');
  refuse(offset + headerBytes <= bytes.length, 'cut header');
  const header = Buffer.alloc(Math.max(headerBytes, 136));
  bytes.copy(header, 0, offset, offset + headerBytes);
  const stored = header.readUInt32LE(kind.crcAt);
  const covered = Buffer.from(header.subarray(0, headerBytes));
  if (kind.crcAt < headerBytes) covered.writeUInt32LE(0, kind.crcAt);
  refuse(crc32(covered) === stored, 'record_crc');
  const length = number(header, 0);
  refuse(length >= headerBytes && length % 8 === 0, 'length');
  refuse(offset + length <= bytes.length, 'cut payload');
  const content = header.readUInt16LE(14);
  refuse(kind.contents.includes(content), 'content');
  const payloadAt = offset + headerBytes;
  const payload = bytes.subarray(payloadAt, offset + length);
  return { kind, offset, header, payload, payloadAt, content };
}

class SlowReader {
  readonly mms: SlowMm[] = [];
  readonly stretches: Stretch[] = [{ ...NOWHERE, from: 0, to: 72, what: 'head', type: 'head' }];
  readonly badPayloads: number[] = [];
  readonly states: SlowState[] = [];
  readonly #version: number;
  /** 0 none, 1 crc32, 2 xxh3. */
  readonly #digest: number;
  /** Blocks may be compressed. */
  readonly #mayPack: boolean;
  readonly #files: SlowFile[] = [];
  readonly #filePages = new Set<string>();
  readonly #counts = { maps: 0, pages: 0 };
  /** What may come next, according to the diagram of the stream. */
  #mm: SlowMm | undefined;
  #vma: SlowVma | undefined;
  #expectsName = false;
  #ended = false;
  #filledTo = 0;

  constructor(version: number, digest: number, mayPack: boolean) {
    this.#mayPack = mayPack;
    this.#version = version;
    this.#digest = digest;
  }

  take(object: SlowObject): void {
    const { name } = object.kind;
    const isBare = name === 'MM' || name === 'VMA' || name === 'COPYPAGES';
    refuse(!isBare || object.payload.length === 0, 'payload that no crc covers');
    refuse(this.#expectsName === (name === 'NAME'), 'NAME or none');
    refuse(!this.#ended || name === 'MM', 'behind BITS');
    if (name === 'STATE') {
      this.#takeState(object);
      return;
    }
    if (name === 'MM') this.#takeMm(object);
    else {
      refuse(this.#mm !== undefined, 'before the first MM');
      if (name === 'VMA') this.#takeVma(object, this.#mm);
      else if (name === 'NAME') this.#takeName(object);
      else if (name === 'PAGES') this.#takePages(object);
      else if (name === 'COPYPAGES') this.#takeClone(object);
      else this.#takeBlob(object, this.#mm);
    }
    this.#note(object);
  }

  end(mmCount: number): void {
    this.#closeMm();
    refuse(!this.#expectsName, 'no NAME');
    refuse(mmCount === this.mms.length, 'mm_count');
  }

  #note(object: SlowObject): void {
    const { offset, payloadAt, payload, header } = object;
    const isBlock = object.kind.name === 'PAGES' || object.kind.name === 'COPYPAGES';
    const place = {
      type: object.kind.name,
      mm: this.mms.length - 1,
      vma: this.#vma === undefined ? null : ([this.#vma.start, this.#vma.end] as const),
      pages: isBlock ? ([number(header, 16), number(header, 24)] as const) : null,
    };
    this.stretches.push({ ...place, from: offset, to: payloadAt, what: 'record' });
    const to = payloadAt + payload.length;
    if (to > payloadAt) this.stretches.push({ ...place, from: payloadAt, to, what: 'payload' });
  }

  #takeState({ header, offset, payload, payloadAt }: SlowObject): void {
    refuse(this.#version === 2, 'STATE in version 1');
    refuse(this.#mm === undefined, 'STATE behind an MM');
    const [bytes, nameBytes] = [number(header, 16), header.readUInt32LE(24)];
    refuse(nameBytes >= 1 && nameBytes <= 255, 'length of a name');
    const begin = Math.ceil(nameBytes / 8) * 8;
    refuse(payload.length === begin + Math.ceil(bytes / 8) * 8, 'length of a state');
    refuse(crc32(payload.subarray(0, begin)) === header.readUInt32LE(28), 'crc of a state name');
    const name = payload.subarray(0, nameBytes);
    refuse(Buffer.from(name.toString()).equals(name), 'UTF-8');
    refuse(
      payload.subarray(nameBytes, begin).every((byte) => byte === 0),
      'padding of a name',
    );
    const before = this.states.at(-1)?.name;
    refuse(before === undefined || Buffer.compare(before, name) < 0, 'order of states');
    refuse(this.states.length < 1024, 'too many states');
    this.states.push({ name, bytes: payload.subarray(begin, begin + bytes) });
    const at = payloadAt + begin;
    if (crc32(payload.subarray(begin)) !== header.readUInt32LE(32)) this.badPayloads.push(at);
    const place = { mm: -1, vma: null, pages: null };
    const named = { ...place, type: 'STATE NAME', what: 'payload' } as const;
    this.stretches.push({ ...place, from: offset, to: payloadAt, what: 'record', type: 'STATE' });
    this.stretches.push({ ...named, from: payloadAt, to: at });
    const end = payloadAt + payload.length;
    if (end > at) this.stretches.push({ ...named, type: 'STATE', from: at, to: end });
  }

  #takeMm({ header, offset }: SlowObject): void {
    this.#closeMm();
    refuse(this.mms.length < 1024, 'too many mms');
    for (let at = 16; at < 128; at += 8) number(header, at);
    this.#mm = { offset, vmas: [], auxv: null, notes: null, ldt: null };
    this.mms.push(this.#mm);
    this.#counts.maps = number(header, 120);
    this.#ended = false;
  }

  #closeMm(): void {
    this.#closeVma();
    if (this.#mm === undefined) return;
    refuse(this.#mm.vmas.length === this.#counts.maps, 'map_count');
  }

  #closeVma(): void {
    const vma = this.#vma;
    this.#vma = undefined;
    if (vma === undefined) return;
    const stored = [...vma.pages.values()].filter(({ kind }) => kind !== 'guard');
    refuse(stored.length === this.#counts.pages, 'page_num');
  }

  #takeVma({ header }: SlowObject, mm: SlowMm): void {
    this.#closeVma();
    const file = header.readBigUInt64LE(16);
    refuse(file === 0n || file === CPT_NULL, 'file');
    const vma: SlowVma = {
      type: header.readUInt32LE(24),
      anonvmaid: number(header, 32),
      start: number(header, 40),
      end: number(header, 48),
      flags: number(header, 56),
      pgoff: number(header, 72),
      file: null,
      pages: new Map(),
    };
    refuse(vma.flags < 2 ** 32 && (vma.flags & 0x88) !== 8, 'flags');
    refuse(isRange(vma.start, vma.end), 'range');
    refuse(vma.start >= (mm.vmas.at(-1)?.end ?? 0), 'order of VMAs');
    refuse(vma.type <= 2 && (vma.type === 1) === (file === 0n), 'vma_type');
    refuse(header.readUInt32LE(28) === (vma.anonvmaid === 0 ? 0 : 1), 'anonvma');
    refuse(vma.pgoff + (vma.end - vma.start) / PAGE <= 2 ** 52, 'pgoff');
    this.#counts.pages = number(header, 80);
    this.#expectsName = file === 0n;
    this.#vma = vma;
    this.#filledTo = vma.start;
    mm.vmas.push(vma);
  }

  #takeName({ header, payload }: SlowObject): void {
    this.#expectsName = false;
    refuse(payload.length <= 8192, 'long name');
    refuse(crc32(payload) === header.readUInt32LE(36), 'crc of a name');
    const end = payload.indexOf(0);
    refuse(end > 0 && payload.subarray(end).every((byte) => byte === 0), 'name');
    const path = Buffer.from(payload.subarray(0, end));
    const kind = header.readUInt32LE(32) & 7;
    const file = { id: number(header, 16), size: number(header, 24), kind, path };
    const known = this.#files[file.id - 1];
    if (known === undefined) {
      refuse(file.id === this.#files.length + 1, 'file_id');
      this.#files.push(file);
    } else {
      refuse(known.size === file.size && known.kind === kind && known.path.equals(path), 'file');
    }
    this.#vma!.file = known ?? file;
  }

  /** Returns the range of a block, for PAGES and COPYPAGES alike. */
  #range({ header }: SlowObject): readonly [start: number, end: number, vma: SlowVma] {
    const vma = this.#vma;
    refuse(vma !== undefined, 'block before the first VMA');
    const start = number(header, 16);
    const end = number(header, 24);
    refuse(isRange(start, end), 'range of a block');
    refuse(start >= vma.start && end <= vma.end && start >= this.#filledTo, 'place of a block');
    refuse(Math.floor(start / GRANULE) === Math.floor((end - 1) / GRANULE), '2 MiB');
    this.#filledTo = end;
    return [start, end, vma];
  }

  #takePages(object: SlowObject): void {
    const { header, payload, content } = object;
    const [start, end, vma] = this.#range(object);
    const flags = header.readUInt32LE(this.#version === 1 ? 36 : 44);
    const [hasData, isGuard, isFilePage] = [content === 2, (flags & 2) !== 0, (flags & 4) !== 0];
    const isPacked = (flags & 16) !== 0;
    const pad = flags >>> 8;
    refuse(!isPacked || (this.#mayPack && hasData && pad < 8), 'a compressed block');
    const packed = payload.length - pad;
    const isShorter = packed > 0 && payload.length < end - start;
    refuse(isPacked ? isShorter : payload.length === (hasData ? end - start : 0), 'PAGES');
    const rest = isPacked ? flags & ~(16 | (7 << 8)) : flags;
    refuse(rest < 8 && !(hasData && isGuard), 'flags of PAGES');
    const isPadded = payload.subarray(packed).every((byte) => byte === 0);
    const unpacked =
      isPacked && isPadded ? fromZstd(payload.subarray(0, packed), end - start) : null;
    const pages = isPacked ? unpacked : payload;
    if (pages === null) this.badPayloads.push(object.payloadAt);
    refuse(((flags & 1) !== 0) === (hasData && this.#digest !== 0), 'digest there or not');
    const isLost = vma.file !== null && (vma.file.kind & 3) !== 0;
    const mayHaveFilePages = isLost && (vma.flags & MAYSHARE) === 0;
    refuse(!isFilePage || (mayHaveFilePages && !isGuard), 'file pages');
    if ((flags & 1) !== 0 && pages !== null) this.#checkPages(object, pages);
    const kind = hasData ? 'copy' : isGuard ? 'guard' : 'zero';
    for (let at = start; at < end; at += PAGE) {
      const source = hasData ? object.payloadAt + (at - start) : 0;
      const bytes = unpacked?.subarray(at - start, at - start + PAGE);
      vma.pages.set(at, { kind, source, payloadAt: object.payloadAt, isFilePage, bytes });
      if (isLost && !isGuard && (isFilePage || !mayHaveFilePages)) this.#takeFilePage(vma, at);
    }
  }

  /** Checks that a page of a memory-backed or deleted file is stored once per image. */
  #takeFilePage({ file, pgoff, start }: SlowVma, at: number): void {
    const page = `page ${pgoff + (at - start) / PAGE} of file ${file?.id}`;
    refuse(!this.#filePages.has(page), `${page} twice`);
    this.#filePages.add(page);
  }

  #takeClone(object: SlowObject): void {
    const [start, end, vma] = this.#range(object);
    const source = number(object.header, 32);
    refuse((vma.flags & MAYSHARE) === 0, 'shared clone');
    const donor = this.mms.slice(0, -1).find(({ offset }) => offset === source);
    refuse(donor !== undefined, 'donor');
    for (let at = start; at < end; at += PAGE) {
      const given = vmaAt(donor, at);
      const page = given?.pages.get(at);
      refuse(page?.kind === 'copy' && !page.isFilePage, 'what the donor gives');
      refuse(given !== undefined && (given.flags & MAYSHARE) === 0, 'shared donor');
      refuse(vma.anonvmaid !== 0 && vma.anonvmaid === given.anonvmaid, 'anonvmaid');
      const bytes = undefined;
      vma.pages.set(at, { kind: 'clone', source, payloadAt: 0, isFilePage: false, bytes });
    }
  }

  #takeBlob(object: SlowObject, mm: SlowMm): void {
    const { header, payload, kind } = object;
    if (kind.name === 'BITS') {
      refuse(header.readUInt32LE(16) === payload.length, 'size of BITS');
      refuse(payload.length > 0 && payload.length <= 65_536 && payload.length % 8 === 0, 'LDT');
      this.#closeVma();
      mm.ldt = payload;
      this.#ended = true;
      this.#checkPayload(object, header.readUInt32LE(20));
      return;
    }
    refuse(mm.vmas.length === 0 && mm.notes === null, 'order');
    this.#checkPayload(object, header.readUInt32LE(16));
    if (kind.name === 'MM_AUXV') {
      refuse(mm.auxv === null && payload.length <= 65_536, 'auxv');
      mm.auxv = payload;
    } else {
      refuse(payload.length <= 16 * 1024 * 1024, 'notes');
      mm.notes = payload;
    }
  }

  #checkPages({ header, payloadAt }: SlowObject, pages: Buffer): void {
    const digest = Buffer.alloc(8);
    if (this.#digest === 2) xxh3Outside(pages).copy(digest);
    else digest.writeUInt32LE(crc32(pages));
    const stored = header.subarray(32, this.#version === 1 ? 36 : 40);
    if (!digest.subarray(0, stored.length).equals(stored)) this.badPayloads.push(payloadAt);
  }

  #checkPayload({ payload, payloadAt }: SlowObject, crc: number): void {
    if (crc32(payload) !== crc) this.badPayloads.push(payloadAt);
  }
}

const NOWHERE = { mm: -1, vma: null, pages: null } as const;

function isRange(start: number, end: number): boolean {
  return start % PAGE === 0 && end % PAGE === 0 && start < end && end <= USER_END;
}

/** Reads a whole image. Throws Refused where docs/IMAGE_FORMAT.md forbids it. */
export function readSlowly(bytes: Buffer): SlowImage {
  refuse(bytes.length >= 4 && bytes.toString('latin1', 0, 4) === 'MMCP', 'magic');
  refuse(bytes.length >= 72, 'cut head');
  const head = Buffer.from(bytes.subarray(0, 72));
  head.writeUInt32LE(0, 64);
  refuse(crc32(head) === bytes.readUInt32LE(64), 'crc of the head');
  const version = head.readUInt16LE(6);
  refuse(version === 1 || version === 2, 'version');
  const fixed = [4, 8, 10].map((at) => head.readUInt16LE(at));
  refuse(fixed.join() === '72,1,12', 'architecture, page size');
  refuse(number(head, 24) === bytes.length, 'total_len');
  const mmCount = head.readUInt32LE(32);
  refuse(mmCount <= 1024, 'mm_count');
  const digest = version === 1 ? ~(head.readUInt32LE(12) >> 1) & 1 : head.readUInt32LE(40);
  refuse(digest <= 2, 'digest');
  refuse(version === 1 || head.subarray(48, 64).equals(Buffer.alloc(16)), 'parent');
  const reader = new SlowReader(
    version,
    digest,
    version === 2 && (head.readUInt32LE(12) & 8) !== 0,
  );
  for (let offset = 72; offset < bytes.length; ) {
    const object = slowObject(bytes, offset);
    reader.take(object);
    offset = object.payloadAt + object.payload.length;
  }
  reader.end(mmCount);
  const { states, mms, stretches, badPayloads } = reader;
  return { states, mms, stretches, badPayloads };
}

export function vmaAt(mm: SlowMm, address: number): SlowVma | undefined {
  return mm.vmas.find(({ start, end }) => start <= address && address < end);
}

/**
 * What a page reads as: its bytes, null if the image does not know them, or 'damaged' if the
 * payload around it has a wrong checksum.
 */
export type SlowContent = Buffer | null | 'damaged';

export function pageSlowly(
  bytes: Buffer,
  image: SlowImage,
  mm: SlowMm,
  address: number,
): SlowContent {
  const { mms } = image;
  const vma = vmaAt(mm, address);
  if (vma === undefined) return null;
  const page = vma.pages.get(address);
  if (page !== undefined) return contentOf(bytes, image, page, address);
  if ((vma.flags & (IO | PFNMAP)) !== 0) return null;
  const { file } = vma;
  if (file !== null && (file.kind & 3) !== 0) {
    const index = vma.pgoff + (address - vma.start) / PAGE;
    const stored = mms.flatMap((other) => storedOf(other, file, index));
    if (stored.length > 1) throw new Error(`page ${index} of file ${file.id} twice`);
    if (stored.length === 1) return contentOf(bytes, image, stored[0]!, address);
  }
  if ((vma.flags & HUGETLB) !== 0) return null;
  if (file !== null && vma.pgoff * PAGE + (address - vma.start) >= file.size) return null;
  const isKnown = file === null || (file.kind & 6) === 2; // memory-backed, not incomplete
  return isKnown ? Buffer.alloc(PAGE) : null;
}

/** Reads a page of an image that is not damaged. */
export function wholePageSlowly(
  bytes: Buffer,
  image: SlowImage,
  mm: SlowMm,
  address: number,
): Buffer | null {
  const content = pageSlowly(bytes, image, mm, address);
  if (content === 'damaged') throw new Error(`the page at 0x${address.toString(16)} is damaged`);
  return content;
}

/** Returns the pages of a file that an mm stores for it, without guards, which belong to the mm. */
function storedOf(mm: SlowMm, file: SlowFile, index: number): SlowPage[] {
  return mm.vmas.flatMap((vma) => {
    if (vma.file?.id !== file.id || index < vma.pgoff) return [];
    const page = vma.pages.get(vma.start + (index - vma.pgoff) * PAGE);
    const isFiles = (vma.flags & MAYSHARE) !== 0 || page?.isFilePage === true;
    return page !== undefined && isFiles && page.kind !== 'guard' ? [page] : [];
  });
}

function contentOf(bytes: Buffer, image: SlowImage, page: SlowPage, address: number): SlowContent {
  if (page.kind === 'guard') return null;
  if (page.kind === 'zero') return Buffer.alloc(PAGE);
  if (page.kind === 'copy') {
    if (image.badPayloads.includes(page.payloadAt)) return 'damaged';
    return page.bytes ?? bytes.subarray(page.source, page.source + PAGE);
  }
  const donor = image.mms.find(({ offset }) => offset === page.source)!;
  return contentOf(bytes, image, vmaAt(donor, address)!.pages.get(address)!, address);
}

/**
 * Computes the id of an image: the start of the sha256 over the record_crc of the head and all
 * records.
 */
export function idSlowly(bytes: Buffer, { stretches }: SlowImage): string {
  const crcAt = new Map([...KINDS.values()].map((kind) => [kind.name, kind.crcAt]));
  const hash = createHash('sha256');
  for (const { from, what, type } of stretches) {
    if (what === 'payload') continue;
    const at = from + (what === 'head' ? 64 : crcAt.get(type)!);
    hash.update(bytes.subarray(at, at + 4));
  }
  return hash.digest('hex').slice(0, 32);
}
