/**
 * Writes the address spaces of an image as a container file of OpenVZ 6. The file is written in
 * order, by one thread, a mebibyte of pages at a time.
 */
import { ImageProblem, problemError } from '../../../shared/formats/problem.ts';
import { MiB, PAGE_SIZE } from '../../../shared/page.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import { assertSize, withSink } from '../../dump/output.ts';
import type { Image } from '../../image/image.ts';
import type { ImageContents } from '../../image/read/image-contents.ts';
import { abortable, type Deadline } from '../../job/stop.ts';
import { openTarget } from '../../sinks/open-target.ts';
import type { Sink } from '../../sinks/sink.ts';
import { TargetWriter } from '../target-writer.ts';
import { inOrder, type TreePages } from './object-tree.ts';
import { layOut, type OpenvzFile } from './openvz-file.ts';

const AT_ONCE = MiB / PAGE_SIZE;

export interface OpenvzRequest {
  /** A sink of kind file, split or memory. */
  readonly to: Sink;
  /** The sink is open, and whoever has opened it takes back what is written. */
  readonly isOpen: boolean;
  /** Ordinal of the only mm that is wanted. Undefined: all of them. */
  readonly mm: number | undefined;
  /** The most bytes that the file may have. Undefined: no limit. */
  readonly sizeLimit: number | undefined;
  readonly deadline: Deadline;
  readonly onProgress: (bytes: number, totalBytes: number) => void;
}

/** Returns the length of the file. */
export async function writeOpenvz(image: Image, request: OpenvzRequest): Promise<number> {
  return await image.use(async (contents) => {
    try {
      return await write(contents, request);
    } catch (error) {
      if (!(error instanceof ImageProblem)) throw error;
      throw problemError(contents.source.name, error.problem);
    }
  });
}

async function write(
  contents: ImageContents,
  { to, isOpen, mm, sizeLimit, deadline, onProgress }: OpenvzRequest,
): Promise<number> {
  const { signal } = deadline;
  throwIfAborted(signal);
  await contents.openChain(signal);
  const file = await layOut(contents, mm === undefined ? contents.mms : [contents.mm(mm)]);
  const { bytes } = file;
  assertSize(bytes, sizeLimit);
  const make = async (): Promise<number> => {
    const extent = { bytes, isExact: true, segments: 0, maxSegmentBytes: 0, workers: 1 };
    const whole = { ...extent, units: { count: 1, offset: () => 0 } };
    const { target } = openTarget(to, await abortable(to.reserve(whole), signal), whole);
    deadline.phase = 'copy';
    const writer = new TargetWriter(target);
    await writeAll(contents, file, writer, () => {
      throwIfAborted(signal);
      onProgress(writer.offset, bytes);
    });
    contents.assertIntact();
    deadline.phase = 'commit';
    await abortable(to.commit({ bytes }), signal);
    return bytes;
  };
  return isOpen ? await make() : await withSink(to, deadline, make);
}

async function writeAll(
  contents: ImageContents,
  { head, sections }: OpenvzFile,
  writer: TargetWriter,
  told: () => void,
): Promise<void> {
  writer.write(head);
  for (const section of sections) {
    for (const { record, pages } of inOrder(section)) {
      writer.write(record);
      if (pages !== undefined) await writePages(contents, pages, writer, told);
    }
  }
}

async function writePages(
  contents: ImageContents,
  { mm, address, pages }: TreePages,
  writer: TargetWriter,
  told: () => void,
): Promise<void> {
  const buffer = new Uint8Array(Math.min(pages, AT_ONCE) * PAGE_SIZE);
  for (let done = 0; done < pages; done += AT_ONCE) {
    const bytes = buffer.subarray(0, Math.min(AT_ONCE, pages - done) * PAGE_SIZE);
    await contents.read(contents.mm(mm), address + done * PAGE_SIZE, bytes);
    writer.write(bytes);
    told();
  }
}
