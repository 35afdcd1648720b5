/** `mmdump diff` tells what differs between two images: 0 nothing · 1 something · 2 trouble. */

import { formatBytes } from '../../shared/human-units.ts';
import { hex, PAGE_SIZE } from '../../shared/page.ts';
import { protLetters, vmFlagNames } from '../../shared/vm-flags.ts';
import type { StateChange } from '../compare/changed-states.ts';
import type { ClassChange, ImageDiff, MmDiff } from '../compare/diff-report.ts';
import type { MappingChange, MappingSide } from '../compare/mapping-pairs.ts';
import { createDumper } from '../dumper.ts';
import { type Image, openImage } from '../image/image.ts';
import { stateText } from '../image/index/image-state.ts';
import { EXIT } from './run-command.ts';
import { shownId } from './shown-id.ts';
import { type OutputOptions, Progress, print, printJson } from './terminal.ts';
import type { TimeoutFlag } from './timeout-option.ts';
import { withTimeout } from './with-timeout.ts';
import { workersOption } from './workers-option.ts';

export interface DiffFlags extends OutputOptions, TimeoutFlag {
  readonly workers?: number;
  readonly parents?: readonly string[];
  readonly maxPages?: number;
}

/** Most lines of each kind that are printed; the others are counted. */
const LINES_MAX = 20;

export function diffCommand(
  left: string,
  right: string,
  flags: DiffFlags,
  signal: AbortSignal,
): Promise<number> {
  return withTimeout(flags, signal, 'diff', (deadline) =>
    diffUntil(left, right, flags, deadline.signal),
  );
}

async function diffUntil(
  left: string,
  right: string,
  flags: DiffFlags,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { parents, maxPages } = flags;
  const a = await openImage(left, { signal, parents });
  try {
    const b = await openImage(right, { signal, parents });
    try {
      const found = await compare(a, b, flags, { signal, maxPages });
      if (flags.json === true) printJson(diffJson(a, b, found));
      else if (flags.quiet !== true) print(diffText(left, right, found));
      return found.same ? EXIT.DONE : EXIT.FAILED;
    } finally {
      await b.close();
    }
  } finally {
    await a.close();
  }
}

async function compare(
  a: Image,
  b: Image,
  flags: DiffFlags,
  options: { readonly signal: AbortSignal | undefined; readonly maxPages: number | undefined },
): Promise<ImageDiff> {
  const bytes = a.bytes + b.bytes;
  const dumper = await createDumper(workersOption(flags.workers, bytes));
  const progress = new Progress(flags);
  try {
    return await dumper.diffImages(a, b, {
      ...options,
      onProgress: ({ pages, totalPages }) => {
        progress.show('diff', pages * PAGE_SIZE, totalPages * PAGE_SIZE);
      },
    });
  } finally {
    progress.stop();
    await dumper.close();
  }
}

/** The object that `diff --json` prints; its keys are a contract. */
function diffJson(a: Image, b: Image, found: ImageDiff): unknown {
  const { same, state, mms, changedPages, classChanges, unlisted, bytesRead } = found;
  return {
    same,
    left: imageJson(a),
    right: imageJson(b),
    state,
    mms: mms.map((mm) => ({
      ...mm,
      fields: mm.fields.map(({ name, left, right }) => {
        return { name, left: hex(left), right: hex(right) };
      }),
      mappings: mm.mappings.map(({ kind, left, right }) => {
        return { kind, left: sideJson(left), right: sideJson(right) };
      }),
    })),
    changedPages: changedPages.map(({ left, right, ...page }) => {
      return { ...page, left: hex(left), right: hex(right) };
    }),
    classChanges: classChanges.map(({ left, right, ...run }) => {
      return { ...run, left: hex(left), right: hex(right) };
    }),
    unlisted,
    bytesRead,
  };
}

function imageJson(image: Image): unknown {
  return { path: image.path, id: shownId(image), bytes: image.bytes };
}

