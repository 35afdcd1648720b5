/** `mmdump explain` says what becomes of one page and why. */
import { createMachine } from '../../mmu/machine/attach.ts';
import type { VmaInfo } from '../../mmu/vma/vma-info.ts';
import { hex } from '../../shared/page.ts';
import { protLetters, vmFlagNames } from '../../shared/vm-flags.ts';
import { createDumper } from '../dumper.ts';
import { explainImagePage, type ImagePageExplanation } from '../explain/explain-image.ts';
import { explainPage, type PageExplanation } from '../explain/explain-page.ts';
import type { TableEntry } from '../explain/walk-tables.ts';
import { openImage } from '../image/image.ts';
import type { ImageVma } from '../image/index/image-mm.ts';
import { EXIT } from './run-command.ts';
import { shownId } from './shown-id.ts';
import { type OutputOptions, print, printJson } from './terminal.ts';
import type { TimeoutFlag } from './timeout-option.ts';
import { withTimeout } from './with-timeout.ts';

export interface ExplainFlags extends OutputOptions, TimeoutFlag {
  readonly pid?: number;
  readonly mm?: number;
  readonly parents?: readonly string[];
}

export function explainCommand(
  path: string,
  address: number,
  flags: ExplainFlags,
  signal: AbortSignal,
): Promise<number> {
  return withTimeout(flags, signal, 'explain', async (deadline) => {
    const { pid } = flags;
    if (pid === undefined) await explainIn(path, address, flags, deadline.signal);
    else await explainOf(pid, address, flags, deadline.signal);
    return EXIT.DONE;
  });
}

async function explainIn(
  path: string,
  address: number,
  { mm, parents, ...flags }: ExplainFlags,
  signal: AbortSignal | undefined,
): Promise<void> {
  const image = await openImage(path, { signal, parents });
  try {
    const found = await explainImagePage(image, address, { mm });
    if (flags.json === true) printJson(imageJson(found));
    else if (flags.quiet !== true) print(imageText(found));
  } finally {
    await image.close();
  }
}

/** The process stands still until its page is explained. Its other pages are not read. */
async function explainOf(
  pid: number,
  address: number,
  flags: ExplainFlags,
  signal: AbortSignal | undefined,
): Promise<void> {
  const dumper = await createDumper();
  try {
    const imported = await dumper.importProcess(
      (memory, maxAddressSpaces) => createMachine({ memory, maxAddressSpaces }),
      pid,
      { signal, load: 'on-demand' },
    );
    let found: PageExplanation;
    try {
      found = await explainPage(imported.mms, address, { signal });
    } finally {
      await imported.release();
    }
    if (flags.json === true) printJson(pageJson(found));
    else if (flags.quiet !== true) print(pageText(found));
  } finally {
    await dumper.close();
  }
}

/** The object that `explain --json` prints; its keys are a contract. */
function pageJson(found: PageExplanation): unknown {
  const { address, mm, vma, row, reason, donor, filePages, walk, frame, swap, backed } = found;
  return {
    of: 'process',
    address: hex(address),
    mm,
    class: found.class,
    row,
    reason,
    donor,
    vma: vma === null ? null : vmaJson(vma, vma.file, vma.isVdso),
    walk: walk.map(({ low, high, ...entry }) => ({ ...entry, entry: entryText({ low, high }) })),
    ...{ frame, swap, backed, filePages },
    ...{ block: null, reads: null, stored: null },
  };
}

function imageJson(found: ImagePageExplanation): unknown {
  const { address, mm, kind, vma, block, donor, reads, stored, reason } = found;
  return {
    of: 'image',
    address: hex(address),
    mm,
    class: kind,
    row: null,
    reason,
    donor,
    vma: vma === null ? null : vmaJson(vma, vma.file?.path ?? null, vma.isVdso),
    ...{ walk: null, frame: null, swap: null, backed: null },
    filePages: block?.filePages ?? false,
    block: block && {
      start: hex(block.start),
      end: hex(block.end),
      payload: block.payload,
      digest: block.digest,
    },
    reads,
    stored: stored && { ...stored, id: shownId(stored) },
  };
}

function vmaJson(
  { start, end, flags, pgoff }: VmaInfo | ImageVma,
  file: string | null,
  vdso: boolean,
): unknown {
  const bits = { prot: protLetters(flags), flags: hex(flags), flagNames: vmFlagNames(flags) };
  return { start: hex(start), end: hex(end), ...bits, pgoff, file, vdso };
}

function entryText({ low, high }: Pick<TableEntry, 'low' | 'high'>): string {
  return `0x${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}`;
}

function pageText(found: PageExplanation): string {
  const { vma, row, reason, donor, walk, frame, swap, backed } = found;
  const decided = row === null ? '' : ` (row ${row} of CLASSIFICATION)`;
  const lines = [
    `page ${hex(found.address)}: ${found.class}, ${reason}${decided}`,
    vma === null ? null : `mapping: ${vmaText(vma, vma.file, vma.isVdso)}`,
    ...walk.map(({ table, low, high, bits, pfn }) => {
      const points = pfn === null ? '' : ` frame ${pfn}`;
      return `${table}: ${entryText({ low, high })}${points} ${bits.join(' ') || 'empty'}`;
    }),
    frame &&
      `frame ${frame.pfn}: ${frame.flags.join(' ')}, ${frame.references} references, ` +
        `mapped ${frame.mapCount} times`,
    swap && `swap: slot ${swap.slot}, ${swap.references} references`,
    backed && `backing ${backed.backing}, page ${backed.place}${backed.merged ? ', merged' : ''}`,
    donor === null ? null : `stored by mm ${donor}`,
  ];
  return lines.filter((line) => line !== null).join('\n');
}

function imageText(found: ImagePageExplanation): string {
  const { mm, kind, vma, block, stored, reads, reason } = found;
  const lines = [
    `page ${hex(found.address)} of mm ${mm}: ${kind}, ${reason}`,
    vma === null ? null : `mapping: ${vmaText(vma, vma.file?.path ?? null, vma.isVdso)}`,
    block &&
      `block: ${block.start.toString(16)}-${block.end.toString(16)}` +
        `${block.digest === null ? '' : `, digest ${block.digest}`}` +
        `${block.filePages ? ', pages of the file' : ''}`,
    stored && `bytes: at ${stored.offset} of ${stored.path ?? 'memory'}${idText(stored)}`,
    stored === null ? `a read finds ${reads}` : null,
  ];
  return lines.filter((line) => line !== null).join('\n');
}

function vmaText(
  { start, end, flags }: VmaInfo | ImageVma,
  file: string | null,
  vdso: boolean,
): string {
  const name = vdso ? '[vdso]' : (file ?? 'anonymous');
  const names = vmFlagNames(flags & ~0xff).join(' ');
  const range = `${start.toString(16)}-${end.toString(16)} ${protLetters(flags)} ${name}`;
  return names === '' ? range : `${range} ${names}`;
}

function idText({ id }: { readonly id: string }): string {
  return id === '' ? '' : `, image ${id}`;
}
