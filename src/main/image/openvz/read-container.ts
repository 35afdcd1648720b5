/**
 * Reads the records of an OpenVZ 6 container file, section by section, and skips the pages. What
 * is not known is skipped by its length and listed.
 *
 *   head │ section { object { object … } … } … │ section TRAILER { tail }
 */
import { Fields } from '../../../shared/formats/cpt/fields.ts';
import {
  checkTrailer,
  decodeItem,
  decodeMajorHeader,
  HEADER_MAX,
  type Item,
  objectName,
  TRAILER_BYTES,
} from '../../../shared/formats/openvz/decode.ts';
import { ITEM, MAJOR_HEADER } from '../../../shared/formats/openvz/fields.ts';
import { OBJECT, SECTION, SECTIONS } from '../../../shared/formats/openvz/records.ts';
import { ImageProblem } from '../../../shared/formats/problem.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import { Yielder } from '../../job/stop.ts';
import type { IndexBudget } from '../index/index-budget.ts';
import type { ByteSource } from '../source/byte-source.ts';
import { LoadedPart } from '../stream/loaded-part.ts';
import { Collector } from './collector.ts';
import type { Container } from './container.ts';

/** The sections that are read, with the only type of object that lies in each of them. */
const READ: ReadonlyMap<number, number> = new Map([
  [SECTION.FILES, OBJECT.FILE],
  [SECTION.TASKS, OBJECT.TASK],
  [SECTION.MM, OBJECT.MM],
  [SECTION.INODE, OBJECT.INODE],
]);

/** The sections that every file needs, with their lengths if they tell nothing. */
const EMPTY: ReadonlyMap<number, number> = new Map([
  [SECTION.FILES_STRUCT, 48],
  [SECTION.FS, 280],
  [SECTION.SIGHAND_STRUCT, 32],
  [SECTION.NAMESPACE, 32],
]);

/** Objects that have others inside, by the type of the object that they lie in (-1: a section). */
const PARENTS: ReadonlyMap<number, readonly number[]> = new Map([
  [OBJECT.FILE, [-1]],
  [OBJECT.TASK, [-1]],
  [OBJECT.MM, [-1]],
  [OBJECT.INODE, [-1]],
  [OBJECT.VMA, [OBJECT.MM]],
]);

/** Objects whose bytes are read, with the most that are. */
const PAYLOADS: ReadonlyMap<number, number> = new Map([
  [OBJECT.NAME, 0x2000],
  [OBJECT.MM_AUXV, 0x1_0000],
  [OBJECT.BITS, 0x1_0000],
]);

/** Objects between two looks at the signal. */
const OBJECTS_PER_LOOK = 256;

/** Throws an ImageProblem, IMAGE_TOO_LARGE beyond the budget, INPUT_FAILED, and AbortError. */
export async function readContainer(
  source: ByteSource,
  budget: IndexBudget,
  signal: AbortSignal | undefined,
): Promise<Container> {
  const walk = new Walk(source, signal);
  try {
    return await read(walk, source, new Collector(budget));
  } finally {
    walk.end();
  }
}

async function read(walk: Walk, source: ByteSource, collector: Collector): Promise<Container> {
  const time = decodeMajorHeader(await walk.bytes(0, MAJOR_HEADER.SIZE), source.bytes);
  const sections = new Map<number, number>();
  const last = source.bytes - TRAILER_BYTES;
  let at: number = MAJOR_HEADER.SIZE;
  while (at < last) {
    const section = await walk.section(at);
    const { type, length } = section;
    if (type === SECTION.TRAILER) {
      throw wrong(at, `the trailer at byte ${at}: bytes follow it, and it must be the last`);
    }
    if (sections.has(type)) throw wrong(at, `section ${type} at byte ${at}: it came before`);
    if (type >= SECTIONS) throw wrong(at, `section ${type} at byte ${at}: there are ${SECTIONS}`);
    sections.set(type, at);
    if (READ.has(type)) await walk.objects(section, collector);
    else if (length !== EMPTY.get(type)) collector.unread.add(`section ${type}`, length);
    at += length;
  }
  if (at !== last) throw truncated(source, at);
  sections.set(SECTION.TRAILER, at);
  const trailer = await walk.section(at);
  if (trailer.type !== SECTION.TRAILER || trailer.length !== TRAILER_BYTES) {
    throw truncated(source, at);
  }
  checkTrailer(await walk.bytes(at, TRAILER_BYTES), source.bytes, sections);
  return { time, ...collector.finish() };
}

