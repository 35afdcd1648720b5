/**
 * An image as several files, `OUT.000`, `OUT.001`, …: plain byte ranges of the one image, so that
 * workers need not queue for one file's lock, and `cat` makes one file of them (docs/IMAGE_FORMAT.md).
 *
 * Nothing opens without `OUT.000`, so it appears last, once the names of the others are on the disk:
 * whoever finds it finds a whole image, also after a crash. Several names cannot be replaced at one
 * instant. So with `force` whatever has them is set aside first, `OUT.000` before the others, and is
 * removed when every name of the new image is on the disk: until then it can be put back, and parts of
 * two images never lie side by side where one of them would open.
 */
import { basename, dirname } from 'node:path';
import { optional, wholeNumber } from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import { firstOfParts, partClaimsBytes } from '../../shared/dump/part-claims.ts';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
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
import type { ImageExtent } from './sink.ts';

/** Exactly one of `parts` and `partBytes`. `force` replaces an image in parts or in one file. */
export interface SplitSinkOptions extends PathSinkOptions {
  /** So many parts, 1 to 1000; fewer if there are not so many blocks of 4096 bytes. */
  readonly parts?: number | undefined;
  /** Bytes of a part at most, from 4096 on; rounded down to whole blocks of 4096. */
  readonly partBytes?: number | undefined;
}

const SPLIT_SINK_OPTIONS: Shape<SplitSinkOptions> = {
  ...PATH_SINK_OPTIONS,
  parts: optional(wholeNumber(1, PARTS_MAX)),
  partBytes: optional(wholeNumber(PART_BLOCK)),
};

/** A sink that writes the image in parts, as `splitSink` makes it. */
export class SplitSink extends PathSink {
  /** What it writes to. */
  readonly kind = 'split';
  readonly #wantedParts: number | undefined;
  readonly #wantedBytes: number | undefined;
  #parts: number | undefined;
  #old: SetAside;
  /** The new image is safe: what it replaced is being removed, and nothing can be undone any more. */
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

  /** Of the image that is being written, or was last; undefined before its length is known. */
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
    await this.assertFree(this.firstPath); // also says if such a name cannot be
    for (const path of await this.#existing()) await this.assertFree(path);
  }

  /** What is there under the name of the image: in one file, then its parts in their order. */
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

  /** @internal */
  async reserve({ bytes, units }: ImageExtent): Promise<CopyTarget> {
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
    return { kind: 'parts', fds, path, partBytes, sparse, claims, firstUnits };
  }

  #lengthFor(bytes: number): number {
    if (this.#wantedParts !== undefined) return partLength(bytes, this.#wantedParts);
    return Math.floor(this.#wantedBytes! / PART_BLOCK) * PART_BLOCK;
  }

  /** The first one is there since `open`. */
  async #createParts(output: OpenOutput, count: number): Promise<void> {
    try {
      for (let part = 1; part < count && !output.isAborted; part++) {
        await output.create(partPath(this.path, part));
      }
    } catch (error) {
      if (!(error instanceof MmdumpError)) throw error;
      const { code, message, fields } = error;
      if (fields.errno !== 'EMFILE' && fields.errno !== 'ENFILE') throw error;
      const advice = `all ${count} parts have to be open: raise \`ulimit -n\`, or ask for fewer`;
      throw new MmdumpError(code, `${message}: ${advice}`, fields, error);
    }
  }

  /** @internal Where it was aborted meanwhile, it does nothing more: `abort` settles everything. */
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

  /** Every part but the first gets its name, where nothing has it any more. */
  async #nameOthers(output: OpenOutput): Promise<void> {
    const old = this.#old;
    for (const path of await this.#existing()) {
      if (output.isAborted) return;
      if (!this.force) throw outputExists(path); // it has come meanwhile
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
   * `OUT.000` goes first, so that nothing opens meanwhile; then what was there comes back.
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

/** A sink that writes `path.000`, `path.001`, … OPTION_INVALID for options that are none. */
export function splitSink(path: string, options: SplitSinkOptions): SplitSink {
  return new SplitSink(path, optionsOf('splitSink', options, SPLIT_SINK_OPTIONS));
}
