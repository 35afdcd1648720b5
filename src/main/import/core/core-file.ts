/** An ELF core file that is open: its segments, its notes, and its bytes. */
import type { BigIntStats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { MmdumpError } from '../../../shared/errors.ts';
import { decodeFileNote, type FileRange } from '../../../shared/formats/elf/file-note.ts';
import {
  decodeHeader,
  decodeSegmentCount,
  ELF_HEADER,
  PN_XNUM,
  SECTION_HEADER,
  SEGMENT_BYTES,
} from '../../../shared/formats/elf/header.ts';
import {
  CORE_NOTE_TYPE,
  findNote,
  isCore,
  joinBytes,
  listNotes,
  type Note,
  normalNotes,
} from '../../../shared/formats/elf/notes.ts';
import {
  assertAuxv,
  decodeThread,
  type ThreadStatus,
} from '../../../shared/formats/elf/process-notes.ts';
import { SEGMENTS_MAX, SegmentTable } from '../../../shared/formats/elf/segments.ts';
import { ImageProblem, problemError } from '../../../shared/formats/problem.ts';
import { MiB } from '../../../shared/page.ts';
import { FileSource, openFile } from '../../image/source/byte-source.ts';
import type { Yielder } from '../../job/stop.ts';

/** Program headers that are read in one piece. */
const HEADERS_AT_ONCE = Math.floor(MiB / SEGMENT_BYTES);

/** What a core says about its process. */
export interface CoreContents {
  /** Ascending by address. */
  readonly segments: SegmentTable;
  /** All notes as one list, padded to multiples of 4. */
  readonly notes: Uint8Array;
  readonly files: readonly FileRange[];
  readonly auxv: Uint8Array;
  readonly threads: readonly ThreadStatus[];
}

class CoreSource extends FileSource {
  override readonly name: string;

  constructor(path: string, handle: FileHandle, bytes: number) {
    super(path, handle, bytes);
    this.name = `core '${path}'`;
  }
}

/** A core file. */
export class CoreFile {
  readonly path: string;
  readonly handle: FileHandle;
  /** Its length. */
  readonly bytes: number;
  readonly #source: CoreSource;
  readonly #stats: BigIntStats;

  private constructor(path: string, handle: FileHandle, bytes: number, stats: BigIntStats) {
    this.path = path;
    this.handle = handle;
    this.bytes = bytes;
    this.#source = new CoreSource(path, handle, bytes);
    this.#stats = stats;
  }

  /** Opens a file. Rejects with INPUT_FAILED. */
  static async open(path: string): Promise<CoreFile> {
    const { handle, bytes } = await openFile(path);
    return new CoreFile(path, handle, bytes, await handle.stat({ bigint: true }));
  }

  /** Its name for messages. */
  get name(): string {
    return this.#source.name;
  }

  /** Whether the file system has allocated fewer bytes than the file is long. */
  get isSparse(): boolean {
    return Number(this.#stats.blocks) * 512 < this.bytes;
  }

  /** Reads exactly `length` bytes from `offset` on. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const into = new Uint8Array(length);
    await this.#source.read(into, offset);
    return into;
  }

  /** Rejects with INPUT_FAILED if somebody has written to the file since it was opened. */
  async assertUnchanged(): Promise<void> {
    const { size, mtimeNs } = await this.handle.stat({ bigint: true });
    if (size === this.#stats.size && mtimeNs === this.#stats.mtimeNs) return;
    const reason = 'it was changed while its pages were in use';
    throw new MmdumpError('INPUT_FAILED', `${this.name}: ${reason}`, { path: this.path, reason });
  }

  /** Reads everything but the pages. Rejects with IMAGE_* codes. */
  async contents(yielder: Yielder): Promise<CoreContents> {
    try {
      const segments = await this.#segments(yielder);
      return { segments, ...(await this.#notes(segments)) };
    } catch (error) {
      throw error instanceof ImageProblem ? problemError(this.name, error.problem) : error;
    }
  }

  async #segments(yielder: Yielder): Promise<SegmentTable> {
    const header = decodeHeader(await this.read(0, Math.min(ELF_HEADER.SIZE, this.bytes)));
    const { phoff, phnum, shoff } = header;
    const count = phnum === PN_XNUM ? await this.#segmentCount(shoff) : phnum;
    if (count > SEGMENTS_MAX) {
      const text = `${this.name}: it has ${count} segments, and ${SEGMENTS_MAX} are the most`;
      throw new MmdumpError('IMAGE_TOO_LARGE', text, { path: this.path });
    }
    this.#assertInside(phoff, count * SEGMENT_BYTES, 'its program headers');
    const segments = new SegmentTable(count);
    for (let done = 0; done < count; done += HEADERS_AT_ONCE) {
      if (done > 0) await yielder.yield();
      const position = phoff + done * SEGMENT_BYTES;
      const length = Math.min(HEADERS_AT_ONCE, count - done) * SEGMENT_BYTES;
      segments.addHeaders(await this.read(position, length), position, this.bytes);
    }
    segments.sort();
    return segments;
  }

  async #segmentCount(shoff: number): Promise<number> {
    this.#assertInside(shoff, SECTION_HEADER.SIZE, 'its section header');
    return decodeSegmentCount(await this.read(shoff, SECTION_HEADER.SIZE));
  }

  #assertInside(offset: number, length: number, what: string): void {
    if (offset + length <= this.bytes) return;
    const text = `${what} would end at byte ${offset + length}, and the file ends at ${this.bytes}`;
    throw new ImageProblem('IMAGE_TRUNCATED', offset, text);
  }

  async #notes(segments: SegmentTable): Promise<Omit<CoreContents, 'segments'>> {
    const parts: Uint8Array[] = [];
    for (const { offset, bytes, align } of segments.notes) {
      parts.push(normalNotes(await this.read(offset, bytes), align, offset));
    }
    const at = segments.notes[0]?.offset ?? 0;
    const found = parts.flatMap((part) => listNotes(part, at));
    const file = findNote(found, CORE_NOTE_TYPE.FILE);
    const auxv = findNote(found, CORE_NOTE_TYPE.AUXV);
    if (auxv !== undefined) assertAuxv(auxv.payload, at);
    return {
      notes: joinBytes(parts),
      files: file === undefined ? [] : decodeFileNote(file.payload, at),
      auxv: auxv?.payload ?? new Uint8Array(),
      threads: threadsOf(found),
    };
  }
}

function threadsOf(notes: readonly Note[]): ThreadStatus[] {
  const threads: ThreadStatus[] = [];
  for (const note of notes) {
    if (!isCore(note) || note.type !== CORE_NOTE_TYPE.PRSTATUS) continue;
    const thread = decodeThread(note.payload);
    if (thread !== undefined) threads.push(thread);
  }
  return threads;
}
