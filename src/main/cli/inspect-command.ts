/** `mmdump inspect` lists what an image holds. It reads pages only for --page and --find. */

import { formatBytes } from '../../shared/human-units.ts';
import { hex } from '../../shared/page.ts';
import { protLetters, vmFlagNames } from '../../shared/vm-flags.ts';
import { type Image, openImage } from '../image/image.ts';
import { memoryUsage } from '../image/image-usage.ts';
import type { ImageMm, ImageVma } from '../image/index/image-mm.ts';
import { stateText } from '../image/index/image-state.ts';
import type { SearchResult } from '../search/search.ts';
import { usageText } from './dump-output.ts';
import { type ChosenMm, chosenMms } from './inspect-filters.ts';
import { mappingLines } from './inspect-mappings.ts';
import { type DecodedNotes, decodedNotes, notesJson, notesLines } from './inspect-notes.ts';
import type { InspectChoice } from './inspect-options.ts';
import { inspectedPage, pageJson, pageText } from './inspect-page.ts';
import { mapLegend } from './layout/page-map.ts';
import { screenOf } from './layout/screen.ts';
import { EXIT } from './run-command.ts';
import { searchJson, searchText } from './search-output.ts';
import { shownId } from './shown-id.ts';
import { type OutputOptions, print, printJson } from './terminal.ts';

const LDT_ENTRY_BYTES = 8;

export interface InspectFlags extends OutputOptions, InspectChoice {
  readonly parents?: readonly string[];
  /** Draws the pages of each mapping. Undefined: only in a terminal. */
  readonly map?: boolean;
}

export async function inspectCommand(
  path: string,
  flags: InspectFlags,
  signal: AbortSignal,
): Promise<number> {
  const image = await openImage(path, { signal, parents: flags.parents });
  try {
    const notes = await Promise.all(image.mms().map((mm) => decodedNotes(image, mm.ordinal)));
    const { page, find } = flags;
    const mms = chosenMms(image, flags);
    const shown = page === undefined ? null : await inspectedPage(image, page, flags.mm ?? 0);
    const found = find === undefined ? null : await foundIn(image, find, flags, signal);
    if (flags.json === true) {
      const choice = { page: shown && pageJson(shown), found: found && searchJson(found) };
      printJson({ ...inspectJson(image, mms, notes), ...choice });
    } else if (flags.quiet !== true) {
      const texts = [shown && pageText(shown), found && searchText(image, found)];
      const chosen = texts.filter((text) => text !== null);
      print(chosen.length > 0 ? chosen.join('\n') : inspectText(image, mms, notes, flags.map));
    }
  } finally {
    await image.close();
  }
  return EXIT.DONE;
}

/** What only `--find` needs is loaded for it alone. */
async function foundIn(
  image: Image,
  what: string,
  flags: InspectFlags,
  signal: AbortSignal,
): Promise<SearchResult> {
  const { findIn } = await import('./inspect-find.ts');
  return await findIn(image, what, flags, signal);
}

function ldtEntries({ ldt }: ImageMm): number {
  return (ldt?.bytes ?? 0) / LDT_ENTRY_BYTES;
}

function storedPages({ pages }: ImageVma): number {
  return pages.copy + pages.zero + pages.clone + pages.parent;
}

/** The object that `inspect --json` prints; its keys are a contract. */
function inspectJson(
  image: Image,
  mms: readonly ChosenMm[],
  notes: readonly DecodedNotes[],
): object {
  const usage = memoryUsage(image);
  return {
    format: image.format,
    id: shownId(image),
    bytes: image.bytes,
    version: image.head.version,
    digest: image.head.digest,
    compress: image.head.compress,
    frozen: image.head.frozen,
    ancestors: image.ancestors,
    unread: image.unread,
    savedBytes: usage.savedBytes,
    state: image.state.map(({ name, bytes }) => ({ name, bytes })),
    mms: mms.map(({ mm, vmas }) => ({
      fields: { ...fieldsJson(mm), map_count: mm.vmas.length },
      ldtEntries: ldtEntries(mm),
      ...usage.mms[mm.ordinal],
      ...notesJson(notes[mm.ordinal]!),
      vmas: vmas.map((vma) => ({
        start: hex(vma.start),
        end: hex(vma.end),
        prot: protLetters(vma.flags),
        flags: hex(vma.flags),
        flagNames: vmFlagNames(vma.flags),
        pgoff: vma.pgoff,
        file: vma.file?.path ?? null,
        vdso: vma.isVdso,
        pages: { copy: vma.pages.copy, zero: vma.pages.zero, clone: vma.pages.clone },
        guardPages: vma.pages.guard,
        parentPages: vma.pages.parent,
        storedPages: storedPages(vma),
      })),
    })),
  };
}

function headText({ head }: Image): string {
  const checksums = head.digest === 'none' ? ', pages without checksums' : '';
  return checksums + (head.compress === 'none' ? '' : `, compressed with ${head.compress}`);
}

function fieldsJson(mm: ImageMm): { [name: string]: string } {
  return Object.fromEntries(Object.entries(mm.fields).map(([name, value]) => [name, hex(value)]));
}

function inspectText(
  image: Image,
  mms: readonly ChosenMm[],
  notes: readonly DecodedNotes[],
  map: boolean | undefined,
): string {
  const screen = screenOf(process.stdout);
  const hasMaps = map ?? screen.isTerminal;
  const lines = [
    `${image.path}: ${image.format}, ${formatBytes(image.bytes)}, ` +
      `${image.id === '' ? '' : `id ${image.id}, `}${image.mms().length} mm${headText(image)}`,
  ];
  for (const line of image.unread) lines.push(`not read: ${line}`);
  for (const [index, { id, path, bytes }] of image.ancestors.entries()) {
    const what = index === 0 ? 'parent' : `ancestor ${index + 1}`;
    lines.push(`${what}: ${path ?? 'in memory'}, ${formatBytes(bytes)}, id ${id}`);
  }
  for (const { name, bytes } of image.state) {
    lines.push(`${stateText(name)}: ${formatBytes(bytes)}`);
  }
  const hasParent = image.head.parent !== null;
  if (hasMaps) lines.push(...mapLegend(screen));
  const usage = memoryUsage(image);
  if (usage.mms.length > 1) lines.push(`${formatBytes(usage.savedBytes)} saved by sharing`);
  for (const { mm, vmas } of mms) {
    const entries = ldtEntries(mm);
    const ldt = entries === 0 ? 'no LDT' : `LDT of ${entries} entries`;
    const shares = usageText(usage.mms[mm.ordinal]!);
    const shown = vmas.length < mm.vmas.length ? `${vmas.length} of ` : '';
    lines.push(`mm ${mm.ordinal}: ${shown}${mm.vmas.length} mappings, ${ldt}; ${shares}`);
    lines.push(...notesLines(notes[mm.ordinal]!));
    lines.push(...mappingLines({ ...mm, vmas }, hasParent, screen, hasMaps));
  }
  return lines.join('\n');
}