function sideJson(side: MappingSide | null): unknown {
  if (side === null) return null;
  const { start, end, flags, pgoff, file, fileSize, vdso } = side;
  const bits = { prot: protLetters(flags), flags: hex(flags), flagNames: vmFlagNames(flags) };
  return { start: hex(start), end: hex(end), ...bits, pgoff, file, fileSize, vdso };
}

function diffText(left: string, right: string, found: ImageDiff): string {
  const { same, state, mms, bytesRead } = found;
  if (same) return `${left} and ${right} are the same`;
  const changed = mms.reduce((sum, mm) => sum + mm.changed, 0);
  const reclassified = mms.reduce((sum, mm) => sum + mm.reclassified, 0);
  const mappings = mms.reduce((sum, mm) => sum + mm.mappings.length, 0);
  const lines = [
    `${left} and ${right} differ: ${changed} pages have other bytes, ` +
      `${reclassified} another class; ${mappings} changes of mappings ` +
      `(${formatBytes(bytesRead)} read)`,
  ];
  lines.push(...some(state.map(stateLine), 'changed states'));
  for (const mm of mms) lines.push(...mmLines(mm, found));
  if (found.unlisted > 0) lines.push(`${found.unlisted} more pages and runs: see --max-pages`);
  return lines.join('\n');
}

function mmLines(mm: MmDiff, { changedPages, classChanges }: ImageDiff): string[] {
  if (mm.in !== 'both') return [`mm ${mm.mm}: only in the ${mm.in} image`];
  const lines = [
    ...mm.fields.map(({ name, left, right }) => `${name}: ${hex(left)} -> ${hex(right)}`),
    ...(mm.payloads.length > 0 ? [`other contents: ${mm.payloads.join(', ')}`] : []),
    ...some(mm.mappings.map(mappingLine), 'changes of mappings'),
    ...some(
      classChanges.filter((run) => run.mm === mm.mm).map(classLine),
      'runs of pages with another class',
    ),
    ...some(
      changedPages
        .filter((page) => page.mm === mm.mm)
        .map(({ left, right, firstByte, differentBytes }) => {
          const from = left === right ? '' : ` (was at ${hex(left)})`;
          return `page ${hex(right)}${from}: ${differentBytes} bytes differ, from byte ${firstByte} on`;
        }),
      'changed pages',
    ),
  ];
  return lines.length === 0 ? [] : [`mm ${mm.mm}:`, ...lines.map((line) => `  ${line}`)];
}

function some(lines: readonly string[], what: string): string[] {
  const more = lines.length - LINES_MAX;
  return more > 0 ? [...lines.slice(0, LINES_MAX), `${more} more ${what}`] : [...lines];
}

function stateLine({ name, left, right }: StateChange): string {
  const of = stateText(name);
  if (left === null || right === null) {
    return `${of}: only in the ${left === null ? 'right' : 'left'} image`;
  }
  if (left === right) return `${of}: other bytes`;
  return `${of}: ${formatBytes(left)} -> ${formatBytes(right)}`;
}

function mappingLine({ kind, left, right }: MappingChange): string {
  if (left === null || right === null) return `${kind} ${sideText((left ?? right)!)}`;
  if (kind === 'protection') {
    return `protection ${rangeText(right)} ${protLetters(left.flags)} -> ${sideName(right)}`;
  }
  return `${kind} ${sideText(left)} -> ${sideText(right)}`;
}

function sideText(side: MappingSide): string {
  const flags = vmFlagNames(side.flags & ~0xff).join(' ');
  return `${rangeText(side)} ${sideName(side)}${flags === '' ? '' : ` ${flags}`}`;
}

function sideName({ flags, file, vdso }: MappingSide): string {
  const name = vdso ? '[vdso]' : (file ?? 'anonymous');
  return `${protLetters(flags)} ${name}`;
}

function rangeText({ start, end }: MappingSide): string {
  return `${start.toString(16)}-${end.toString(16)}`;
}

function classLine({ left, right, pages, from, to, known }: ClassChange): string {
  const moved = left === right ? '' : ` (was at ${hex(left)})`;
  const bytes = known ? '' : ', the bytes are not known on both sides';
  return `${pages} pages from ${hex(right)}${moved}: ${from} -> ${to}${bytes}`;
}
