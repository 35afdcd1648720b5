/**
 * An image as one file. It is written under a temporary name in the same directory and gets its own
 * name only when it is whole and on the disk: write, fsync, link (or rename with `force`), fsync of
 * the directory. With `sync: false` the same steps follow each other without the fsyncs.
 */
import { optionsOf } from '../../shared/arguments/options.ts';
import type { FileTarget } from '../../shared/dump/tasks/copy-target.ts';
import { MmdumpError } from '../../shared/errors.ts';
import { outputFailed } from './output-error.ts';
import { type OpenOutput, PATH_SINK_OPTIONS, PathSink, type PathSinkOptions } from './path-sink.ts';
import type { ImageExtent, ImageLength } from './sink.ts';

/** Options of `fileSink`. */
export type FileSinkOptions = PathSinkOptions;

/** A sink that writes one file. `fileSink` makes it. */
export class FileSink extends PathSink {
  /** The kind of the output: one file. */
  readonly kind = 'file';

  /** @internal */
  protected get firstPath(): string {
    return this.path;
  }

  /** @internal */
  protected assertReplaceable(): Promise<void> {
    return this.assertFree(this.path);
  }

  /** Step of a dump: see `Sink`. */
  async reserve(_extent: ImageExtent): Promise<FileTarget> {
    const file = this.opened().files[0]!;
    return { kind: 'file', fd: file.fd, path: this.path, sparse: this.sparse };
  }

  /** @internal Stops between two steps if the output was aborted: then `abort` undoes the steps. */
  protected async finish(output: OpenOutput, { bytes }: ImageLength): Promise<void> {
    const file = output.files[0]!;
    await file.reserve(bytes); // a file that ends in a hole has not got its length yet
    if (output.isAborted) return;
    await file.sync();
    if (output.isAborted) return;
    await output.changing(file.appear(this.force));
    if (output.isAborted) return;
    try {
      await output.syncDirectory();
    } catch (error) {
      if (output.isAborted) throw error;
      if (this.force) {
        file.isNamed = false; // `takeBack` must not report it again
        const what = 'is whole, but its directory cannot be written to the disk';
        throw outputFailed(this.path, what, error);
      }
      throw outputFailed(this.path, 'cannot be committed: its directory cannot be written', error);
    }
  }

  /**
   * Removes the image. This is impossible if it has replaced another one already and only its
   * directory is not on the disk yet: OUTPUT_FAILED then says that the new image is whole.
   *
   * @internal
   */
  protected async takeBack({ files }: OpenOutput): Promise<void> {
    const { path } = this;
    if (files[0]?.isNamed !== true) return;
    if (!this.force) return await files[0].takeBack();
    const message = `${path} is whole and has its name; its directory may not be on the disk yet`;
    throw new MmdumpError('OUTPUT_FAILED', message, { path, reason: 'stopped' });
  }
}

/**
 * Creates a sink that writes an image into one file, which only its owner can read. Without `force`
 * a dump into it is OUTPUT_EXISTS if the path is taken. OPTION_INVALID for a path or options that
 * are not valid.
 */
export function fileSink(path: string, options: FileSinkOptions = {}): FileSink {
  return new FileSink(path, optionsOf('fileSink', options, PATH_SINK_OPTIONS));
}