function truncated(source: ByteSource, at: number): ImageProblem {
  const { bytes } = source;
  const text = `the OpenVZ file ends at byte ${bytes}, without the trailer that ends every file`;
  return new ImageProblem('IMAGE_TRUNCATED', at, text + adviceOn(source));
}

/** What to do about a file that ends too early. */
function adviceOn({ extraParts }: ByteSource): string {
  return extraParts === undefined ? '' : '; join its parts first, with cat';
}

function wrong(offset: number, message: string): ImageProblem {
  return new ImageProblem('IMAGE_CORRUPT', offset, message);
}

/** An object that is open: others lie in it, up to byte `end`. */
interface Open {
  readonly type: number;
  readonly end: number;
}

class Walk {
  readonly #source: ByteSource;
  readonly #signal: AbortSignal | undefined;
  readonly #part: LoadedPart;
  readonly #fields = new Fields();
  readonly #yielder: Yielder;
  #objects = 0;

  constructor(source: ByteSource, signal: AbortSignal | undefined) {
    this.#source = source;
    this.#signal = signal;
    this.#part = new LoadedPart(source);
    this.#yielder = new Yielder(signal);
  }

  /** Leaves the memory of the walk to the next one. */
  end(): void {
    this.#part.end();
  }

  /** Bytes of the file, fewer only at its end. They are valid until more are asked for. */
  async bytes(at: number, length: number): Promise<Uint8Array> {
    for (;;) {
      const bytes = this.#part.peek(at, length);
      if (bytes !== undefined) return bytes;
      throwIfAborted(this.#signal);
      await this.#part.load(at);
    }
  }

  /** The header of a section. IMAGE_TRUNCATED if it does not end before the trailer. */
  async section(at: number): Promise<Item> {
    const { bytes: end } = this.#source;
    const bytes = await this.bytes(at, ITEM.SIZE);
    const length = Buffer.from(bytes).readBigUInt64LE(ITEM.NEXT);
    if (length > BigInt(end - at) && length % 8n === 0n) {
      const text = `section at byte ${at}: it has ${length} bytes, and the file ends at byte ${end}`;
      throw new ImageProblem('IMAGE_TRUNCATED', at, text + adviceOn(this.#source));
    }
    return decodeItem(bytes, at, end, 'section');
  }

  /** Gives every object of a section to the collector, but not what lies in unknown objects. */
  async objects(section: Item, collector: Collector): Promise<void> {
    const open: Open[] = [];
    const sectionEnd = section.offset + section.length;
    for (let at = section.offset + section.headerLength; at < sectionEnd; ) {
      while (open.at(-1)?.end === at) open.pop();
      const parent = open.at(-1) ?? { type: -1, end: sectionEnd };
      const header = this.#part.peek(at, HEADER_MAX) ?? (await this.bytes(at, HEADER_MAX));
      if (++this.#objects % OBJECTS_PER_LOOK === 0) throwIfAborted(this.#signal);
      if (this.#yielder.isDue()) await this.#yielder.yield();
      const item = decodeItem(header, at, parent.end);
      at += item.length;
      if (parent.type === -1 && item.type !== READ.get(section.type)) {
        collector.unread.add(`${objectName(item.type)} in section ${section.type}`, item.length);
      } else if (PARENTS.get(item.type)?.includes(parent.type) === true) {
        collector.begin(item, this.#load(header, item), header);
        open.push({ type: item.type, end: at });
        at = item.offset + item.headerLength;
      } else {
        const fields = this.#load(header, item);
        const payload = await this.#payload(item);
        collector.add(item, parent.type, fields, payload);
      }
    }
  }

  #load(header: Uint8Array, { headerLength, offset, type }: Item): Fields {
    const fields = this.#fields;
    fields.load(header.subarray(0, Math.min(headerLength, HEADER_MAX)), offset, objectName(type));
    return fields;
  }

  /** The bytes behind the header, if this type of object has any that are read. */
  async #payload({ type, offset, length, headerLength }: Item): Promise<Uint8Array> {
    const most = PAYLOADS.get(type);
    if (most === undefined) return NOTHING;
    const bytes = length - headerLength;
    if (bytes > most) {
      const where = `${objectName(type)} at byte ${offset}`;
      throw wrong(offset, `${where}: ${bytes} bytes, expected at most ${most}`);
    }
    return bytes === 0 ? NOTHING : await this.bytes(offset + headerLength, bytes);
  }
}

const NOTHING = new Uint8Array();
