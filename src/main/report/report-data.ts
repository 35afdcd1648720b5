/** Gathers what a report shows of an image: its records, and the pages that it embeds. */
import { deflateRawSync } from 'node:zlib';
import { addressOf, hex, PAGE_SIZE, vpnOf } from '../../shared/page.ts';
import { RunWriter } from '../../shared/report/page-runs.ts';
import {
  type EmbeddedPages,
  type MappingKind,
  PAGE_KIND,
  type ReportData,
  type ReportMm,
  type ReportRun,
} from '../../shared/report/report-data.ts';
import { throwIfAborted } from '../../shared/sync/wait.ts';
import { VM } from '../../shared/vm-flags.ts';
import type { Image } from '../image/image.ts';
import { memoryUsage } from '../image/image-usage.ts';
import { BLOCK, type BlockKind } from '../image/index/block-index.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import { Yielder } from '../job/stop.ts';
import { packageVersion } from '../package/version.ts';

const LDT_ENTRY_BYTES = 8;

const KIND_OF: { readonly [kind in BlockKind]: number } = {
  [BLOCK.DATA]: PAGE_KIND.COPY,
  [BLOCK.ZERO]: PAGE_KIND.ZERO,
  [BLOCK.CLONE]: PAGE_KIND.CLONE,
  [BLOCK.GUARD]: PAGE_KIND.GUARD,
  [BLOCK.PARENT]: PAGE_KIND.PARENT,
};

/** Gathers everything. `embedBytes`: most bytes of pages that the report holds. AbortError. */
export async function reportData(
  image: Image,
  name: string,
  run: ReportRun | null,
  embedBytes: number,
  signal: AbortSignal | undefined,
): Promise<ReportData> {
  throwIfAborted(signal);
  const yielder = new Yielder(signal);
  const usage = memoryUsage(image);
  const files = new Map<string, number>();
  const mms: ReportMm[] = [];
  for (const mm of image.mms()) {
    const runs = await runsOf(image, mm, yielder);
    mms.push({
      fields: Object.fromEntries(Object.entries(mm.fields).map(([key, at]) => [key, hex(at)])),
      ldtEntries: (mm.ldt?.bytes ?? 0) / LDT_ENTRY_BYTES,
      ...usage.mms[mm.ordinal]!,
      vmas: mm.vmas.map((vma) => ({
        s: vma.start,
        e: vma.end,
        f: vma.flags,
        o: vma.pgoff,
        n: vma.file === null ? -1 : numberOf(files, vma.file.path),
        k: mappingKind(mm, vma),
      })),
      runs: Buffer.from(runs.bytes).toString('base64'),
      runCount: runs.count,
    });
  }
  const { id, bytes, head } = image;
  const { version, digest, frozen } = head;
  const { savedBytes } = usage;
  return {
    generator: `mmdump ${packageVersion()}`,
    image: { name, id, bytes, version, digest, frozen, savedBytes },
    files: [...files.keys()],
    mms,
    run,
    embedded: await embeddedPages(image, embedBytes, yielder),
  };
}

function numberOf(files: Map<string, number>, path: string): number {
  const known = files.get(path);
  if (known !== undefined) return known;
  files.set(path, files.size);
  return files.size - 1;
}

function mappingKind({ fields }: ImageMm, vma: ImageVma): MappingKind {
  const { start, end, flags, file, isVdso } = vma;
  if (isVdso) return 'vdso';
  if ((flags & (VM.IO | VM.PFNMAP)) !== 0) return 'device';
  if (file !== null) return 'file';
  if (start < fields.brk && end > fields.start_brk) return 'heap';
  if (start <= fields.start_stack && fields.start_stack < end) return 'stack';
  return (flags & VM.GROWSDOWN) !== 0 ? 'stack' : 'anonymous';
}

/** The runs of all mappings of an mm. Neighbouring blocks of one kind are one run. */
async function runsOf(image: Image, mm: ImageMm, yielder: Yielder): Promise<RunWriter> {
  const writer = new RunWriter();
  const { blocks } = mm;
  for (const vma of mm.vmas) {
    let at: number = vpnOf(vma.start);
    for (let index = vma.firstBlock; index < vma.lastBlock; index++) {
      if (yielder.isDue()) await yielder.yield();
      const { start, pages, kind, source } = blocks.at(index);
      if (start > at) writer.add(PAGE_KIND.ABSENT, start - at, 0);
      const where = kind === BLOCK.CLONE ? (image.mmAt(source)?.ordinal ?? 0) : source;
      let end = start + pages;
      // Blocks of bytes have their places in the image; the others are one where they touch.
      while (kind !== BLOCK.DATA && index + 1 < vma.lastBlock) {
        const next = blocks.at(index + 1);
        if (next.kind !== kind || next.start !== end || next.source !== source) break;
        end += next.pages;
        index++;
      }
      writer.add(KIND_OF[kind], end - start, where);
      at = end;
    }
    if (at < vpnOf(vma.end)) writer.add(PAGE_KIND.ABSENT, vpnOf(vma.end) - at, 0);
  }
  return writer;
}

/** The first pages with bytes, mm by mm and by address, as many as fit into `most` bytes. */
async function embeddedPages(image: Image, most: number, yielder: Yielder): Promise<EmbeddedPages> {
  const places: number[] = [];
  const parts: Uint8Array[] = [];
  let left = Math.floor(most / PAGE_SIZE);
  for (const { ordinal, blocks } of image.mms()) {
    for (let index = 0; index < blocks.count && left > 0; index++) {
      if (yielder.isDue()) await yielder.yield();
      const { kind, start, pages } = blocks.at(index);
      if (kind !== BLOCK.DATA && kind !== BLOCK.CLONE) continue;
      const count = Math.min(pages, left);
      const bytes = new Uint8Array(count * PAGE_SIZE);
      await image.read(addressOf(start), bytes, { mm: ordinal });
      for (let page = 0; page < count; page++) places.push(ordinal, start + page);
      parts.push(bytes);
      left -= count;
    }
  }
  return { places, bytes: deflateRawSync(Buffer.concat(parts)).toString('base64') };
}
