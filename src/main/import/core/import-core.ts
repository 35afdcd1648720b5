/**
 * Imports an ELF core file into a machine: its mappings, its pages, its auxiliary vector and its
 * notes. docs/decisions/core-files.md says what a core does not tell.
 */
import { BACKING_KIND } from '../../../mmu/backing/backing-table.ts';
import type { AddressSpace } from '../../../mmu/machine/address-space.ts';
import { HeldFiles } from '../../../mmu/machine/held-files.ts';
import { beginUse } from '../../../mmu/machine/lifetime.ts';
import type { Machine } from '../../../mmu/machine/machine.ts';
import { VMA_KIND, type VmaFields } from '../../../mmu/vma/vma-table.ts';
import { MmdumpError } from '../../../shared/errors.ts';
import { AUXV_TYPE, auxvValue } from '../../../shared/formats/elf/notes/auxv.ts';
import { MiB, PAGE_SIZE, vpnOf } from '../../../shared/page.ts';
import { throwIfAborted } from '../../../shared/sync/wait.ts';
import { VM } from '../../../shared/vm-flags.ts';
import type { WorkerPool } from '../../crew/pool.ts';
import { MACHINE } from '../../job/handle-arguments.ts';
import type { PhaseProgress } from '../../job/progress.ts';
import { Yielder } from '../../job/stop.ts';
import { runLoadPhase } from '../../load/load-phase.ts';
import { destroySpaces, undone } from '../../load/undo.ts';
import { holdUntilReleased } from '../held-source.ts';
import type { MachineFor } from '../import-report.ts';
import { coreAddresses } from './core-fields.ts';
import { type CoreContents, CoreFile } from './core-file.ts';
import { CoreFiles, keyOf } from './core-files.ts';
import { dataOf } from './core-holes.ts';
import { CoreMappings, type CoreVma, piecesOf } from './core-mappings.ts';
import { CorePages, isIn } from './core-pages.ts';
import type { CoreImport, CoreOptions, CoreReport } from './core-report.ts';

/** Spare bytes: for the machine's own needs, and for frames that are freed late. */
const MARGIN = 16 * MiB;
/** Mappings that are created in one call. The import yields between two calls. */
const AT_ONCE = 4096;

/** Imports a core file with the workers of a pool. */
export async function importCoreWith(
  pool: WorkerPool,
  target: Machine | MachineFor,
  path: string,
  options: CoreOptions,
): Promise<CoreImport> {
  const core = await CoreFile.open(path);
  const subject = new CoreImporter(pool, target, core, options);
  let isHeld = false;
  try {
    const report = await subject.run();
    isHeld = options.load === 'on-demand';
    const release = isHeld ? holdFile(subject, core) : async (): Promise<void> => {};
    return { mm: subject.space!, core: report, release, [Symbol.asyncDispose]: release };
  } catch (error) {
    throw await undone(error, () => subject.undo());
  } finally {
    subject.end();
    if (!isHeld) await core.handle.close();
  }
}

/** Keeps the file open until the returned function is called or the machine is closed. */
function holdFile(subject: CoreImporter, core: CoreFile): () => Promise<void> {
  const { id } = subject.space!.reference.machine;
  const check = (): Promise<void> => core.assertUnchanged();
  return holdUntilReleased(id, check, async () => {
    subject.releaseBackings();
    await core.handle.close();
  });
}

/** One import under way. */
class CoreImporter {
  space: AddressSpace | undefined;
  readonly #pool: WorkerPool;
  readonly #target: Machine | MachineFor;
  readonly #core: CoreFile;
  readonly #options: CoreOptions;
  readonly #yielder: Yielder;
  /** Numbers of the backings of the machine, by the windows of the core. */
  readonly #backings = new Map<number, number>();
  #machine: Machine | undefined;
  #held: HeldFiles | undefined;
  #endUse: (() => void) | undefined;

  constructor(
    pool: WorkerPool,
    target: Machine | MachineFor,
    core: CoreFile,
    options: CoreOptions,
  ) {
    this.#pool = pool;
    this.#target = target;
    this.#core = core;
    this.#options = options;
    this.#yielder = new Yielder(options.signal);
  }

