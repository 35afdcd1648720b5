/** What `mmdump convert` reads: an image or a core file, which its first bytes tell apart. */
import { type FileHandle, open, stat } from 'node:fs/promises';
import type { AddressSpace } from '../../mmu/machine/address-space.ts';
import { createMachine } from '../../mmu/machine/attach.ts';
import type { SnapshotState } from '../../mmu/machine/snapshot-options.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { STATE_MAX_BYTES } from '../../shared/formats/cpt/records.ts';
import { lossesInCore, lossesOfOne, lossesOfReading, lostState } from '../convert/losses.ts';
import type { ImageFormat } from '../dump/options.ts';
import type { Dumper } from '../dumper.ts';
import type { ImageAncestor } from '../image/chain/image-ancestor.ts';
import { openImage } from '../image/image.ts';
import { memoryOnDemand } from '../load/memory-on-demand.ts';
import { coreLines } from './dump-output.ts';
import { shownId } from './shown-id.ts';

/** The address spaces that will be dumped. Their pages stay in the file until then. */
export interface ConvertSource {
  readonly format: ImageFormat;
  /** Null for a core file and for an OpenVZ file, which have none. */
  readonly id: string | null;
  readonly ancestors: readonly ImageAncestor[];
  readonly spaces: readonly AddressSpace[];
  /** What the image has beside memory. */
  readonly state: SnapshotState;
  /** What the output will lack, one line each. */
  readonly warnings: readonly string[];
  release(): Promise<void>;
}

/** What is asked for. */
export interface ConvertRequest {
  readonly path: string;
  readonly to: ImageFormat;
  /** Ordinal of the only mm that is wanted. Undefined: all of them. */
  readonly mm: number | undefined;
  readonly parents: readonly string[] | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Whether a file is a core file. What cannot be read is left to the reader of images. */
export async function isCore(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() !== true) return false;
  let file: FileHandle | undefined;
  try {
    file = await open(path);
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.equals(Buffer.from('\x7fELF', 'latin1'));
  } catch {
    return false;
  } finally {
    await file?.close();
  }
}

export async function openConvertSource(
  request: ConvertRequest,
  dumper: Dumper,
): Promise<ConvertSource> {
  if (await isCore(request.path)) return await openCore(request, dumper);
  return await openRestored(request, dumper);
}

async function openCore(
  { path, mm, signal }: ConvertRequest,
  dumper: Dumper,
): Promise<ConvertSource> {
  assertOrdinal(mm, 1);
  const imported = await dumper.importCore(
    (memory, maxAddressSpaces) => createMachine({ memory, maxAddressSpaces }),
    path,
    { signal, load: 'on-demand' },
  );
  return {
    format: 'elf',
    id: null,
    ancestors: [],
    spaces: [imported.mm],
    state: {},
    warnings: coreLines(imported.core),
    release: () => imported.release(),
  };
}

async function openRestored(
  { path, to, mm, parents, signal }: ConvertRequest,
  dumper: Dumper,
): Promise<ConvertSource> {
  const image = await openImage(path, { signal, parents });
  try {
    const mms = image.mms();
    assertOrdinal(mm, mms.length);
    const chosen = mm === undefined ? mms : [mms[mm]!];
    const losses = mm === undefined ? [] : lossesOfOne(image);
    if (to === 'elf') losses.push(...chosen.flatMap((each) => lossesInCore(image, each)));
    const warnings = [
      ...lossesOfReading(image),
      ...(to === 'elf' ? lostState(image) : []),
      ...losses.map((line) => `not kept: ${line}`),
    ];
    const memory = memoryOnDemand(image);
    const machine = createMachine({ memory, maxAddressSpaces: Math.max(1, mms.length) });
    const how = { signal, load: 'on-demand', maxStateBytes: STATE_MAX_BYTES } as const;
    const restored = await dumper.restore(image, machine, how);
    const { format, ancestors } = image;
    const id = shownId(image);
    const spaces = chosen.map(({ ordinal }) => restored.mms[ordinal]!);
    const { state } = restored;
    const found = { format, id, ancestors, spaces, state, warnings } as const;
    return { ...found, release: () => restored.release() };
  } finally {
    await image.close();
  }
}

/** Throws OPTION_INVALID if there is no such address space. */
export function assertOrdinal(mm: number | undefined, count: number): void {
  if (mm === undefined || mm < count) return;
  const there = count === 1 ? 'there is 1 address space' : `there are ${count} address spaces`;
  const text = `mm: ${mm}: ${there}, numbered from 0 on`;
  throw new MmdumpError('OPTION_INVALID', text, { mm });
}
