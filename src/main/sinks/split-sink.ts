/**
 * An image as several files, `OUT.000`, `OUT.001` and so on, which are byte ranges of one image.
 * Workers need not queue for the lock of one file, and `cat` joins the parts (docs/IMAGE_FORMAT.md,
 * "Parts").
 *
 * No reader opens an image without `OUT.000`, so that part gets its name last, when the names of
 * the others are on the disk. If it exists the image is whole, also after a crash. Several names
 * cannot be replaced at one instant. So with `force` the files that have them are set aside first,
 * `OUT.000` before the others, and are removed when every name of the new image is on the disk.
 * Until then they can be put back, and a mixture of two images never opens. With `sync: false` the
 * steps and their order are the same, but nothing waits for the disk: then all this holds after any
 * end of the process, and not after a crash of the system.
 */
import { basename, dirname } from 'node:path';
import { optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { firstOfParts, partClaimsBytes } from '../../shared/dump/part-claims.ts';
import type { PartsTarget } from '../../shared/dump/tasks/copy-target.ts';
import { AbortError, MmdumpError } from '../../shared/errors.ts';
import {
  bytesOfPart,
  isPartOf,
  PART_BLOCK,
  PARTS_MAX,
  partCount,
  partLength,
  partPath,
} from '../../shared/formats/parts.ts';
import { inTurn, settleAll } from '../job/settle.ts';
import { outputExists, outputFailed } from './output-error.ts';
import { removeNow } from './output-file.ts';
import { type OpenOutput, PATH_SINK_OPTIONS, PathSink, type PathSinkOptions } from './path-sink.ts';
import { SetAside } from './set-aside.ts';
import type { BuiltInTarget, ImageExtent } from './sink.ts';

/**
 * Options of `splitSink`: exactly one of `parts` and `partBytes`. `force` replaces an image in
 * parts or in one file.
 */
export interface SplitSinkOptions extends PathSinkOptions {
  /** Number of parts, 1 to 1000. There are fewer if the image has fewer blocks of 4096 bytes. */
  readonly parts?: number | undefined;
  /** Most bytes of one part, at least 4096; rounded down to whole blocks of 4096 bytes. */
  readonly partBytes?: number | undefined;
}

const SPLIT_SINK_OPTIONS: Shape<SplitSinkOptions> = {
  ...PATH_SINK_OPTIONS,
  parts: optional(wholeNumber(1, PARTS_MAX)),
  partBytes: optional(wholeNumber(PART_BLOCK)),
};

/** A sink that writes the image in parts. `splitSink` makes it. */
export class SplitSink extends PathSink {
  /** The kind of the output: several files. */
  readonly kind = 'split';
  readonly #wantedParts: number | undefined;
  readonly #wantedBytes: number | undefined;
  #parts: number | undefined;
  #old: SetAside;
  /** The new image is safe. The old files are being removed, and nothing can be undone any more. */
  #isFinal = false;

  /** @internal */
  constructor(path: string, options: SplitSinkOptions) {
    super(path, options);
    const { parts, partBytes } = options;
    if ((parts === undefined) === (partBytes === undefined)) {
      throw invalid('splitSink', 'expected either parts or partBytes');
    }
    this.#wantedParts = parts;
    this.#wantedBytes = partBytes;
    this.#old = new SetAside(path, this.calls);
  }

  /** Number of parts of the current or last image; undefined before its length is known. */
  get parts(): number | undefined {
    return this.#parts;
  }

  /** @internal */
  protected get firstPath(): string {
    return partPath(this.path, 0);
  }

  /** @internal */
  protected async assertReplaceable(): Promise<void> {
    this.#isFinal = false;
    this.#old = new SetAside(this.path, this.calls);
    await this.assertFree(this.firstPath); // this also fails if such a name is impossible
    for (const path of await this.#existing()) await this.assertFree(path);
  }

  /**
   * Existing files with the name of the image: the image in one file, then parts in their order.
   */
  async #existing(): Promise<string[]> {
    const image = basename(this.path);
    let names: string[];
    try {
      names = await this.calls.list(dirname(this.path));
    } catch (error) {
      throw outputFailed(this.path, 'cannot be created', error);
    }
    const found = names.filter((name) => name === image || isPartOf(image, name)).sort();
    return found.map((name) => this.path + name.slice(image.length));
  }

  /** Step of a dump: see `Sink`. */
  async reserve(extent: ImageExtent): Promise<BuiltInTarget> {
    const { bytes, units } = extent; // `units` is internal, so no declaration may name it
    const output = this.opened();
    const { path, sparse } = this;
    const partBytes = this.#lengthFor(bytes);
    const count = partCount(bytes, partBytes);
    if (count > PARTS_MAX) {
      const message = `an image of ${bytes} bytes has ${count} of them, expected at most ${PARTS_MAX}`;
      throw invalid(`parts of ${partBytes} bytes`, message);
    }
    await output.changing(this.#createParts(output, count));
    if (output.isAborted) throw new AbortError();
    const { files } = output;
    await output.during(
      settleAll(files.map((file, part) => file.reserve(bytesOfPart(bytes, partBytes, part)))),
    );
    this.#parts = count;
    const claims = new SharedArrayBuffer(partClaimsBytes(count));
    const firstUnits = firstOfParts(units, partBytes, count);
    const fds = files.map(({ fd }) => fd);
    const parts = { path, partBytes, sparse, claims, firstUnits };
    const target: PartsTarget = { kind: 'parts', fds, ...parts };
    return target;
  }

  #lengthFor(bytes: number): number {
    if (this.#wantedParts !== undefined) return partLength(bytes, this.#wantedParts);
    return Math.floor(this.#wantedBytes! / PART_BLOCK) * PART_BLOCK;
  }

  /** Creates all parts but the first, which `open` has created. */
  async #createParts(output: OpenOutput, count: number): Promise<void> {
    try {
      for (let part = 1; part < count && !output.isAborted; part++) {
        await output.create(partPath(this.path, part));
      }
    } catch (error) {
      if (!(error instanceof MmdumpError)) throw error;
      const { code, message, fields } = error;
      if (fields.errno !== 'EMFILE' && fields.errno !== 'ENFILE') throw error;
      const advice = `all ${count} parts must be open at once: raise \`ulimit -n\`, or ask for fewer`;
      throw new MmdumpError(code, `${message}: ${advice}`, fields, error);
    }
  }

  /** @internal Stops between two steps if the output was aborted: then `abort` undoes the steps. */
  protected async finish(output: OpenOutput): Promise<void> {
    const { files } = output;
    await settleAll(files.map((file) => file.sync()));
    if (output.isAborted) return;
    await output.changing(this.#nameOthers(output));
    if (output.isAborted) return;
    if (files.length > 1) await this.#syncDirectory(output);
    if (output.isAborted) return;
    await output.changing(files[0]!.appear(false));
    if (output.isAborted) return;
    await this.#syncDirectory(output);
    if (output.isAborted || this.#old.isEmpty) return;
    this.#isFinal = true;
    await output.changing(this.#old.discard());
  }

  /** Sets old files aside, and gives every part but the first its name. */
  async #nameOthers(output: OpenOutput): Promise<void> {
    const old = this.#old;
    for (const path of await this.#existing()) {
      if (output.isAborted) return;
      if (!this.force) throw outputExists(path); // the file has appeared since `open`
      await old.move(path);
    }
    for (const file of output.files.slice(1).reverse()) {
      if (output.isAborted) return;
      await file.appear(false);
    }
  }

  async #syncDirectory(output: OpenOutput): Promise<void> {
    try {
      await output.syncDirectory();
    } catch (error) {
      throw outputFailed(this.path, 'cannot be committed: its directory cannot be written', error);
    }
  }

  /**
   * Removes the parts, `OUT.000` first, so that nothing opens meanwhile; then puts the old files
   * back. OUTPUT_FAILED if the new image is whole and old files were being removed already.
   *
   * @internal
   */
  protected async takeBack({ files }: OpenOutput): Promise<void> {
    const { path } = this;
    if (!this.#isFinal) {
      const named = files.filter(({ isNamed }) => isNamed);
      const removals = named.map((file) => () => file.takeBack());
      return await inTurn([...removals, () => this.#old.putBack()]);
    }
    const message = `${path}: the image is whole and has its names`;
    throw new MmdumpError('OUTPUT_FAILED', message, { path, reason: 'stopped' });
  }

  /** @internal */
  protected override undoNow(output: OpenOutput): void {
    super.undoNow(output);
    if (this.#isFinal) {
      this.#old.discardNow();
      return;
    }
    for (const { isNamed, path } of output.files) if (isNamed) removeNow(path);
    this.#old.putBackNow();
  }
}

function invalid(what: string, expected: string): MmdumpError {
  return new MmdumpError('OPTION_INVALID', `${what}: ${expected}`);
}

/**
 * Creates a sink that writes an image into parts: `path.000`, `path.001` and so on
 * (docs/IMAGE_FORMAT.md, "Parts"). Without `force` a dump into it is OUTPUT_EXISTS if any part, or
 * a file of the name `path`, exists. OPTION_INVALID for a path or options that are not valid. More
 * than 1000 parts are OPTION_INVALID in the dump; OUTPUT_FAILED with errno EMFILE means that
 * `ulimit -n` is too low, since all parts are open at once.
 */
export function splitSink(path: string, options: SplitSinkOptions): SplitSink {
  return new SplitSink(path, optionsOf('splitSink', options, SPLIT_SINK_OPTIONS));
}