  async run(): Promise<CoreReport> {
    const start = performance.now();
    const contents = await this.#core.contents(this.#yielder);
    const { segments, threads } = contents;
    const data = await dataOf(this.#core, this.#yielder);
    const { vmas, files } = await this.#mappings(contents);
    const { fields, missing } = await files.describe(this.#core);
    const vdso = auxvValue(contents.auxv, AUXV_TYPE.SYSINFO_EHDR);
    const isBacked = this.#options.load === 'on-demand';
    // The first list counts the frames, before there is a machine that has backings.
    const policy = { data, vdso, backingOf: isBacked ? (): number => 0 : undefined };
    const counted = await this.#pages(contents, new CorePages(policy));
    const machine = this.#machineFor(counted.frames);
    await this.#createSpace(machine, contents, vmas, vdso, fields);
    const backingOf = isBacked ? (window: number): number => this.#backingOf(window) : undefined;
    const listed = isBacked
      ? await this.#pages(contents, new CorePages({ ...policy, backingOf }))
      : counted;
    await this.#load(listed);
    return {
      path: this.#core.path,
      bytes: this.#core.bytes,
      segments: segments.count,
      vmas: vmas.length,
      threads: threads.map(({ id }) => id),
      signal: threads[0]?.signal ?? 0,
      contentPages: listed.pages,
      holesKnown: data !== undefined || !this.#core.isSparse,
      missingFiles: missing,
      ms: performance.now() - start,
    };
  }

  /** Ends the import's use of the machine, which may be closed from then on. */
  end(): void {
    this.#endUse?.();
  }

  /** Gives back what the import has taken of the machine. It waits while the machine is frozen. */
  async undo(): Promise<void> {
    this.releaseBackings();
    try {
      await this.#held?.release();
    } finally {
      await destroySpaces(this.space === undefined ? [] : [this.space]);
    }
  }

  /** Ends the life of the backings: no page can be loaded from the file any more. */
  releaseBackings(): void {
    for (const backing of this.#backings.values()) {
      this.#machine!.parts.backings.release(backing);
    }
    this.#backings.clear();
  }

  async #mappings({ segments, files: ranges }: CoreContents): Promise<{
    readonly vmas: readonly CoreVma[];
    readonly files: CoreFiles;
  }> {
    const mappings = new CoreMappings(this.#core);
    const files = new CoreFiles();
    for (const piece of piecesOf(segments, ranges)) {
      if (this.#yielder.isDue()) await this.#yielder.yield();
      mappings.add(piece);
      files.add(piece);
    }
    return { vmas: mappings.vmas, files };
  }

  async #pages({ segments, files }: CoreContents, pages: CorePages): Promise<CorePages> {
    for (const piece of piecesOf(segments, files)) {
      if (this.#yielder.isDue()) await this.#yielder.yield();
      pages.add(piece);
    }
    return pages;
  }

  #machineFor(frames: number): Machine {
    const needed = frames * PAGE_SIZE;
    const machine =
      typeof this.#target === 'function'
        ? MACHINE('the machine that was made', this.#target(needed + MARGIN, 1, 0))
        : this.#target;
    this.#machine = machine;
    this.#endUse = beginUse(machine.parts);
    const { free, total } = machine.memory;
    if (needed <= free) return machine;
    const { name, path } = this.#core;
    const text =
      `${name} needs up to ${Math.ceil(needed / MiB)} MiB of simulated memory, ` +
      `${Math.floor(free / MiB)} of ${Math.floor(total / MiB)} MiB are free: ask for more memory`;
    throw new MmdumpError('ENOMEM', text, { path });
  }

  async #createSpace(
    machine: Machine,
    contents: CoreContents,
    vmas: readonly CoreVma[],
    vdso: number,
    fields: Awaited<ReturnType<CoreFiles['describe']>>['fields'],
  ): Promise<void> {
    const { signal } = this.#options;
    const space = await machine.createAddressSpaceAsync(signal);
    this.space = space;
    const held = new HeldFiles(machine.parts);
    this.#held = held;
    const ids = new Map<string, number>();
    await held.take((taker) => {
      for (const [key, file] of fields) ids.set(key, taker.create(file));
    }, signal);
    const marks = marksOf(contents, vmas, vdso);
    for (let from = 0; from < vmas.length; from += AT_ONCE) {
      if (from > 0) await this.#yielder.yield();
      const some = vmas.slice(from, from + AT_ONCE);
      await space.insertMappingsAsync(
        some.map((vma) => vmaFields(machine, vma, ids, marks)),
        signal,
      );
    }
    await held.release(); // the mappings hold the files from now on
    await space.setAddressesAsync(await coreAddresses(this.#core, contents), signal);
    await space.setAuxvAsync(contents.auxv, signal);
    await space.setNotesAsync(contents.notes, signal);
  }

  #backingOf(window: number): number {
    const known = this.#backings.get(window);
    if (known !== undefined) return known;
    const { fd } = this.#core.handle;
    const fields = { kind: BACKING_KIND.FILE, fd, pid: 0, window };
    const backing = this.#machine!.parts.backings.add(fields);
    this.#backings.set(window, backing);
    return backing;
  }

  async #load({ list }: CorePages): Promise<void> {
    const { signal, onProgress } = this.#options;
    const totalPages = list.totalPages();
    const source = { kind: 'file', name: this.#core.name, fd: this.#core.handle.fd } as const;
    await runLoadPhase(this.#pool, [this.space!.reference], source, list, {
      signal,
      onProgress: onProgress && (({ pages }: PhaseProgress) => onProgress({ pages, totalPages })),
    });
    throwIfAborted(signal); // the progress listener may have aborted at the last page
  }
}

/** What makes some mappings special. */
interface Marks {
  /** Addresses in the vdso and in the stack of the first thread; 0 if they are not known. */
  readonly vdso: number;
  readonly stack: number;
  /** Key of the program's file. */
  readonly program: string | undefined;
}

function marksOf({ auxv }: CoreContents, vmas: readonly CoreVma[], vdso: number): Marks {
  const headers = auxvValue(auxv, AUXV_TYPE.PHDR);
  const file = vmas.find((vma) => isIn(vma, headers))?.file;
  const program = file === undefined || file === null ? undefined : keyOf(file.path);
  return { vdso, stack: auxvValue(auxv, AUXV_TYPE.EXECFN), program };
}

function vmaFields(
  machine: Machine,
  vma: CoreVma,
  ids: ReadonlyMap<string, number>,
  { vdso, stack, program }: Marks,
): VmaFields {
  const { start, end, file } = vma;
  const key = file === null ? undefined : keyOf(file.path);
  const isProgram = key !== undefined && key === program;
  const isStack = file === null && isIn(vma, stack);
  const more = (isProgram ? VM.EXECUTABLE : 0) | (isStack ? VM.GROWSDOWN : 0);
  const position = file === null ? start : file.offset + (start - file.start);
  return {
    start: vpnOf(start),
    end: vpnOf(end),
    flags: vma.flags | more,
    file: key === undefined ? 0 : ids.get(key)!,
    pgoff: vpnOf(position),
    anonVma: machine.parts.nextAnonVma(),
    kind: isIn(vma, vdso) ? VMA_KIND.VDSO : VMA_KIND.ORDINARY,
  };
}
